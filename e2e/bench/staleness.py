"""How old is what proxies have: from a change to the ACK of a response that carries it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from e2e.bench.processes import Ack, BenchError


class Change(NamedTuple):
    """A change of some object, numbered in order; `at` is in nanoseconds of CLOCK_MONOTONIC."""

    number: int
    of: int
    at: int


def staleness(
    changes: Iterable[Change], acks: Iterable[Ack], carried: Mapping[str, Sequence[int]], clients: int
) -> list[float]:
    """Milliseconds from every change to each client's ACK; `carried` are the changes in a response, by its nonce.

    What was changed again before it was sent is as stale as the newer change that it went out with. Raises `BenchError`
    when a client did not get a change.
    """
    by_number = {change.number: change for change in changes}
    by_object: dict[int, list[int]] = defaultdict(list)
    for number in sorted(by_number, reverse=True):
        by_object[by_number[number].of].append(number)
    pending = [{of: list(numbers) for of, numbers in by_object.items()} for _ in range(clients)]
    found: list[float] = []
    for ack in sorted(acks, key=lambda ack: ack.at):
        for number in carried.get(ack.nonce, ()):
            if (change := by_number.get(number)) is None:
                continue
            waiting = pending[ack.client][change.of]
            while waiting and waiting[-1] <= number:
                found.append((ack.at - by_number[waiting.pop()].at) / 1e6)
    if undelivered := sum(len(waiting) for client in pending for waiting in client.values()):
        raise BenchError(f"{undelivered} changes never arrived")
    return found

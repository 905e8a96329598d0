"""The election without IO: never two leaders, and always one in the end."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from dragoman.operator.candidate import Attempt, Candidate, Record, Timing


@dataclass
class Store:
    """What the API server does with a Lease: a write counts if nobody wrote in between."""

    record: Record | None = None
    version: int = 0
    history: list[Record | None] = field(default_factory=lambda: [None])

    def write(self, attempt: Attempt) -> Record | None:
        if attempt.version != (self.record.version if self.record is not None else ""):
            return None
        self.version += 1
        self.record = Record(attempt.holder, attempt.duration, attempt.transitions, str(self.version))
        self.history.append(self.record)
        return self.record


@dataclass
class Replica:
    candidate: Candidate
    offset: float
    rate: float
    seen: int = 0
    """How much of the history its watch has told."""
    request: tuple[Attempt, float] | None = None
    response: tuple[Record | None, float] | None = None

    def clock(self, time: float) -> float:
        return self.offset + self.rate * time


REPLICAS = st.integers(0, 2)


class Elections(RuleBasedStateMachine):
    """Three replicas whose clocks differ, and a network that delays and loses."""

    @initialize(
        rates=st.lists(st.floats(0.9, 1.1), min_size=3, max_size=3),
        offsets=st.lists(st.floats(0, 1e6), min_size=3, max_size=3),
    )
    def begin(self, rates: list[float], offsets: list[float]) -> None:
        self.time = 0.0
        self.store = Store()
        self.replicas = [
            Replica(Candidate(f"r{i}"), offset, rate)
            for i, (rate, offset) in enumerate(zip(rates, offsets, strict=True))
        ]

    @rule(seconds=st.sampled_from([0.1, 1.0, 2.0, 5.0, 9.0, 14.0, 20.0]))
    def wait(self, seconds: float) -> None:
        self.time += seconds

    @rule(number=REPLICAS)
    def try_it(self, number: int) -> None:
        replica = self.replicas[number]
        if replica.request is None and replica.response is None:
            now = replica.clock(self.time)
            attempt = replica.candidate.attempt(now)
            if attempt is not None:
                replica.request = (attempt, now)

    @rule(number=REPLICAS, lost=st.booleans())
    def arrive(self, number: int, lost: bool) -> None:
        """A request reaches the server, however late; its answer may get lost."""
        replica = self.replicas[number]
        if replica.request is not None:
            (attempt, sent_at), replica.request = replica.request, None
            written = self.store.write(attempt)
            if lost:
                replica.candidate.failed(replica.clock(self.time))
            else:
                replica.response = (written, sent_at)

    @rule(number=REPLICAS)
    def lose(self, number: int) -> None:
        """No answer came in time, but the request may still arrive."""
        replica = self.replicas[number]
        if replica.request is not None:
            replica.candidate.failed(replica.clock(self.time))
            (attempt, _), replica.request = replica.request, None
            self.store.write(attempt)

    @rule(number=REPLICAS)
    def answer(self, number: int) -> None:
        replica = self.replicas[number]
        if replica.response is not None:
            (written, sent_at), replica.response = replica.response, None
            now = replica.clock(self.time)
            if written is None:
                replica.candidate.failed(now)
                replica.candidate.observed(self.store.record, now)
            else:
                replica.candidate.wrote(written, sent_at, now)

    @rule(number=REPLICAS)
    def read(self, number: int) -> None:
        replica = self.replicas[number]
        if replica.response is None:
            replica.candidate.observed(self.store.record, replica.clock(self.time))

    @rule(number=REPLICAS)
    def watch(self, number: int) -> None:
        """A watch tells what was, in order; who holds the Lease does not listen to it."""
        replica = self.replicas[number]
        if replica.seen < len(self.store.history):
            record = self.store.history[replica.seen]
            replica.seen += 1
            if not replica.candidate.holds and replica.response is None:
                replica.candidate.observed(record, replica.clock(self.time))

    @rule(number=REPLICAS)
    def stop(self, number: int) -> None:
        replica = self.replicas[number]
        if replica.request is None and replica.response is None:
            attempt = replica.candidate.release()
            if attempt is not None:
                self.store.write(attempt)
                replica.candidate.observed(self.store.record, replica.clock(self.time))

    @precondition(lambda self: self.time > 0)
    @rule()
    def settle(self) -> None:
        """Left alone by the network, the replicas come to have a leader within the time of a dead one."""
        end = self.time + 40
        while self.time < end:
            for number in range(3):
                self.read(number)
                self.try_it(number)
                self.arrive(number, lost=False)
                self.answer(number)
                self.at_most_one_leads()
            self.time += 0.5
        assert len(self.leaders()) == 1

    def leaders(self) -> list[str]:
        return [r.candidate.name for r in self.replicas if r.candidate.leads(r.clock(self.time))]

    @invariant()
    def at_most_one_leads(self) -> None:
        if hasattr(self, "replicas"):
            assert len(self.leaders()) <= 1


TestElections = Elections.TestCase


def written(attempt: Attempt | None, version: str) -> Record:
    assert attempt is not None
    return Record(attempt.holder, attempt.duration, attempt.transitions, version)


def test_nothing_is_written_before_something_was_read() -> None:
    candidate = Candidate("a")
    assert candidate.attempt(100.0) is None
    candidate.observed(None, 100.0)
    assert candidate.attempt(100.0) == Attempt("a", 15.0, 0, "", acquires=True)


def test_the_holder_writes_every_two_seconds_and_leads_for_ten_without() -> None:
    candidate = Candidate("a")
    candidate.observed(None, 0.0)
    candidate.wrote(written(candidate.attempt(0.0), "1"), 0.0, 0.5)
    assert (candidate.due(), candidate.until) == (2.0, 10.0)
    assert candidate.attempt(1.9) is None
    assert candidate.attempt(2.0) == Attempt("a", 15.0, 0, "1", acquires=False)
    candidate.failed(3.0)
    assert candidate.leads(9.9)
    assert not candidate.leads(10.0)


def test_who_waits_takes_over_what_was_let_go_at_once_and_what_is_silent_after_its_time() -> None:
    candidate = Candidate("b")
    candidate.observed(Record("a", 15.0, 3, "7"), 100.0)
    assert candidate.due() == 115.0
    candidate.observed(Record("a", 15.0, 3, "8"), 101.0)
    assert candidate.attempt(115.9) is None
    assert candidate.attempt(116.0) == Attempt("b", 15.0, 4, "8", acquires=True)
    candidate.observed(Record("", 1.0, 3, "9"), 102.0)
    assert candidate.attempt(102.0) == Attempt("b", 15.0, 4, "9", acquires=True)


def test_who_releases_leads_no_longer_whatever_becomes_of_it() -> None:
    candidate = Candidate("a", Timing(duration=3.0, retry=0.5))
    assert candidate.release() is None
    candidate.observed(None, 0.0)
    candidate.wrote(written(candidate.attempt(0.0), "1"), 0.0, 0.0)
    assert candidate.leads(1.9)
    assert candidate.release() == Attempt("", 1.0, 0, "1", acquires=False)
    assert not candidate.leads(0.1)


def test_a_candidate_without_a_name_would_hold_what_is_free() -> None:
    with pytest.raises(ValueError, match="name"):
        Candidate("")

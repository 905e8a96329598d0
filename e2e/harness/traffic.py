"""Requests at a steady rate while something else happens."""

import asyncio
import collections
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from e2e.harness.answers import Answer

MOST_UNDERWAY = 100
"""Requests at a time. A machine that is too busy for the rate gets no more of them, or none would end in time."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one request: an answer, or the reason why none came."""

    started: float
    """Seconds since the traffic began."""
    seconds: float
    answer: Answer | None
    error: Exception | None


class Traffic:
    """`async with`: starts at once, and ends when the last request has its outcome.

    The rate does not wait for answers: a server that is slow gets more requests at a time, not fewer (up to
    `MOST_UNDERWAY`).
    """

    def __init__(self, request: Callable[[], Awaitable[Answer]], per_second: float) -> None:
        self._request = request
        self._interval = 1 / per_second
        self._outcomes: list[Outcome] = []
        self._underway: set[object] = set()
        """One for each request that has begun and not ended."""
        self._progress = asyncio.Condition()

    @property
    def outcomes(self) -> Sequence[Outcome]:
        """What is known by now, in the order in which requests came to an end."""
        return tuple(self._outcomes)

    @property
    def answers(self) -> Sequence[Answer]:
        """The answers by now."""
        return tuple(outcome.answer for outcome in self._outcomes if outcome.answer is not None)

    @property
    def errors(self) -> Sequence[Exception]:
        """Why requests had no answer."""
        return tuple(outcome.error for outcome in self._outcomes if outcome.error is not None)

    @property
    def statuses(self) -> collections.Counter[int]:
        """How many answers had which status."""
        return collections.Counter(answer.status for answer in self.answers)

    async def until(self, condition: Callable[[Outcome], bool], *, seconds: float = 60) -> Outcome:
        """Wait for the first outcome from now on that meets the condition. Raises TimeoutError."""
        seen = len(self._outcomes)
        async with asyncio.timeout(seconds), self._progress:
            while True:
                for outcome in self._outcomes[seen:]:
                    seen += 1
                    if condition(outcome):
                        return outcome
                await self._progress.wait()

    async def turn(self, *, seconds: float = 60) -> None:
        """Wait until all requests that have begun by now have ended: later outcomes are of later requests. Raises
        TimeoutError."""
        begun = set(self._underway)
        async with asyncio.timeout(seconds), self._progress:
            await self._progress.wait_for(lambda: begun.isdisjoint(self._underway))

    async def more(self, count: int, *, seconds: float = 60) -> Sequence[Outcome]:
        """Wait for `count` outcomes more, and return them. Some may be of requests that began before: see `turn`.

        Raises TimeoutError.
        """
        start = len(self._outcomes)
        async with asyncio.timeout(seconds), self._progress:
            await self._progress.wait_for(lambda: len(self._outcomes) >= start + count)
        return tuple(self._outcomes[start : start + count])

    async def __aenter__(self) -> Self:
        self._began = asyncio.get_running_loop().time()
        self._ending = asyncio.Event()
        self._clock = asyncio.create_task(self._run())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ending.set()
        await self._clock

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        async with asyncio.TaskGroup() as requests:
            due = self._began
            while not self._ending.is_set():
                if len(self._underway) < MOST_UNDERWAY:
                    requests.create_task(self._one())
                due += self._interval
                try:
                    async with asyncio.timeout_at(max(due, loop.time())):
                        await self._ending.wait()
                except TimeoutError:
                    continue

    async def _one(self) -> None:
        loop = asyncio.get_running_loop()
        started = loop.time()
        request = object()
        self._underway.add(request)
        answer: Answer | None = None
        failure: Exception | None = None
        try:
            answer = await self._request()
        except (ConnectionError, TimeoutError) as error:
            failure = error
        async with self._progress:
            self._underway.remove(request)
            self._outcomes.append(Outcome(started - self._began, loop.time() - started, answer, failure))
            self._progress.notify_all()

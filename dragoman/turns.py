"""Turns in the event loop: who has much to do lets others go on in between."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Iterable
from typing import Final, TypeVar

T = TypeVar("T")

TURN: Final = 0.005
"""Seconds after which others have theirs."""
AT_ONCE: Final = 8
"""Tasks that waited and get their turn in the same round."""


async def in_turns(items: Iterable[T]) -> AsyncIterator[T]:
    """Yield the items; whatever else the event loop has to do goes on every 5 ms."""
    began = time.perf_counter()
    for item in items:
        yield item
        if time.perf_counter() - began > TURN:
            await asyncio.sleep(0)
            began = time.perf_counter()


class Round:
    """Short pieces of work of many tasks that come together: what is too much for one round of the event loop waits for
    the next, in the order of coming."""

    __slots__ = ("_begun", "_seconds", "_used", "_waiting")

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._used = 0.0
        self._begun = False
        self._waiting: deque[asyncio.Future[None]] = deque()

    @property
    def over(self) -> bool:
        """Whether the seconds of this round were used, or others wait already; then `next` is to be awaited."""
        return self._used > self._seconds or bool(self._waiting)

    async def next(self) -> None:
        """Wait for a turn in one of the next rounds."""
        turn = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        self._begin()
        await turn

    def used(self, seconds: float) -> None:
        """Somebody worked so long."""
        self._used += seconds
        self._begin()

    def _begin(self) -> None:
        if not self._begun:
            self._begun = True
            asyncio.get_running_loop().call_soon(self._next_round)

    def _next_round(self) -> None:
        self._used = 0.0
        # How long each will take is not known.
        for turn in [self._waiting.popleft() for _ in range(min(AT_ONCE, len(self._waiting)))]:
            if not turn.done():
                turn.set_result(None)
        self._begun = False
        if self._waiting:
            self._begin()

"""Turns in the event loop: who has much to do lets others go on in between."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterable
from typing import Final, TypeVar

T = TypeVar("T")

TURN: Final = 0.005
"""Seconds after which others have theirs."""


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

    __slots__ = ("_seconds", "_used")

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._used = 0.0

    @property
    def over(self) -> bool:
        """Whether the seconds of this round were used; then `next` is to be awaited."""
        return self._used > self._seconds

    async def next(self) -> None:
        """Wait until something is left of a round."""
        while self.over:  # noqa: ASYNC110 - it is a round that is waited for
            await asyncio.sleep(0)

    def used(self, seconds: float) -> None:
        """Somebody worked so long."""
        if not self._used:
            asyncio.get_running_loop().call_soon(self._begin)
        self._used += seconds

    def _begin(self) -> None:
        self._used = 0.0

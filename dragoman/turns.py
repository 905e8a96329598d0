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

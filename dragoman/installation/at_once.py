"""Many requests, a few at a time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Iterable
from typing import Final, TypeVar

T = TypeVar("T")

_AT_ONCE: Final = 8


async def gathered(calls: Iterable[Awaitable[T]]) -> list[T]:
    """The results of calls of which only so many are made at once."""
    limit = asyncio.Semaphore(_AT_ONCE)

    async def one(call: Awaitable[T]) -> T:
        async with limit:
            return await call

    return await asyncio.gather(*(one(call) for call in calls))

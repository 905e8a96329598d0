"""Waiting for what tells nobody: the state of another process, or of a page."""

import asyncio
from collections.abc import Awaitable, Callable


async def until(condition: Callable[[], bool] | Callable[[], Awaitable[bool]], *, within: float = 15.0) -> None:
    """Look every few milliseconds until the condition holds. Raises TimeoutError after `within` seconds."""
    async with asyncio.timeout(within):
        while True:
            holds = condition()
            if holds if isinstance(holds, bool) else await holds:
                return
            await asyncio.sleep(0.01)

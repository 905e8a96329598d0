"""Waiting for what tells nobody: the state of another process, or of a page."""

import asyncio
from collections.abc import Awaitable, Callable


async def until(condition: Callable[[], bool] | Callable[[], Awaitable[bool]], *, within: float = 60.0) -> None:
    """Look until the condition holds: every few milliseconds at first, and less often the longer it takes.

    Raises TimeoutError after `within` seconds.
    """
    pause = 0.01
    async with asyncio.timeout(within):
        while True:
            holds = condition()
            if await holds if isinstance(holds, Awaitable) else holds:
                return
            await asyncio.sleep(pause)
            pause = min(1.2 * pause, 0.05)

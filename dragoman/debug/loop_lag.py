"""How late the event loop is: what everything else waits for when something computes too long."""

from __future__ import annotations

import asyncio
from typing import Final

_EVERY_SECONDS: Final = 0.5


class LoopLag:
    """Measures from `start` to `stop`. `worst` is the longest delay in seconds since it was last taken."""

    def __init__(self, every_seconds: float = _EVERY_SECONDS) -> None:
        self._every = every_seconds
        self._worst = 0.0
        self._task: asyncio.Task[None] | None = None

    def take_worst(self) -> float:
        """The longest delay since the last call, in seconds."""
        worst, self._worst = self._worst, 0.0
        return worst

    def start(self) -> None:
        self._task = asyncio.create_task(self._measure())

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _measure(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            due = loop.time() + self._every
            await asyncio.sleep(self._every)
            self._worst = max(self._worst, loop.time() - due)

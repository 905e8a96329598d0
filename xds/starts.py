"""How many streams may be at their beginning at once."""

import asyncio
from typing import Final

MANY: Final = 32
"""Enough to keep the server busy while Envoys take in what they got, few enough for what they are owed to be small."""
LONG: Final = 2.0
"""Seconds after which a beginning no longer keeps others from theirs."""


class Start:
    """One stream's beginning, which ends by `end` or by itself when it takes too long."""

    __slots__ = ("_places", "_timer")

    def __init__(self, places: asyncio.Semaphore, seconds: float) -> None:
        self._places: asyncio.Semaphore | None = places
        self._timer = asyncio.get_running_loop().call_later(seconds, self.end)

    def end(self) -> None:
        """The stream has what it asked for, or is gone; may be said more than once."""
        if self._places is not None:
            self._timer.cancel()
            self._places.release()
            self._places = None


class Starts:
    """First come, first served.

    A fleet that connects at once shares the processor, whatever the order. If all are served at the same time, all are
    ready late, and what each is still owed, thousands of names in a large mesh, is held for all of them; one after the
    other, the first are ready soon.
    """

    def __init__(self, limit: int = MANY, seconds: float = LONG) -> None:
        self._places = asyncio.Semaphore(limit)
        self._seconds = seconds

    async def begin(self) -> Start:
        """Wait for a place."""
        await self._places.acquire()
        return Start(self._places, self._seconds)

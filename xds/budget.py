"""A cap on the bytes handed to gRPC and not yet taken by the clients, over all streams together."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class ByteBudget:
    """First come, first served.

    gRPC copies what it is given into the event loop's thread and holds it until the client has read it: without a cap a
    slow fleet makes the process hold a private copy of every large push, and a hundred large writes in a row stall it.
    A message may overdraw what is left, so that one larger than the whole budget is still sent.
    """

    def __init__(self, limit: int, *, free_below: int = 64 << 10) -> None:
        self._free = limit
        self._free_below = free_below
        self._waiting: deque[asyncio.Future[None]] = deque()

    @asynccontextmanager
    async def spend(self, size: int) -> AsyncIterator[None]:
        """Wait for room and occupy it while the context lasts. Small messages need not wait for large ones."""
        if size < self._free_below:
            yield
            return
        while self._free <= 0:
            turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiting.append(turn)
            try:
                await turn
            except asyncio.CancelledError:
                self._wake()
                raise
        self._free -= size
        try:
            yield
        finally:
            self._free += size
            self._wake()

    @property
    def waiting(self) -> int:
        """How many streams wait for room."""
        return sum(not turn.done() for turn in self._waiting)

    def _wake(self) -> None:
        while self._waiting and self._free > 0:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                return

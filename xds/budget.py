"""A cap on the bytes handed to gRPC and not yet taken by the clients, over all streams together."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Final

SLOWEST: Final = 64 << 10
"""Bytes a second: a client that reads faster is never taken for stuck while there is room."""


BURST: Final = 4 << 20
"""Bytes in one round of the event loop: some milliseconds."""
MESSAGE: Final = 32 << 10
"""What a message costs besides its bytes, as bytes: a hundred small ones are a burst, too."""


class _Account:
    """Room for some bytes: first come, first served. A message may overdraw it, so that one larger than all of it is
    still sent."""

    def __init__(self, limit: int) -> None:
        self.free = limit
        self.waiting: deque[asyncio.Future[None]] = deque()

    async def take(self, size: int) -> None:
        while self.free <= 0:
            turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self.waiting.append(turn)
            try:
                await turn
            except asyncio.CancelledError:
                self.wake()
                raise
        self.free -= size

    def give(self, size: int) -> None:
        self.free += size
        self.wake()

    def wake(self) -> None:
        while self.waiting and self.free > 0:
            turn = self.waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                return


class _Burst:
    """What is handed to gRPC within one round of the event loop: it copies in the loop's thread, and whoever comes next
    waits for all of it. The rest goes in the next rounds, in the order of coming."""

    def __init__(self) -> None:
        self._left = BURST
        self._waiting: deque[tuple[asyncio.Future[None], int]] = deque()
        self._begun = False

    async def turn(self, size: int) -> None:
        if not self.admits(size):
            turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiting.append((turn, size + MESSAGE))
            await turn

    def admits(self, size: int) -> bool:
        """Take what a message needs of this round, if there is something left of it."""
        if self._left <= 0:
            return False
        self._left -= size + MESSAGE
        if not self._begun:
            self._begun = True
            asyncio.get_running_loop().call_soon(self._next_round)
        return True

    def _next_round(self) -> None:
        self._left = BURST
        while self._waiting and self._left > 0:
            turn, cost = self._waiting.popleft()
            if not turn.done():
                self._left -= cost
                turn.set_result(None)
        self._begun = self._left < BURST
        if self._begun:
            asyncio.get_running_loop().call_soon(self._next_round)


class _Overseer:
    """Small messages on their way: one timer for all of them, as there are thousands a second."""

    def __init__(self) -> None:
        self._due: dict[Share, float] = {}
        self._timer: asyncio.TimerHandle | None = None

    def begins(self, share: Share, seconds: float) -> None:
        """A message is taken for stuck after these seconds, and a few more until somebody looks."""
        loop = asyncio.get_running_loop()
        self._due[share] = loop.time() + seconds
        if self._timer is None:
            self._timer = loop.call_later(seconds, self._look, seconds)

    def ended(self, share: Share) -> None:
        self._due.pop(share, None)

    def _look(self, seconds: float) -> None:
        loop = asyncio.get_running_loop()
        for share in [share for share, due in self._due.items() if due <= loop.time()]:
            del self._due[share]
            share.stuck()
        self._timer = loop.call_later(seconds / 2, self._look, seconds) if self._due else None


class ByteBudget:
    """Nobody waits for those who do not read.

    gRPC copies what it is given into the event loop's thread and holds it until the client has read it: without a cap a
    slow fleet makes the process hold a private copy of every large push, and a hundred large writes in a row stall it.

    There are two accounts of `limit` bytes: one for clients that have taken their last large message within
    `slow_after` seconds, and one for all others, new ones among them. A write of the first kind that takes longer is
    moved to the second account if that has room. A write is *stuck* after `stuck_after` seconds if others wait for its
    room, and in any case when it has taken longer than its bytes do at `SLOWEST` besides.
    """

    def __init__(
        self, limit: int, *, free_below: int = 64 << 10, slow_after: float = 0.25, stuck_after: float = 10.0
    ) -> None:
        self.free_below = free_below
        self.slow_after = slow_after
        self.stuck_after = stuck_after
        self.burst = _Burst()
        self.overseer = _Overseer()
        self.quick = _Account(limit)
        self.others = _Account(limit)

    @property
    def waiting(self) -> int:
        """How many streams wait for room."""
        accounts = (self.quick, self.others)
        return sum(not turn.done() for account in accounts for turn in account.waiting)


def _nobody() -> None:
    """Who is told that a stream is stuck which has ended."""


class Share:
    """One stream's part of a budget; it writes one message at a time. `on_stuck` is called, at most once for a write,
    when the client does not read it: that should end its connection."""

    __slots__ = ("_account", "_budget", "_quick", "stuck")

    def __init__(self, budget: ByteBudget, on_stuck: Callable[[], None]) -> None:
        self._budget = budget
        self.stuck = on_stuck
        self._quick = False
        self._account = budget.others

    def begin(self, size: int) -> bool:
        """Whether a message may go at once, as nearly every small one may; then `end` must follow. Else see `spend`."""
        if size >= self._budget.free_below or not self._budget.burst.admits(size):
            return False
        self._begin(size)
        return True

    def _begin(self, size: int) -> None:
        self._budget.overseer.begins(self, self._budget.stuck_after + size / SLOWEST)

    def close(self) -> None:
        """Nothing more is written."""
        self.stuck = _nobody

    def end(self) -> None:
        """The message that went at once is with the client."""
        self._budget.overseer.ended(self)

    @asynccontextmanager
    async def spend(self, size: int) -> AsyncIterator[None]:
        """Wait for room and occupy it while the context lasts. Small messages need not wait for large ones."""
        budget, loop = self._budget, asyncio.get_running_loop()
        if size < budget.free_below:
            await budget.burst.turn(size)
            self._begin(size)
            try:
                yield
            finally:
                self.end()
            return
        self._account = budget.quick if self._quick else budget.others
        await self._account.take(size)
        try:
            await budget.burst.turn(size)
        except asyncio.CancelledError:
            self._account.give(size)
            raise
        began = loop.time()
        watch = asyncio.create_task(self._watch(size))
        try:
            yield
            self._quick = loop.time() - began <= budget.slow_after
        finally:
            watch.cancel()
            self._account.give(size)

    async def _watch(self, size: int) -> None:
        """Follow a large write that takes long."""
        budget, loop = self._budget, asyncio.get_running_loop()
        began = loop.time()
        await asyncio.sleep(budget.slow_after)
        while loop.time() - began < budget.stuck_after + size / SLOWEST:
            if self._account is budget.quick and budget.others.free > 0:
                budget.others.free -= size
                self._account = budget.others
                budget.quick.give(size)
            in_the_way = self._account.free <= 0 and self._account.waiting
            if in_the_way and loop.time() - began >= budget.stuck_after:
                break
            await asyncio.sleep(budget.slow_after)
        self.stuck()

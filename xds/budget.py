"""A cap on the bytes handed to gRPC and not yet taken by the clients, over all streams together."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Final

SLOWEST: Final = 64 << 10
"""Bytes a second: a client that reads faster is never taken for stuck while there is room."""


BURST: Final = 4 << 20
"""Bytes in one round of the event loop: some milliseconds."""
MESSAGE: Final = 32 << 10
"""What a message costs besides its bytes, as bytes: a hundred small ones are a burst, too."""


class _Burst:
    """What is handed to gRPC within one round of the event loop: it copies in the loop's thread, and whoever comes next
    waits for all of it. The rest goes in the next rounds, in the order of coming."""

    def __init__(self) -> None:
        self._left = BURST
        self._waiting: deque[Share] = deque()
        self._begun = False
        self._usual = 0
        """Bytes of the message before: the streams of a view are sent the same."""

    @property
    def full(self) -> bool:
        """Whether nothing is left of this round."""
        return self._left <= 0

    def enter(self, share: Share) -> None:
        """Let a write go, now or in its turn; `share.size` is 0 if it is to be found out then."""
        if share.size and (share.admitted or self.admits(share.size)):
            share.go()
        else:
            self._waiting.append(share)

    def admits(self, size: int) -> bool:
        """Take what a message needs of this round, if there is something left of it."""
        if self._left <= 0:
            return False
        self._usual = size
        self._left -= size + MESSAGE
        if not self._begun:
            self._begun = True
            asyncio.get_running_loop().call_soon(self._next_round)
        return True

    def _next_round(self) -> None:
        self._left = BURST
        while self._waiting and self._left > 0:
            share = self._waiting.popleft()
            if share.waits:
                self._left -= (share.size or self._usual) + MESSAGE
                share.go()
        self._begun = self._left < BURST
        if self._begun:
            asyncio.get_running_loop().call_soon(self._next_round)


class _Account:
    """Room for some bytes: first come, first served. A message may overdraw it, so that one larger than all of it is
    still sent."""

    def __init__(self, limit: int, burst: _Burst) -> None:
        self.free = limit
        self._burst = burst
        self._queue: deque[Share] = deque()

    @property
    def waiting(self) -> int:
        """How many writes wait for room."""
        return sum(share.waits for share in self._queue)

    def enter(self, share: Share) -> None:
        """Give a write its room, now or in its turn."""
        if self.free > 0:
            self._admit(share)
        else:
            share.admitted = False
            self._queue.append(share)

    def give(self, size: int) -> None:
        """Take room back."""
        self.free += size
        while self._queue and self.free > 0:
            share = self._queue.popleft()
            if share.waits:
                self._admit(share)

    def _admit(self, share: Share) -> None:
        self.free -= share.size
        share.account = self
        self._burst.enter(share)


class _Overseer:
    """Writes on their way: one timer for all of them, as there are thousands a second."""

    def __init__(self) -> None:
        self._due: dict[Share, float] = {}
        self._timer: asyncio.TimerHandle | None = None

    def begins(self, share: Share, seconds: float) -> None:
        """A write should have ended after these seconds; if not, the share is told that it is late."""
        loop = asyncio.get_running_loop()
        due = self._due[share] = loop.time() + seconds
        if self._timer is None or due < self._timer.when():
            if self._timer is not None:
                self._timer.cancel()
            self._timer = loop.call_at(due, self._look)

    def ended(self, share: Share) -> None:
        self._due.pop(share, None)

    def _look(self) -> None:
        loop = asyncio.get_running_loop()
        self._timer = None
        for share in [share for share, due in self._due.items() if due <= loop.time()]:
            del self._due[share]
            share.late()
        if self._due and self._timer is None:
            self._timer = loop.call_at(min(self._due.values()), self._look)


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
        self.quick = _Account(limit, self.burst)
        self.others = _Account(limit, self.burst)

    @property
    def waiting(self) -> int:
        """How many streams wait for room."""
        return self.quick.waiting + self.others.waiting


def _nobody() -> None:
    """Who is told that a stream is stuck which has ended."""


class Share:
    """One stream's part of a budget; it writes one message at a time: `begin`, or else `wait`, and then `end`.

    Before it looks for what to write it takes its `turn`: the first streams have their bytes before those of the last
    are looked for.

    `on_stuck` is called, at most once for a write, when the client does not read it: that should end its connection.
    """

    __slots__ = ("_began", "_budget", "_going", "_quick", "_stuck", "_turn", "account", "admitted", "size")

    def __init__(self, budget: ByteBudget, on_stuck: Callable[[], None]) -> None:
        self._budget = budget
        self._stuck = on_stuck
        self._quick = False
        self._going = False
        self._turn: asyncio.Future[None] | None = None
        self._began = 0.0
        self.size = 0
        """Bytes of the message."""
        self.account: _Account | None = None
        """Where a large message has its room."""
        self.admitted = False
        """Something of this round is set aside already for what is written next."""

    def close(self) -> None:
        """Nothing more is written."""
        self._stuck = _nobody

    async def turn(self) -> None:
        """Wait until something is left of a round of the event loop."""
        self.admitted = False
        if self._budget.burst.full:
            self.size, self._going = 0, False
            self._budget.burst.enter(self)
            await self._called()
            self.admitted = True

    def begin(self, size: int) -> bool:
        """Whether a message may go at once, as nearly every small one may. Else see `wait`."""
        if size >= self._budget.free_below or not (self.admitted or self._budget.burst.admits(size)):
            return False
        self.admitted = False
        self._oversee(size)
        return True

    async def wait(self, size: int) -> None:
        """Wait until a message may go. Small ones need not wait for the room of large ones."""
        budget, self.size, self._going = self._budget, size, False
        small = size < budget.free_below
        (budget.burst if small else budget.quick if self._quick else budget.others).enter(self)
        await self._called()
        self.admitted = False
        if small:
            self._oversee(size)
        else:
            self._began = asyncio.get_running_loop().time()
            budget.overseer.begins(self, budget.slow_after)

    def end(self) -> None:
        """The message is with the client, or its stream is lost."""
        self._budget.overseer.ended(self)
        if self.account is not None:
            self._quick = self._taken() <= self._budget.slow_after
            self._leave()

    # -- what the budget sees ---------------------------------------------------------------------------------------

    @property
    def waits(self) -> bool:
        """Whether the turn has not come, and is still waited for."""
        return self._turn is not None and not self._turn.done()

    def go(self) -> None:
        """The turn has come."""
        self._going = True
        if self._turn is not None and not self._turn.done():
            self._turn.set_result(None)

    def late(self) -> None:
        """The write takes long."""
        budget, account = self._budget, self.account
        if account is None or self._taken() >= budget.stuck_after + self.size / SLOWEST:
            self._stuck()
            return
        if account is budget.quick and budget.others.free > 0:
            budget.others.free -= self.size
            self.account = budget.others
            account.give(self.size)
        elif account.free <= 0 and account.waiting and self._taken() >= budget.stuck_after:
            self._stuck()
            return
        budget.overseer.begins(self, budget.slow_after)

    async def _called(self) -> None:
        if not self._going:
            self._turn = asyncio.get_running_loop().create_future()
            try:
                await self._turn
            except asyncio.CancelledError:
                self._leave()
                raise

    def _oversee(self, size: int) -> None:
        self._budget.overseer.begins(self, self._budget.stuck_after + size / SLOWEST)

    def _taken(self) -> float:
        return asyncio.get_running_loop().time() - self._began

    def _leave(self) -> None:
        if (account := self.account) is not None:
            self.account = None
            account.give(self.size)

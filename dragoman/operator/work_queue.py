"""Things to be put right, each by one worker at a time, again after a pause where that fails (as the work queue of
Kubernetes' controllers: k8s.io/client-go/util/workqueue).
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Hashable
from typing import Final, Generic, TypeVar

import structlog

from dragoman.kube import ApiError

log = structlog.get_logger(__name__)

_FIRST_PAUSE: Final = 0.1
_LONGEST_PAUSE: Final = 30.0

Key = TypeVar("Key", bound=Hashable)


class TryAgainError(Exception):
    """Not done yet, for the reason that the message gives."""


class WorkQueue(Generic[Key]):
    """Calls `work` for every key that is added.

    A key that is added while it waits is done once; one that is added while it is worked on is done once more. What
    raises `ApiError` or `TryAgainError` is tried again, after ever longer pauses; anything else ends the queue.
    """

    def __init__(self, work: Callable[[Key], Awaitable[None]], *, workers: int = 4) -> None:
        self._work = work
        self._workers = workers
        self._waiting: dict[Key, None] = {}
        self._busy: set[Key] = set()
        self._again: set[Key] = set()
        self._failures: dict[Key, int] = {}
        self._timers: dict[Key, asyncio.TimerHandle] = {}
        self._wake = asyncio.Event()

    def add(self, key: Key) -> None:
        """Have it done as soon as possible, also where it waits for another try."""
        if timer := self._timers.pop(key, None):
            timer.cancel()
        if key in self._busy:
            self._again.add(key)
            return
        self._waiting[key] = None
        self._wake.set()

    @property
    def idle(self) -> bool:
        """Whether nothing is to be done, or tried again, now."""
        return not (self._waiting or self._busy or self._timers)

    async def run(self) -> None:
        """Work until cancelled."""
        try:
            async with asyncio.TaskGroup() as tasks:
                for _ in range(self._workers):
                    tasks.create_task(self._take())
        finally:
            for timer in self._timers.values():
                timer.cancel()
            self._timers.clear()

    async def _take(self) -> None:
        while True:
            while not self._waiting:
                self._wake.clear()
                await self._wake.wait()
            key = next(iter(self._waiting))
            del self._waiting[key]
            self._busy.add(key)
            try:
                await self._work(key)
            except (ApiError, TryAgainError) as error:
                self._later(key, error)
            else:
                self._failures.pop(key, None)
            finally:
                self._busy.discard(key)
                if key in self._again:
                    self._again.discard(key)
                    self.add(key)

    def _later(self, key: Key, error: ApiError | TryAgainError) -> None:
        failures = self._failures[key] = self._failures.get(key, 0) + 1
        pause = min(_FIRST_PAUSE * 2.0 ** (failures - 1), _LONGEST_PAUSE) * random.uniform(0.5, 1)  # noqa: S311 - jitter
        if isinstance(error, ApiError):
            pause = max(pause, min(error.retry_after or 0.0, _LONGEST_PAUSE))
        log.info("to be tried again", what=str(key), error=str(error), after=round(pause, 3))
        self._timers[key] = asyncio.get_running_loop().call_later(pause, self.add, key)

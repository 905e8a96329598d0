"""How much of the processor changes may take while they come in storms."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

SHARE: Final = 0.5
"""Of one core. The rest is for streams that connect, certificates and probes."""
CREDIT: Final = 0.2
"""Seconds of processor time that may be used at once after a quiet time."""
SHARE_ALONE: Final = 0.8
"""The same for changes that come alone: hardly any is replaced while it waits, so that to hold it back saves little."""
CREDIT_ALONE: Final = 2.0
"""The same for them: a few wide ones a second are no storm."""
QUIET: Final = 0.015
"""Seconds without another change before one that comes alone."""
LONGEST_PAUSE: Final = 0.1
"""Seconds by which a change may be held back."""


class Governor:
    """Says how long to pause before more changes are taken in.

    A lone change goes out at once: there is no fixed debounce. Only when the process, all its threads, has used more
    than its share, changes wait: they coalesce, and the latest wins. What a change costs is mostly written to streams
    after it was computed, so it is the processor's time that counts and not that of the computation.
    """

    def __init__(
        self, clock: Callable[[], float] = time.monotonic, processor: Callable[[], float] = time.process_time
    ) -> None:
        self._clock, self._processor = clock, processor
        self._at, self._used = clock(), processor()
        self._storm, self._alone = _Account(SHARE, CREDIT), _Account(SHARE_ALONE, CREDIT_ALONE)
        self._arrived_at = self._at
        self._arrived = 0
        """Changes since the last pause."""
        self._came_alone = False

    def arrived(self, changes: int) -> None:
        """So many changes came together."""
        now = self._clock()
        self._arrived += changes
        self._came_alone = self._arrived == 1 and now - self._arrived_at >= QUIET
        self._arrived_at = now

    def pause(self) -> float:
        """Seconds to wait now before what has arrived is taken in; 0 unless the share is used up."""
        at, used = self._clock(), self._processor()
        for account in (self._storm, self._alone):
            account.used(used - self._used, at - self._at)
        self._at, self._used, self._arrived = at, used, 0
        return (self._alone if self._came_alone else self._storm).pause()


class _Account:
    """A share of one core, and seconds that may be used beyond it at once."""

    def __init__(self, share: float, credit: float) -> None:
        self._share, self._credit = share, credit
        self._debt = -credit

    def used(self, processor: float, seconds: float) -> None:
        """So much of the processor's time was used within these seconds."""
        debt = self._debt + processor - self._share * seconds
        self._debt = min(max(debt, -self._credit), self._share * LONGEST_PAUSE)

    def pause(self) -> float:
        """Seconds after which no more than the share was used."""
        return max(0.0, self._debt / self._share)

"""How much of the processor changes may take while they come in storms."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

SHARE: Final = 0.5
"""Of one core. The rest is for streams that connect, certificates and probes."""
CREDIT: Final = 0.2
"""Seconds of processor time that may be used at once after a quiet time."""
CREDIT_ALONE: Final = 2.0
"""The same for changes that come alone: a few wide ones a second take what half a core gives, and are no storm."""
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
        self._debt, self._debt_alone = -CREDIT, -CREDIT_ALONE
        self._arrived_at = self._at
        self._arrived = 0
        """Changes since the last pause."""
        self._alone = False

    def arrived(self, changes: int) -> None:
        """So many changes came together."""
        now = self._clock()
        self._arrived += changes
        self._alone = self._arrived == 1 and now - self._arrived_at >= QUIET
        self._arrived_at = now

    def pause(self) -> float:
        """Seconds to wait now before what has arrived is taken in; 0 unless the share is used up."""
        at, used = self._clock(), self._processor()
        more = used - self._used - SHARE * (at - self._at)
        self._at, self._used, self._arrived = at, used, 0
        self._debt, self._debt_alone = _owed(self._debt + more, CREDIT), _owed(self._debt_alone + more, CREDIT_ALONE)
        return max(0.0, (self._debt_alone if self._alone else self._debt) / SHARE)


def _owed(debt: float, credit: float) -> float:
    return min(max(debt, -credit), SHARE * LONGEST_PAUSE)

"""How much of the processor changes may take while they come in storms."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

SHARE: Final = 0.5
"""Of one core. The rest is for streams that connect, certificates and probes."""
CREDIT: Final = 0.2
"""Seconds of processor time that may be used at once after a quiet time."""
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
        self._debt = -CREDIT

    def pause(self) -> float:
        """Seconds to wait now; 0 unless the share is used up."""
        at, used = self._clock(), self._processor()
        debt = self._debt + (used - self._used) - SHARE * (at - self._at)
        self._at, self._used = at, used
        self._debt = min(max(debt, -CREDIT), SHARE * LONGEST_PAUSE)
        return max(0.0, self._debt / SHARE)

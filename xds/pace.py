"""How fast something may begin."""

import asyncio
import time


class Pace:
    """A token bucket: `per_second` turns a second, of which those of one second may come together; 0 for any number.

    Whoever comes too early waits, in the order of coming (Istio: PILOT_MAX_REQUESTS_PER_SECOND).
    """

    def __init__(self, per_second: float) -> None:
        self._interval = 1 / per_second if per_second > 0 else 0.0
        self._burst = max(0.0, 1.0 - self._interval)
        self._next = 0.0

    async def turn(self) -> None:
        """Wait for a turn. One that is given up while waiting is lost."""
        if not self._interval:
            return
        now = time.monotonic()
        begin = max(self._next, now - self._burst)
        self._next = begin + self._interval
        if begin > now:
            await asyncio.sleep(begin - now)

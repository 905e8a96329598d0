"""Numbers of a process and of samples."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

_LAG_INTERVAL = 0.005


def percentile(samples: Iterable[float], share: float) -> float:
    """The smallest sample that at least `share` (0 to 1) of them do not exceed (nearest rank); NaN for none."""
    ordered = sorted(samples)
    if not ordered:
        return math.nan
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def median(samples: Iterable[float]) -> float:
    return percentile(samples, 0.5)


def slope(points: Sequence[tuple[float, float]]) -> float:
    """Least-squares slope of y over x; 0 where it is not defined."""
    count = len(points)
    mean_x = sum(x for x, _ in points) / count if count else 0.0
    mean_y = sum(y for _, y in points) / count if count else 0.0
    spread = sum((x - mean_x) ** 2 for x, _ in points)
    return sum((x - mean_x) * (y - mean_y) for x, y in points) / spread if spread else 0.0


def memory_mb() -> tuple[float, float]:
    """Resident set of this process now, and its peak so far, in MB (proc(5): VmRSS, VmHWM)."""
    found = {}
    for line in Path("/proc/self/status").read_text().splitlines():
        key, _, value = line.partition(":")
        if key in ("VmRSS", "VmHWM"):
            found[key] = int(value.split()[0]) * 1024 / 1e6
    return found["VmRSS"], found["VmHWM"]


class LoopLag:
    """How late the event loop is: what a timer of 5 ms is late by, in milliseconds."""

    def __init__(self) -> None:
        self.samples: list[float] = []
        self._since = 0.0

    def forget(self) -> None:
        """Begin anew: with the timers that are set from now on."""
        self.samples.clear()
        self._since = time.perf_counter()

    async def run(self) -> None:
        """Sample for ever."""
        while True:
            began = time.perf_counter()
            await asyncio.sleep(_LAG_INTERVAL)
            if began >= self._since:
                self.samples.append((time.perf_counter() - began - _LAG_INTERVAL) * 1000)

"""The live view: traffic per service and version, and what is wrong with the files.

On a terminal a table that stays in its place; elsewhere lines, where a problem comes at once and traffic now and then.
"""

from __future__ import annotations

import asyncio
import itertools
import statistics
import time
from collections import deque
from collections.abc import Mapping
from typing import Final

import aiohttp
from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from crds.problem import Severity
from dragoman.demo.metrics import Scraper, Totals, Traffic, traffic
from dragoman.demo.runner import Demo
from dragoman.demo.traffic import SteadyTraffic
from dragoman.demo.workloads import Workload
from xds import Rejection

_EVERY_SECONDS: Final = 1.0
_LOOK_BACK: Final = 11
"""Looks that medians are taken over: Envoy merges its histograms every 5 s (Envoy: Bootstrap.stats_flush_interval)."""
_LINES_EVERY: Final = 10
"""Looks between lines of traffic where there is no terminal."""
_MOST_PROBLEMS: Final = 6

_COLUMNS: Final = ("service", "version", "requests/s", "success", "p50", "mTLS", "called by")


class LiveView:
    """What is shown of a running demo."""

    def __init__(self, demo: Demo, steady: SteadyTraffic, console: Console) -> None:
        self._demo = demo
        self._steady = steady
        self._console = console
        self._workloads = [workload for workload in demo.workloads if not workload.gateway]
        self._scrapes: deque[tuple[float, Mapping[str, Totals]]] = deque(maxlen=_LOOK_BACK + 1)

    async def run(self) -> None:
        """Show until cancelled."""
        async with Scraper(self._workloads, self._demo.metrics_port) as scraper:
            await (self._in_place(scraper) if self._console.is_terminal else self._in_lines(scraper))

    async def _in_place(self, scraper: Scraper) -> None:
        with Live(console=self._console, auto_refresh=False) as live:
            while True:
                await self._look(scraper)
                live.update(self._picture(), refresh=True)
                await asyncio.sleep(_EVERY_SECONDS)

    async def _in_lines(self, scraper: Scraper) -> None:
        told: tuple[str, ...] = ()
        for look in itertools.count(1):
            await self._look(scraper)
            problems = self.problems()
            self._say(*(problem for problem in problems if problem not in told))
            if told and not problems:
                self._say("all files are in force")
            told = problems
            if look % _LINES_EVERY == 0:
                lines = (f"  {' '.join(c.ljust(10) for c in row)}".rstrip() for row in (_COLUMNS, *self._cells()))
                self._say(self._customers(), *lines)
            await asyncio.sleep(_EVERY_SECONDS)

    async def _look(self, scraper: Scraper) -> None:
        try:
            self._scrapes.append((time.monotonic(), await scraper.scrape()))
        except (aiohttp.ClientError, TimeoutError):
            # Whoever waits for the end of an Envoy tells of it; until then the last numbers stand.
            return

    def traffic(self) -> list[tuple[Workload, Traffic]]:
        """Traffic of each workload between the last two looks, and its median over a longer time."""
        if len(self._scrapes) < 2:
            return []
        (long_ago, oldest), (before, previous), (now, latest) = (self._scrapes[i] for i in (0, -2, -1))
        found = []
        for workload in self._workloads:
            pod = workload.pod
            recent = traffic(previous[pod], latest[pod], now - before)
            longer = traffic(oldest[pod], latest[pod], now - long_ago)
            found.append((workload, recent.with_median(longer.median_milliseconds)))
        return found

    def problems(self) -> tuple[str, ...]:
        """What is wrong with the files as they are now, and what proxies reject that was made of them."""
        plane = self._demo.control_plane
        found = [str(report) for report in plane.source.reports() if report.problem.severity is not Severity.INFO]
        for mounted in plane.mounted:
            for (_, name), blocked in mounted.view.blocked().items():
                if isinstance(blocked.reason, Rejection):
                    found.append(f"{blocked.reason.proxy} rejects {name}: {blocked.reason.message}")
            found += (f"{call}: {failure.error}" for call, failure in mounted.publication.failures.items())
        return tuple(dict.fromkeys(found))

    def _picture(self) -> Group:
        table = Table(*_COLUMNS, box=None, header_style="bold", pad_edge=False)
        for column in table.columns[2:6]:
            column.justify = "right"
        for cells in self._cells():
            table.add_row(*cells)
        problems = self.problems()
        shown = [Text(problem, style="red") for problem in problems[:_MOST_PROBLEMS]]
        if len(problems) > _MOST_PROBLEMS:
            shown.append(Text(f"and {len(problems) - _MOST_PROBLEMS} more", style="red"))
        return Group("", Text(self._customers(), style="bold"), "", table, "", *shown)

    def _customers(self) -> str:
        now = time.monotonic()
        recent = [outcome for outcome in self._steady.since(now - 2) if outcome.started < now - 1]
        if not recent:
            return "customers: none yet"
        success = sum(outcome.status == 200 for outcome in recent) / len(recent)
        p50 = statistics.median(outcome.seconds for outcome in recent) * 1000
        return f"customers at the gateway: {len(recent)} requests/s, {_share(success)} success, p50 {p50:.1f} ms"

    def _cells(self) -> list[tuple[str, ...]]:
        return [
            (
                workload.labels["app"],
                workload.labels["version"],
                f"{seen.requests_per_second:.1f}",
                _share(seen.success),
                "-" if seen.median_milliseconds is None else f"{seen.median_milliseconds:.1f} ms",
                _share(seen.mutual_tls),
                ", ".join(seen.callers) or "-",
            )
            for workload, seen in self.traffic()
        ]

    def _say(self, *lines: str) -> None:
        for line in lines:
            self._console.out(line, highlight=False)


def _share(share: float | None) -> str:
    return "-" if share is None else f"{share:.1%}"

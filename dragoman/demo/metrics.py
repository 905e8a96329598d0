"""What the shop's Envoys counted, read as Prometheus would read it.

Istio's metrics (Istio: "Standard Metrics") as the server's side reports them (`reporter="destination"`).
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Self

import aiohttp
from prometheus_client.parser import text_string_to_metric_families

from dragoman.demo.workloads import Workload

_REQUESTS, _DURATION = "istio_requests_total", "istio_request_duration_milliseconds_bucket"
_WANTED = "istio_request(s_total|_duration)"


@dataclass(frozen=True, slots=True)
class Totals:
    """What one proxy has counted since it started."""

    requests: float = 0
    succeeded: float = 0
    """Answered with 2xx or 3xx: what a policy denies is no success to the customer."""
    mutual_tls: float = 0
    callers: Mapping[str, float] = field(default_factory=dict)
    """source workload → requests"""
    buckets: Mapping[float, float] = field(default_factory=dict)
    """upper bound in milliseconds → requests that took at most that"""


def totals(text: str) -> Totals:
    """The sums over all series of one scrape."""
    requests = succeeded = mutual_tls = 0.0
    callers: dict[str, float] = {}
    buckets: dict[float, float] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            if sample.labels.get("reporter") != "destination":
                continue
            if sample.name == _DURATION:
                bound = float(sample.labels["le"])
                buckets[bound] = buckets.get(bound, 0.0) + sample.value
            elif sample.name == _REQUESTS:
                requests += sample.value
                succeeded += sample.value * (sample.labels["response_code"][:1] in ("2", "3"))
                mutual_tls += sample.value * (sample.labels["connection_security_policy"] == "mutual_tls")
                caller = sample.labels["source_workload"]
                callers[caller] = callers.get(caller, 0.0) + sample.value
    return Totals(requests, succeeded, mutual_tls, callers, buckets)


@dataclass(frozen=True, slots=True)
class Traffic:
    """What one workload got in a stretch of time. Shares are 0 to 1, None where there was nothing to measure."""

    requests_per_second: float
    success: float | None
    mutual_tls: float | None
    median_milliseconds: float | None
    callers: tuple[str, ...]

    def with_median(self, milliseconds: float | None) -> Traffic:
        return replace(self, median_milliseconds=milliseconds)


def traffic(before: Totals, after: Totals, seconds: float) -> Traffic:
    """What happened between two scrapes of one proxy."""
    requests = after.requests - before.requests
    return Traffic(
        requests / seconds,
        (after.succeeded - before.succeeded) / requests if requests else None,
        (after.mutual_tls - before.mutual_tls) / requests if requests else None,
        median({bound: count - before.buckets.get(bound, 0.0) for bound, count in after.buckets.items()}),
        tuple(sorted(name for name, count in after.callers.items() if count > before.callers.get(name, 0.0))),
    )


def median(buckets: Mapping[float, float]) -> float | None:
    """The median by linear interpolation within its bucket, as Prometheus' `histogram_quantile` does it."""
    bounds = sorted(buckets.items())
    if not bounds or not bounds[-1][1]:
        return None
    half = bounds[-1][1] / 2
    for (lower, below), (upper, up_to) in itertools.pairwise([(0.0, 0.0), *bounds]):
        if up_to >= half:
            return lower if upper == float("inf") else lower + (upper - lower) * (half - below) / (up_to - below)
    return None


class Scraper:
    """Reads the metrics port of each workload's Envoy; `port` is the same on all. An async context manager."""

    def __init__(self, workloads: Iterable[Workload], port: int) -> None:
        self._urls = {w.pod: f"http://{w.address}:{port}/stats/prometheus?filter={_WANTED}" for w in workloads}
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=5))
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._session is not None:
            await self._session.close()

    async def scrape(self) -> dict[str, Totals]:
        """pod → what its Envoy has counted. Raises `aiohttp.ClientError` when one is out of reach."""
        found = await asyncio.gather(*map(self._one, self._urls.values()))
        return dict(zip(self._urls, found, strict=True))

    async def _one(self, url: str) -> Totals:
        if self._session is None:
            raise RuntimeError("enter the scraper first")
        async with self._session.get(url) as response:
            return totals(await response.text())

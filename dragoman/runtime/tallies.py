"""Counters and histograms of what happens thousands of times a second.

prometheus-client's own take a lock and look up a child for each number, which is a good part of what a response costs;
all of this happens in the event loop, where adding is enough. They are turned into metrics when these are asked for.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily, Metric, UnknownMetricFamily
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString


class Distribution:
    """How many values there were up to each bound, and their sum."""

    __slots__ = ("_bounds", "_counts", "_sum")

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self._sum = 0.0

    def observe(self, value: float) -> None:
        self._counts[bisect_left(self._bounds, value)] += 1
        self._sum += value

    def add_to(self, family: HistogramMetricFamily, labels: Sequence[str]) -> None:
        """Write what was observed into a metric: buckets are cumulative there (Prometheus: exposition formats)."""
        buckets, total = [], 0
        for bound, count in zip((*self._bounds, float("inf")), self._counts, strict=True):
            total += count
            buckets.append((floatToGoString(bound), float(total)))  # type: ignore[no-untyped-call]
        family.add_metric(labels, buckets, self._sum)


class Responses:
    """The responses of one type."""

    __slots__ = ("bytes", "count", "resources", "seconds")

    def __init__(self, bounds: Sequence[float]) -> None:
        self.count = 0
        self.resources = 0
        self.bytes = 0
        self.seconds = Distribution(bounds)


class StreamTallies(Collector):
    """What was sent, by type (`cds` and the like), and how long proxies took to accept it; `bounds` in seconds."""

    def __init__(self, types: Sequence[str], bounds: Sequence[float], registry: CollectorRegistry) -> None:
        self._bounds = bounds
        self._responses = {service: Responses(bounds) for service in types}
        self._rejects = dict.fromkeys(types, 0)
        self.convergence = Distribution(bounds)
        registry.register(self)

    def of(self, service: str) -> Responses:
        """The tally of a type."""
        return self._responses.setdefault(service, Responses(self._bounds))

    def rejected(self, service: str) -> None:
        """Count a response that a proxy rejected."""
        self._rejects[service] = self._rejects.get(service, 0) + 1

    def collect(self) -> Iterator[Metric]:
        # No `_total` in these names, as Istio's dashboards ask for them: exposed as untyped.
        pushes = UnknownMetricFamily("pilot_xds_pushes", "Responses sent, by type.", labels=("type",))
        rejects = UnknownMetricFamily(
            "pilot_total_xds_rejects", "Responses rejected by proxies, by type.", labels=("type",)
        )
        resources = CounterMetricFamily(
            "dragoman_xds_resources", "Resources and removals sent, by type.", labels=("type",)
        )
        size = CounterMetricFamily("dragoman_xds_bytes", "Bytes of responses sent, by type.", labels=("type",))
        seconds = HistogramMetricFamily(
            "pilot_xds_push_time", "Seconds until a response was handed to the transport, by type.", labels=("type",)
        )
        for service, responses in self._responses.items():
            pushes.add_metric((service,), responses.count)
            if responses.count:
                resources.add_metric((service,), responses.resources)
                size.add_metric((service,), responses.bytes)
                responses.seconds.add_to(seconds, (service,))
        for service, count in self._rejects.items():
            rejects.add_metric((service,), count)
        convergence = HistogramMetricFamily(
            "pilot_proxy_convergence_time",
            "Seconds from a change, or from a first response, to the proxy's acceptance of it.",
        )
        self.convergence.add_to(convergence, ())
        yield from (pushes, rejects, resources, size, seconds, convergence)

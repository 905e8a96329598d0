"""Metrics of a source that follows an API server."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from dragoman.sources.kubernetes.source import KubernetesSource


class SourceMetrics(Collector):
    """Collected when they are asked for."""

    def __init__(self, source: KubernetesSource) -> None:
        self._source = source

    def collect(self) -> Iterator[Metric]:
        objects, lists, interruptions, denied = Counter[str](), Counter[str](), Counter[str](), Counter[str]()
        for scope, (_, reflector, _) in self._source.followed.items():
            resource = str(scope.resource)
            objects[resource] += len(reflector)
            lists[resource] += reflector.lists
            interruptions[resource] += reflector.failed
            denied[resource] += reflector.denied
        known = GaugeMetricFamily(
            "dragoman_kubernetes_objects",
            "Objects that the API server has told of, in force or not, by resource.",
            labels=("resource",),
        )
        forbidden = GaugeMetricFamily(
            "dragoman_kubernetes_denied",
            "Lists and watches that the API server forbids now, by resource.",
            labels=("resource",),
        )
        listed = CounterMetricFamily(
            "dragoman_kubernetes_lists",
            "Lists of everything, by resource: one at the start, another whenever a watch could not be resumed.",
            labels=("resource",),
        )
        interrupted = CounterMetricFamily(
            "dragoman_kubernetes_interruptions",
            "Requests to the API server that failed, or broke off, by resource.",
            labels=("resource",),
        )
        for family, counted in (
            (known, objects),
            (forbidden, denied),
            (listed, lists),
            (interrupted, interruptions),
        ):
            for resource in sorted(objects):
                family.add_metric((resource,), counted[resource])
            yield family

"""What the webhooks count, under Istio's names (Istio: pkg/webhooks/validation/server/monitoring.go and
pkg/kube/inject/monitoring.go), so that its dashboards and alerts show something."""

from __future__ import annotations

from collections import Counter as Tally
from collections.abc import Iterator

from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.core import Metric, UnknownMetricFamily
from prometheus_client.registry import Collector

from dragoman.admission.review import AdmissionRequest, Verdict

_SECONDS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5)
_RESOURCE = ("group", "version", "resource")
_SHAPE = "DRG01"


class _Untyped(Collector):
    """A counter whose name does not end with `_total`, as Istio's does not: exposed as untyped."""

    def __init__(self, name: str, documentation: str, labels: tuple[str, ...], registry: CollectorRegistry) -> None:
        self._name = name
        self._documentation = documentation
        self._labels = labels
        self._counts: Tally[tuple[str, ...]] = Tally()
        registry.register(self)

    def add(self, *labels: str) -> None:
        self._counts[labels] += 1

    def collect(self) -> Iterator[Metric]:
        family = UnknownMetricFamily(self._name, self._documentation, labels=self._labels)
        for labels, count in self._counts.items():
            family.add_metric(labels, count)
        yield family


class AdmissionMetrics:
    """The counters of both webhooks. Labels come from the API server's own names, never from what is in an object."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._passed = _Untyped("galley_validation_passed", "Objects that may enter the cluster.", _RESOURCE, registry)
        self._failed = _Untyped(
            "galley_validation_failed", "Objects kept out, by reason.", (*_RESOURCE, "reason"), registry
        )
        self._http_errors = _Untyped(
            "galley_validation_http_error", "Reviews that could not be read, by HTTP status.", ("status",), registry
        )
        self._requests = Counter("sidecar_injection_requests", "Pods asked about.", registry=registry)
        self._injected = Counter("sidecar_injection_success", "Pods that got a sidecar.", registry=registry)
        self._failures = Counter("sidecar_injection_failure", "Pods kept out, and bad requests.", registry=registry)
        self._skipped = Counter("sidecar_injection_skip", "Pods left as they are.", registry=registry)
        self._seconds = Histogram(
            "sidecar_injection_time_seconds",
            "Time to answer about a pod, with that in the queue.",
            buckets=_SECONDS,
            registry=registry,
        )

    def validated(self, request: AdmissionRequest, verdict: Verdict) -> None:
        """Count the verdict on an object."""
        resource = request.resource
        labels = (resource.group, resource.version, resource.resource)
        if verdict.allowed:
            self._passed.add(*labels)
        else:
            shape = verdict.errors[0].code.startswith(_SHAPE)
            self._failed.add(*labels, "crd_conversion_error" if shape else "invalid_resource")

    def injected(self, verdict: Verdict, seconds: float) -> None:
        """Count the verdict on a pod, which took so long."""
        self._requests.inc()
        self._seconds.observe(seconds)
        if verdict.errors:
            self._failures.inc()
        else:
            (self._injected if verdict.patch else self._skipped).inc()

    def refused(self, *, injection: bool, status: int) -> None:
        """Count a request that is no review."""
        if injection:
            self._requests.inc()
            self._failures.inc()
        else:
            self._http_errors.add(str(status))

"""What changed, counted as Istio's control plane counts it (Istio: pilot/pkg/bootstrap/configcontroller.go,
pilot/pkg/serviceregistry/kube/controller, pilot/pkg/xds/monitoring.go), so that its dashboards show it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Final

from prometheus_client import CollectorRegistry
from prometheus_client.core import Metric, UnknownMetricFamily
from prometheus_client.registry import Collector

from crds.registry import ISTIO_KINDS
from dragoman.sources.change import Change

_REGISTRY_TYPES: Final = {
    "Service": "Services",
    "EndpointSlice": "EndpointSlice",
    "Endpoints": "Endpoints",
    "Pod": "Pods",
    "Node": "Nodes",
    "Namespace": "Namespaces",
    "Secret": "Secrets",
    "ConfigMap": "ConfigMaps",
}
"""Kinds that are no configuration, as Istio's metrics call them."""

_REASONS: Final = {
    "Service": "service",
    "EndpointSlice": "endpoint",
    "Endpoints": "endpoint",
    "Pod": "endpoint",
    "Secret": "secret",
    "Namespace": "namespace",
    "ConfigMap": "global",
}
"""Why something is sent (Istio: pilot/pkg/model/push_context.go, TriggerReason); any other kind is `config`."""

_UPDATES: Final = {"service": "svc", "endpoint": "eds"}
"""Istio's names of what comes in; the rest is `config`."""


class ChangeCounts(Collector):
    """Counts changes of objects by kind, and transactions by why there is one."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._configuration: Counter[tuple[str, str]] = Counter()
        self._registry: Counter[tuple[str, str]] = Counter()
        self._updates: Counter[tuple[str]] = Counter()
        self._triggers: Counter[tuple[str]] = Counter()
        registry.register(self)

    def changed(self, changes: Iterable[Change]) -> None:
        """Count these."""
        for change in changes:
            kind = change.key.kind
            event = "add" if change.old is None else "delete" if change.new is None else "update"
            if kind in ISTIO_KINDS:
                self._configuration[kind, event] += 1
            else:
                self._registry[_REGISTRY_TYPES.get(kind, kind), event] += 1
            self._updates[(_UPDATES.get(_reason(kind), "config"),)] += 1

    def taken_in(self, kinds: Iterable[str]) -> None:
        """Count a transaction in which objects of these kinds changed."""
        for reason in set(map(_reason, kinds)):
            self._triggers[(reason,)] += 1

    def collect(self) -> Iterator[Metric]:
        for name, documentation, labels, counts in (
            ("pilot_k8s_cfg_events", "Changes of Istio's objects.", ("type", "event"), self._configuration),
            ("pilot_k8s_reg_events", "Changes of Kubernetes' objects.", ("type", "event"), self._registry),
            ("pilot_inbound_updates", "Changes taken in, by what they are about.", ("type",), self._updates),
            ("pilot_push_triggers", "Transactions, by why there was one.", ("type",), self._triggers),
        ):
            family = UnknownMetricFamily(name, documentation, labels=labels)
            for values, count in sorted(counts.items()):
                family.add_metric(values, count)
            yield family

    def describe(self) -> list[Metric]:
        """Nothing beforehand: registering must not collect."""
        return []


def _reason(kind: str) -> str:
    return _REASONS.get(kind, "config")

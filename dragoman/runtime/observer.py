"""What happens on the streams, counted; and what proxies reject, with the objects it was made from.

Names are those of Istio's control plane where it has the same thing (Istio: pilot/pkg/xds/monitoring.go), so that
dashboards and alerts find them. The streams log for themselves (`xds.connection`).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Final

import structlog
from prometheus_client import CollectorRegistry, Counter, Gauge

from dragoman.codec import CLUSTER, ENDPOINT, EXTENSION_CONFIG, LISTENER, ROUTE, SECRET, Ref
from dragoman.runtime.blame import RejectedResource
from dragoman.runtime.tallies import Responses, StreamTallies

log = structlog.get_logger(__name__)

DISCOVERY_SERVICES: Final = {
    CLUSTER: "cds",
    LISTENER: "lds",
    ENDPOINT: "eds",
    ROUTE: "rds",
    SECRET: "sds",
    EXTENSION_CONFIG: "ecds",
}
"""Istio's short names of the types (Istio: pilot/pkg/xds/v3/model.go, GetMetricType)."""

_SECONDS: Final = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1, 3, 5, 10, 20, 30)
_REMEMBERED_NACKS: Final = 256

Describe = Callable[[str, Ref], RejectedResource]
"""What there is to say about a resource that a proxy rejected."""


def discovery_service(type_url: str) -> str:
    """`cds` and the like; the message's own name for a type that has no such name."""
    return DISCOVERY_SERVICES.get(type_url) or type_url.rpartition(".")[2]


@dataclass(frozen=True, slots=True)
class Nack:
    """A response that a proxy rejected."""

    at: datetime
    proxies: tuple[str, ...]
    """Who rejected it: all that had been sent it before the first one answered."""
    type_url: str
    message: str
    """Envoy's words."""
    resources: tuple[RejectedResource, ...]
    """The resources at fault; empty while the culprit is being searched for."""

    def repeats(self, other: Nack) -> bool:
        """Whether the same was rejected before, by anybody; or by the same proxy, if only proxies do without it."""
        if (self.type_url, self.resources) != (other.type_url, other.resources) or not self.resources:
            return False
        return all(resource.held_back for resource in self.resources) or set(self.proxies) <= set(other.proxies)


class StreamObserver:
    """Counts into `registry` (`xds.Observer`). `nacks` are the latest rejections, oldest first.

    Proxies that reject the same thing at the same time are one of these: it is logged and told once. `on_answer` is
    told of each response that was accepted, and of each stream that ended.
    """

    def __init__(
        self,
        registry: CollectorRegistry,
        describe: Describe,
        on_nack: Callable[[Nack], None],
        on_answer: Callable[[], None] = lambda: None,
    ) -> None:
        self._describe = describe
        self._on_nack = on_nack
        self._on_answer = on_answer
        self.nacks: deque[Nack] = deque(maxlen=_REMEMBERED_NACKS)
        of_type = ("type",)
        self._tallies = StreamTallies(tuple(DISCOVERY_SERVICES.values()), _SECONDS, registry)
        self._responses: dict[str, Responses] = {}
        self._rejects_by_node = {
            service: Gauge(
                f"pilot_xds_{service}_reject",
                f"Responses of {service.upper()} rejected, by proxy.",
                ("node",),
                registry=registry,
            )
            for service in ("cds", "eds", "lds", "rds")
        }
        self._overdue = Counter(
            "dragoman_xds_waits_given_up",
            "Resources sent although what they depend on was not accepted in time, by type.",
            of_type,
            registry=registry,
        )
        self._connections = Counter("dragoman_xds_connections", "Streams opened.", registry=registry)
        self._refused = Counter(
            "dragoman_xds_refused", "Streams turned away, by gRPC status.", ("code",), registry=registry
        )
        self._shed = Counter("dragoman_xds_shed", "Streams ended because of the quota.", registry=registry)
        self._stuck = Counter(
            "dragoman_xds_stuck",
            "Connections cut because a response was not read for too long, by its type.",
            of_type,
            registry=registry,
        )

    def connected(self, proxy: str) -> None:
        self._connections.inc()

    def disconnected(self, proxy: str, seconds: float) -> None:
        # The streams that are open are counted when asked for.
        self._on_answer()

    def refused(self, code: str) -> None:
        self._refused.labels(code).inc()

    def shed(self, proxy: str) -> None:
        self._shed.inc()

    def stuck(self, proxy: str, type_url: str) -> None:
        self._stuck.labels(discovery_service(type_url)).inc()

    def pushed(self, proxy: str, type_url: str, count: int, size: int, seconds: float) -> None:
        tally = self._responses.get(type_url)
        if tally is None:
            tally = self._responses[type_url] = self._tallies.of(discovery_service(type_url))
        tally.count += 1
        tally.resources += count
        tally.bytes += size
        tally.seconds.observe(seconds)

    def acked(self, proxy: str, type_url: str, seconds: float) -> None:
        self._tallies.convergence.observe(seconds)
        self._on_answer()

    def nacked(self, proxy: str, type_url: str, names: tuple[str, ...], message: str) -> None:
        service = discovery_service(type_url)
        self._tallies.rejected(service)
        if service in self._rejects_by_node:
            self._rejects_by_node[service].labels(proxy).inc()
        resources = tuple(self._describe(proxy, (type_url, name)) for name in names)
        nack = Nack(datetime.now(UTC), (proxy,), type_url, message, resources)
        for index, before in enumerate(self.nacks):
            if nack.repeats(before):
                self.nacks[index] = replace(before, proxies=tuple(dict.fromkeys((*before.proxies, proxy))))
                return
        for resource in resources:
            log.error(
                "resource rejected",
                proxy=proxy,
                type=service,
                resource=resource.name,
                version=resource.version,
                error=message,
                made_from=list(map(str, resource.made_from)),
                served_instead=resource.served_instead,
            )
        self.nacks.append(nack)
        self._on_nack(nack)

    def waited(self, proxy: str, type_url: str, names: tuple[str, ...]) -> None:
        self._overdue.labels(discovery_service(type_url)).inc(len(names))

"""`/metrics`: the state of the control plane, collected when it is asked for, and the counters of the streams.

Names are Istio's where it has the same thing (Istio: pilot/pkg/model/push_context.go, pilot/pkg/xds/monitoring.go,
security/pkg/server/ca/monitoring.go), so that its dashboards and alerts show something.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime

from aiohttp import web
from prometheus_client import PlatformCollector, ProcessCollector, disable_created_metrics, exposition
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from crds.problem import Severity
from dragoman.debug.health import VERSION
from dragoman.debug.loop_lag import LoopLag
from dragoman.debug.plane import plane_of, views_in_use
from dragoman.runtime import ControlPlane
from dragoman.runtime.observer import discovery_service

routes = web.RouteTableDef()


@routes.get("/metrics")
async def metrics(request: web.Request) -> web.Response:
    """Metrics in Prometheus' text format."""
    encode, content_type = exposition.choose_encoder(request.headers.get("Accept", ""))
    return web.Response(body=encode(plane_of(request).registry), headers={"Content-Type": content_type})


class PlaneCollector(Collector):
    """The control plane as it is at the scrape."""

    def __init__(self, plane: ControlPlane, lag: LoopLag) -> None:
        self._plane = plane
        self._lag = lag
        self._started = time.monotonic()

    def describe(self) -> list[Metric]:
        """Nothing beforehand: registering must not collect."""
        return []

    def collect(self) -> Iterator[Metric]:
        yield from self._objects()
        yield from self._streams()
        yield from self._views()
        yield from self._engine()
        yield from self._authority()
        yield GaugeMetricFamily(
            "dragoman_loop_lag_seconds",
            "Longest delay of the event loop since the last scrape, in seconds.",
            self._lag.take_worst(),
        )

    def _objects(self) -> Iterator[Metric]:
        info = GaugeMetricFamily("pilot_info", "The version that runs.", labels=("version",))
        info.add_metric((VERSION,), 1)
        yield info
        build = GaugeMetricFamily("istio_build", "The same, as dashboards look for it.", labels=("component", "tag"))
        build.add_metric(("pilot", VERSION), 1)
        yield build
        yield GaugeMetricFamily(
            "istiod_uptime_seconds", "How long it has been running, in seconds.", time.monotonic() - self._started
        )
        kinds = Counter(key.kind for key in self._plane.world.objects)
        yield GaugeMetricFamily("pilot_services", "Services known.", kinds["Service"])
        yield GaugeMetricFamily("pilot_virt_services", "VirtualServices known.", kinds["VirtualService"])
        objects = GaugeMetricFamily("dragoman_objects", "Objects in force, by kind.", labels=("kind",))
        for kind, count in sorted(kinds.items()):
            objects.add_metric((kind,), count)
        yield objects
        # Before that, a thread may be loading.
        reports = self._plane.source.reports() if self._plane.ready else ()
        found = Counter(report.problem.severity for report in reports)
        problems = GaugeMetricFamily("dragoman_problems", "Problems of objects, by severity.", labels=("severity",))
        for severity in Severity:
            problems.add_metric((severity,), found[severity])
        yield problems
        rejected = GaugeMetricFamily(
            "pilot_total_rejected_configs",
            "Errors that keep objects out now, by kind and code.",
            labels=("type", "reason"),
        )
        errors = ((str(r.key.kind), r.problem.code) for r in reports if r.key and r.problem.severity is Severity.ERROR)
        for (kind, code), count in sorted(Counter(errors).items()):
            rejected.add_metric((kind, code), count)
        yield rejected

    def _streams(self) -> Iterator[Metric]:
        streams = list(self._plane.server.progress())
        connected = GaugeMetricFamily("pilot_xds", "Proxies connected, by their version.", labels=("version",))
        for version, count in sorted(Counter(stream.user_agent for stream in streams).items()):
            connected.add_metric((version,), count)
        yield connected
        yield GaugeMetricFamily("dragoman_streams", "Streams open.", len(streams))
        quota = self._plane.server.quota
        if quota is not None:
            yield GaugeMetricFamily("dragoman_streams_quota", "Streams served at most.", quota)
        behind = GaugeMetricFamily(
            "dragoman_streams_behind", "Streams that have not accepted all that is served, by type.", labels=("type",)
        )
        late = Counter(type_url for stream in streams for type_url, complete in stream.types.items() if not complete)
        for type_url in sorted({type_url for stream in streams for type_url in stream.types}):
            behind.add_metric((discovery_service(type_url),), late[type_url])
        yield behind
        refused = CounterMetricFamily(
            "dragoman_tls_connections_refused",
            "TLS connections closed by the control plane, by reason.",
            labels=("reason",),
        )
        for reason, count in sorted(self._plane.server.refused_connections.items()):
            refused.add_metric((reason,), count)
        yield refused

    def _views(self) -> Iterator[Metric]:
        mounted = tuple(self._plane.mounted)
        yield GaugeMetricFamily("dragoman_views", "Views that some proxy has.", len(mounted))
        yield GaugeMetricFamily(
            "dragoman_resources_failing",
            "Resources that cannot be made now; the last good ones are served.",
            sum(len(each.publication.failures) for each in mounted),
        )
        yield GaugeMetricFamily(
            "dragoman_resources_held_back",
            "Resources not served because a proxy rejected them, or something they need.",
            sum(len(view.blocked()) for view in views_in_use(self._plane)),
        )

    def _engine(self) -> Iterator[Metric]:
        graph = self._plane.graph.statistics()
        yield GaugeMetricFamily("dragoman_engine_nodes", "Memoised queries.", graph.nodes)
        yield GaugeMetricFamily("dragoman_engine_cells", "Input cells.", graph.cells)
        yield GaugeMetricFamily("dragoman_engine_edges", "Recorded reads.", graph.edges)
        yield CounterMetricFamily("dragoman_engine_computed", "Queries run.", graph.computed)
        yield CounterMetricFamily("dragoman_engine_transactions", "Transactions finished.", graph.transactions)
        yield GaugeMetricFamily(
            "dragoman_engine_last_transaction_seconds",
            "How long the last transaction took, in seconds.",
            graph.last_transaction_seconds,
        )

    def _authority(self) -> Iterator[Metric]:
        now = datetime.now(UTC)
        identities = self._plane.identities.identities()
        yield GaugeMetricFamily("dragoman_identities", "Workload identities with a certificate.", len(identities))
        authority = self._plane.authority
        expiries = (
            ("root_cert", "root certificate", min(root.not_valid_after_utc for root in self._plane.identities.roots)),
            ("cert_chain", "certificate chain", authority.not_after),
        )
        for name, what, expiry in expiries:
            yield GaugeMetricFamily(
                f"citadel_server_{name}_expiry_timestamp",
                f"When the {what} of the CA expires, in seconds since the epoch.",
                expiry.timestamp(),
            )
            yield GaugeMetricFamily(
                f"citadel_server_{name}_expiry_seconds",
                f"Seconds until the {what} of the CA expires.",
                (expiry - now).total_seconds(),
            )
        if (list_ends := self._plane.identities.list_ends) is not None:
            yield GaugeMetricFamily(
                "dragoman_ca_crl_expiry_seconds",
                "Seconds until the first revocation list is too old, and proxies refuse what its issuer signed.",
                (list_ends - now).total_seconds(),
            )


def register(plane: ControlPlane, lag: LoopLag) -> None:
    """Add what is collected at scrapes to the control plane's registry."""
    # When each counter began is one more series for each, and says no more than the process's start.
    disable_created_metrics()  # type: ignore[no-untyped-call]
    plane.registry.register(PlaneCollector(plane, lag))
    ProcessCollector(registry=plane.registry)
    PlatformCollector(registry=plane.registry)

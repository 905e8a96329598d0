"""The listener at the pod's address for those who come from outside the mesh: the kubelet and Prometheus.

What Istio's agent does at this port, Envoy does itself: it asks the application what the kubelet's probes would have
asked, so that they need no certificate where the application's ports demand one; it puts its own metrics and the
application's together; it drains when the kubelet says so. Connections to the application come from the address by
which the capture knows those of the proxy's inbound side (Istio: InboundPassthroughBindIpv4): they are not captured.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final, Literal

from envoy_data_plane.envoy.config.cluster.v3 import Cluster, ClusterDiscoveryType
from envoy_data_plane.envoy.config.core.v3 import (
    BindConfig,
    DataSource,
    ExtraSourceAddress,
    HealthCheck,
    HealthCheckGrpcHealthCheck,
    HealthCheckTcpHealthCheck,
    Http1ProtocolOptions,
    Http2ProtocolOptions,
    TransportSocket,
)
from envoy_data_plane.envoy.config.core.v3 import HttpProtocolOptions as CommonHttpOptions
from envoy_data_plane.envoy.config.core.v3 import SocketAddress as EnvoySocketAddress
from envoy_data_plane.envoy.config.endpoint.v3 import (
    ClusterLoadAssignment,
    Endpoint,
    EndpointAdditionalAddress,
    LbEndpoint,
    LocalityLbEndpoints,
)
from envoy_data_plane.envoy.config.listener.v3 import Filter, FilterChain, Listener
from envoy_data_plane.envoy.config.route.v3 import (
    DirectResponseAction,
    HeaderMatcher,
    Route,
    RouteAction,
    RouteConfiguration,
    RouteMatch,
    VirtualHost,
)
from envoy_data_plane.envoy.extensions.filters.common.fault.v3 import FaultDelay
from envoy_data_plane.envoy.extensions.filters.http.fault.v3 import HttpFault
from envoy_data_plane.envoy.extensions.filters.http.health_check.v3 import HealthCheck as HealthCheckFilter
from envoy_data_plane.envoy.extensions.filters.http.lua.v3 import Lua, LuaPerRoute
from envoy_data_plane.envoy.extensions.filters.http.router.v3 import Router
from envoy_data_plane.envoy.extensions.filters.network.http_connection_manager.v3 import (
    HttpConnectionManager,
    HttpConnectionManagerServerHeaderTransformation,
    HttpFilter,
)
from envoy_data_plane.envoy.extensions.transport_sockets.tls.v3 import CommonTlsContext, UpstreamTlsContext
from envoy_data_plane.envoy.extensions.upstreams.http.v3 import (
    HttpProtocolOptions,
    HttpProtocolOptionsExplicitHttpConfig,
)
from envoy_data_plane.envoy.type.matcher.v3 import StringMatcher
from envoy_data_plane.envoy.type.v3 import FractionalPercent, FractionalPercentDenominatorType, Percent

from dragoman.codec import pack, struct
from dragoman.sidecar.address import SocketAddress
from dragoman.sidecar.node import Json
from dragoman.sidecar.static_listeners import ADMIN_CLUSTER, SCRAPE_LIMIT_BYTES

INBOUND_SOURCES: Final = ("127.0.0.6", "::6")
METRICS_PATH: Final = "/stats/prometheus"

PROBE_STATISTICS: Final = "cluster./app-health/"
"""Prefix of the statistics that must be kept: the health check filter counts the healthy by them."""

_LUA: Final = "envoy.filters.http.lua"
_FAULT: Final = "envoy.filters.http.fault"
_APPLICATION_METRICS: Final = "application-metrics"
_SCRAPE_TIMEOUT: Final = timedelta(seconds=10)  # Prometheus' own default

_DRAIN: Final = f"""\
function envoy_on_request(handle)
  local headers = {{[":method"] = "POST", [":path"] = "/drain_listeners?graceful&skip_exit", [":authority"] = "admin"}}
  handle:httpCall("{ADMIN_CLUSTER}", headers, "", 5000)
end
"""

# What the kubelet asks for is at another port than this one, which applications that know themselves by their whole
# address would not take for theirs.
_AUTHORITY: Final = """\
function envoy_on_request(handle)
  local headers = handle:headers()
  local port = ":" .. handle:filterContext():get("port")
  headers:replace(":authority", (headers:get(":authority"):gsub(":%d+$", port)))
end
"""

_METRICS: Final = """\
local function get(handle, cluster, path, authority, timeout)
  local request = {
    [":method"] = "GET", [":path"] = path, [":authority"] = authority, ["accept"] = "text/plain;version=0.0.4"
  }
  local headers, body = handle:httpCall(cluster, request, "", timeout)
  if headers[":status"] ~= "200" then
    return ""
  end
  return body or ""
end

function envoy_on_request(handle)
  -- What a handle gave is dead after a call.
  local context = handle:filterContext()
  local cluster, path, authority = context:get("cluster"), context:get("path"), context:get("authority")
  local timeout = context:get("timeout")
  local metrics = get(handle, "admin", handle:headers():get(":path"), "admin", timeout):gsub("envoy_istio_", "istio_")
  if cluster then
    metrics = metrics .. get(handle, cluster, path, authority, timeout)
  end
  handle:respond({[":status"] = "200", ["content-type"] = "text/plain; version=0.0.4; charset=utf-8"}, metrics)
end
"""


@dataclass(frozen=True, slots=True)
class HttpProbe:
    """An HTTP request to the application. `named` is whether the kubelet brings a Host header of the author's."""

    path: str
    port: int
    target: str
    scheme: Literal["HTTP", "HTTPS"] = "HTTP"
    named: bool = False
    timeout: timedelta = timedelta(seconds=1)


@dataclass(frozen=True, slots=True)
class ConnectionProbe:
    """Whether a port takes connections or, with a `service`, whether it says so in gRPC's health protocol.

    Envoy asks every `interval`, and the listener answers what was last seen: unhealthy is asked anew each second.
    """

    path: str
    port: int
    service: str | None = None
    interval: timedelta = timedelta(seconds=10)
    timeout: timedelta = timedelta(seconds=1)


Probe = HttpProbe | ConnectionProbe


@dataclass(frozen=True, slots=True)
class ApplicationMetrics:
    """Where the application has its metrics, in Prometheus' text format."""

    port: int
    path: str = "/metrics"
    scheme: Literal["HTTP", "HTTPS"] = "HTTP"


@dataclass(frozen=True, slots=True)
class Status:
    """What the listener is for.

    `application` is the address at which the application is asked, `captured` whether its pod has capture. `drain_path`
    is answered after `drain_delay`, with which the kubelet's hook lets the proxy live on while clients leave.
    """

    address: SocketAddress
    application: str
    captured: bool
    drain_path: str
    drain_delay: timedelta = timedelta()
    probes: tuple[Probe, ...] = ()
    metrics: ApplicationMetrics | None = None


def status_listener(status: Status) -> Listener:
    """The listener `status`."""
    manager = HttpConnectionManager(
        stat_prefix="status",
        generate_request_id=False,
        server_header_transformation=HttpConnectionManagerServerHeaderTransformation.PASS_THROUGH,
        route_config=RouteConfiguration(
            name="status",
            virtual_hosts=[VirtualHost(name="status", domains=["*"], routes=list(_routes(status)))],
        ),
        http_filters=[
            HttpFilter(name=_LUA, typed_config=pack(_scripts())),
            HttpFilter(name=_FAULT, typed_config=pack(HttpFault())),
            *(_health_filter(probe) for probe in status.probes if isinstance(probe, ConnectionProbe)),
            HttpFilter(name="envoy.filters.http.router", typed_config=pack(Router(suppress_envoy_headers=True))),
        ],
    )
    return Listener(
        name="status",
        address=status.address.to_envoy(),
        enable_reuse_port=False,
        ignore_global_conn_limit=True,
        per_connection_buffer_limit_bytes=SCRAPE_LIMIT_BYTES,
        filter_chains=[
            FilterChain(
                filters=[Filter(name="envoy.filters.network.http_connection_manager", typed_config=pack(manager))]
            )
        ],
    )


def status_clusters(status: Status) -> list[Cluster]:
    """The clusters that the listener's routes lead to, beside that of the admin interface."""
    clusters = {}
    for probe in status.probes:
        if isinstance(probe, HttpProbe):
            name = _http_cluster(probe)
            clusters[name] = _cluster(status, name, probe.port, tls=probe.scheme == "HTTPS")
        else:
            clusters[probe.path] = _checked_cluster(status, probe)
    if (metrics := status.metrics) is not None:
        tls = metrics.scheme == "HTTPS"
        clusters[_APPLICATION_METRICS] = _cluster(status, _APPLICATION_METRICS, metrics.port, tls=tls)
    return list(clusters.values())


def _routes(status: Status) -> Iterator[Route]:
    yield Route(
        match=RouteMatch(path=status.drain_path),
        direct_response=DirectResponseAction(status=200),
        typed_per_filter_config={
            _LUA: pack(LuaPerRoute(name="drain")),
            **({_FAULT: pack(_delay(status.drain_delay))} if status.drain_delay else {}),
        },
    )
    yield Route(
        match=RouteMatch(path=METRICS_PATH),
        direct_response=DirectResponseAction(status=500),  # the script answers
        typed_per_filter_config={_LUA: pack(LuaPerRoute(name="metrics", filter_context=_metrics_context(status)))},
    )
    for probe in status.probes:
        if isinstance(probe, HttpProbe):
            yield _probe_route(probe)


def _probe_route(probe: HttpProbe) -> Route:
    return Route(
        match=RouteMatch(path=probe.path),
        route=RouteAction(cluster=_http_cluster(probe), prefix_rewrite=probe.target, timeout=probe.timeout),
        typed_per_filter_config={}
        if probe.named
        else {_LUA: pack(LuaPerRoute(name="authority", filter_context=struct({"port": str(probe.port)})))},
    )


def _http_cluster(probe: HttpProbe) -> str:
    return f"application-{probe.scheme.lower()}-{probe.port}"


def _metrics_context(status: Status) -> Any:
    context: dict[str, Json] = {"timeout": _SCRAPE_TIMEOUT // timedelta(milliseconds=1)}
    if (metrics := status.metrics) is not None:
        authority = f"localhost:{metrics.port}"
        context |= {"cluster": _APPLICATION_METRICS, "path": metrics.path, "authority": authority}
    return struct(context)


def _scripts() -> Lua:
    scripts = {"drain": _DRAIN, "authority": _AUTHORITY, "metrics": _METRICS}
    return Lua(source_codes={name: DataSource(inline_string=script) for name, script in scripts.items()})


def _delay(span: timedelta) -> HttpFault:
    always = FractionalPercent(numerator=100, denominator=FractionalPercentDenominatorType.HUNDRED)
    return HttpFault(delay=FaultDelay(fixed_delay=span, percentage=always))


def _health_filter(probe: ConnectionProbe) -> HttpFilter:
    """Answers the probe by what is known of its cluster: Envoy can turn neither a connection nor gRPC into HTTP."""
    check = HealthCheckFilter(
        pass_through_mode=False,
        cluster_min_healthy_percentages={probe.path: Percent(value=100)},
        headers=[HeaderMatcher(name=":path", string_match=StringMatcher(exact=probe.path))],
    )
    return HttpFilter(name="envoy.filters.http.health_check", typed_config=pack(check))


def _checked_cluster(status: Status, probe: ConnectionProbe) -> Cluster:
    cluster = _cluster(status, probe.path, probe.port, http2=probe.service is not None)
    second = timedelta(seconds=1)
    check = HealthCheck(
        timeout=probe.timeout,
        interval=probe.interval,
        # Without these a cluster that serves no requests, as this one, is asked once a minute.
        no_traffic_interval=probe.interval,
        no_traffic_healthy_interval=probe.interval,
        unhealthy_interval=min(second, probe.interval),
        unhealthy_threshold=1,
        healthy_threshold=1,
    )
    if probe.service is None:
        check.tcp_health_check = HealthCheckTcpHealthCheck()  # says nothing: connecting is enough
    else:
        check.grpc_health_check = HealthCheckGrpcHealthCheck(service_name=probe.service)
    cluster.health_checks = [check]
    return cluster


def _cluster(status: Status, name: str, port: int, *, tls: bool = False, http2: bool = False) -> Cluster:
    address = SocketAddress(status.application, port)
    # What listens on loopback only may do so in IPv6, and the pod's families are not known when this is written.
    others = [SocketAddress("::1", port)] if status.application == "127.0.0.1" else []
    endpoint = Endpoint(
        address=address.to_envoy(),
        additional_addresses=[EndpointAdditionalAddress(address=other.to_envoy()) for other in others],
    )
    cluster = Cluster(
        name=name,
        type=ClusterDiscoveryType.STATIC,
        connect_timeout=timedelta(seconds=1),
        per_connection_buffer_limit_bytes=SCRAPE_LIMIT_BYTES,
        load_assignment=ClusterLoadAssignment(
            cluster_name=name,
            endpoints=[LocalityLbEndpoints(lb_endpoints=[LbEndpoint(endpoint=endpoint)])],
        ),
        upstream_bind_config=_bind() if status.captured else None,
    )
    if tls:
        # As the kubelet does: it does not verify whom it asks (Kubernetes: "Configure Probes", HTTP probes).
        context = UpstreamTlsContext(common_tls_context=CommonTlsContext())
        cluster.transport_socket = TransportSocket(name="envoy.transport_sockets.tls", typed_config=pack(context))
    protocol = HttpProtocolOptionsExplicitHttpConfig(http_protocol_options=Http1ProtocolOptions())
    if http2:
        protocol = HttpProtocolOptionsExplicitHttpConfig(http2_protocol_options=Http2ProtocolOptions())
    # As the kubelet does: a connection for each probe. One that is kept may end just when the next probe is sent, with
    # an application that closes idle ones after as long as a probe's period.
    once = CommonHttpOptions(max_requests_per_connection=1)
    options = HttpProtocolOptions(common_http_protocol_options=once, explicit_http_config=protocol)
    cluster.typed_extension_protocol_options = {"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": pack(options)}
    return cluster


def _bind() -> BindConfig:
    four, six = INBOUND_SOURCES
    return BindConfig(
        source_address=EnvoySocketAddress(address=four, port_value=0),
        extra_source_addresses=[ExtraSourceAddress(address=EnvoySocketAddress(address=six, port_value=0))],
    )

"""HTTP connection managers, one shape for each direction of traffic.

Istio: pilot/pkg/networking/core/listener.go (buildHTTPConnectionManager), listener_inbound.go, gateway.go.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta

from envoy_data_plane.envoy.config.accesslog.v3 import AccessLog
from envoy_data_plane.envoy.config.core.v3 import Http1ProtocolOptions
from envoy_data_plane.envoy.config.listener.v3 import Filter
from envoy_data_plane.envoy.config.route.v3 import (
    Decorator,
    RetryPolicy,
    Route,
    RouteAction,
    RouteActionMaxStreamDuration,
    RouteConfiguration,
    RouteMatch,
    VirtualHost,
)
from envoy_data_plane.envoy.extensions.filters.http.cors.v3 import Cors
from envoy_data_plane.envoy.extensions.filters.http.fault.v3 import HttpFault
from envoy_data_plane.envoy.extensions.filters.http.grpc_stats.v3 import FilterConfig as GrpcStats
from envoy_data_plane.envoy.extensions.filters.http.grpc_web.v3 import GrpcWeb
from envoy_data_plane.envoy.extensions.filters.http.router.v3 import Router
from envoy_data_plane.envoy.extensions.filters.network.http_connection_manager.v3 import (
    HttpConnectionManager,
    HttpConnectionManagerUpgradeConfig,
    HttpFilter,
    Rds,
)
from envoy_data_plane.envoy.extensions.filters.network.http_connection_manager.v3 import (
    HttpConnectionManagerForwardClientCertDetails as ForwardClientCert,
)
from envoy_data_plane.envoy.extensions.filters.network.http_connection_manager.v3 import (
    HttpConnectionManagerPathWithEscapedSlashesAction as EscapedSlashes,
)
from envoy_data_plane.envoy.extensions.filters.network.http_connection_manager.v3 import (
    HttpConnectionManagerServerHeaderTransformation as ServerHeader,
)
from envoy_data_plane.envoy.extensions.filters.network.http_connection_manager.v3 import (
    HttpConnectionManagerSetCurrentClientCertDetails as ClientCertDetails,
)

from crds.meshconfig import MeshConfig, NormalizationType
from crds.meshproxyconfig import ForwardClientCertDetails
from dragoman.codec import pack
from dragoman.mesh.protocol import Protocol
from translators import alpn
from translators.config_sources import ADS

FILTER = "envoy.filters.network.http_connection_manager"

PEER_CERTIFICATE = ClientCertDetails(subject=True, dns=True, uri=True)
"""What `x-forwarded-client-cert` tells an application of its caller."""


_FORWARDED = {
    written: ForwardClientCert.SANITIZE_SET
    if written is ForwardClientCertDetails.UNDEFINED
    else ForwardClientCert[written.value]
    for written in ForwardClientCertDetails
}


def inbound_manager(
    mesh: MeshConfig,
    stat_prefix: str,
    routes: RouteConfiguration,
    policies: Iterable[HttpFilter],
    access_logs: Iterable[AccessLog],
) -> Filter:
    """Requests to the application: authorized, counted, with the caller's verified identity in XFCC."""
    manager = _manager(mesh, stat_prefix, (*policies, *_standard_filters()), access_logs)
    manager.route_config = routes
    manager.server_name = "istio-envoy"
    # Appended, not replaced: what a meshed gateway says of the client before it is kept (Istio: listener_inbound.go).
    # Envoy removes the header altogether where the connection is not mutual TLS.
    manager.forward_client_cert_details = ForwardClientCert.APPEND_FORWARD
    manager.set_current_client_cert_details = PEER_CERTIFICATE
    return _filter(manager)


def outbound_manager(
    mesh: MeshConfig,
    stat_prefix: str,
    route_name: str,
    access_logs: Iterable[AccessLog],
    first: Iterable[HttpFilter] = (),
    *,
    absolute_urls: bool = False,
) -> Filter:
    """Requests of the application, with routes from RDS. `absolute_urls`: it speaks to an HTTP proxy."""
    filters = (*first, alpn.per_request_filter(), *_standard_filters())
    manager = _manager(mesh, stat_prefix, filters, access_logs)
    manager.rds = Rds(config_source=ADS, route_config_name=route_name)
    if absolute_urls:
        manager.http_protocol_options = Http1ProtocolOptions(allow_absolute_url=True)
    return _filter(manager)


def gateway_manager(
    mesh: MeshConfig,
    stat_prefix: str,
    route_name: str,
    policies: Iterable[HttpFilter],
    access_logs: Iterable[AccessLog],
) -> Filter:
    """Requests from outside the mesh: what they claim of their origin is believed only as far as the mesh's
    `gatewayTopology` says that trusted proxies stand before the gateway."""
    topology = mesh.default_config.gateway_topology
    filters = (*policies, alpn.per_request_filter(), *_standard_filters())
    manager = _manager(mesh, stat_prefix, filters, access_logs)
    manager.rds = Rds(config_source=ADS, route_config_name=route_name)
    manager.server_name = "istio-envoy"
    manager.use_remote_address = True
    manager.xff_num_trusted_hops = topology.num_trusted_proxies
    manager.forward_client_cert_details = _FORWARDED[topology.forward_client_cert_details]
    manager.set_current_client_cert_details = ClientCertDetails(subject=True, cert=True, dns=True, uri=True)
    return _filter(manager)


def _manager(
    mesh: MeshConfig, stat_prefix: str, filters: Iterable[HttpFilter], access_logs: Iterable[AccessLog]
) -> HttpConnectionManager:
    manager = HttpConnectionManager(
        stat_prefix=stat_prefix,
        http_filters=[*filters, ROUTER],
        access_log=list(access_logs),
        stream_idle_timeout=timedelta(0),
        use_remote_address=False,
        upgrade_configs=[HttpConnectionManagerUpgradeConfig(upgrade_type="websocket")],
        proxy_100_continue=True,
        server_header_transformation=ServerHeader.OVERWRITE,
    )
    _normalize(manager, mesh.path_normalization.normalization)
    return manager


def _normalize(manager: HttpConnectionManager, how: NormalizationType) -> None:
    """Every proxy reads a path the same way, or a policy on paths could be walked around (Istio: PathNormalization)."""
    if how is NormalizationType.NONE:
        manager.normalize_path = False
        return
    manager.normalize_path = True
    if how in (NormalizationType.MERGE_SLASHES, NormalizationType.DECODE_AND_MERGE_SLASHES):
        manager.merge_slashes = True
    if how is NormalizationType.DECODE_AND_MERGE_SLASHES:
        manager.path_with_escaped_slashes_action = EscapedSlashes.UNESCAPE_AND_FORWARD


def _standard_filters() -> tuple[HttpFilter, ...]:
    return (
        HttpFilter(name="envoy.filters.http.grpc_web", typed_config=pack(GrpcWeb())),
        HttpFilter(
            name="envoy.filters.http.grpc_stats",
            typed_config=pack(GrpcStats(emit_filter_state=True, stats_for_all_methods=False)),
        ),
        HttpFilter(name="envoy.filters.http.fault", typed_config=pack(HttpFault())),
        HttpFilter(name="envoy.filters.http.cors", typed_config=pack(Cors())),
    )


ROUTER = HttpFilter(name="envoy.filters.http.router", typed_config=pack(Router()))


def _filter(manager: HttpConnectionManager) -> Filter:
    return Filter(name=FILTER, typed_config=pack(manager))


def inbound_routes(port: int, cluster: str, protocol: Protocol) -> RouteConfiguration:
    """The one route of an inbound port: everything to the application, without a time limit of ours."""
    action = RouteAction(
        cluster=cluster,
        timeout=timedelta(0),
        max_stream_duration=RouteActionMaxStreamDuration(
            max_stream_duration=timedelta(0), grpc_timeout_header_max=timedelta(0)
        ),
    )
    if protocol not in (Protocol.GRPC, Protocol.GRPC_WEB):
        # The application closed a kept-alive connection just as a request went out: nothing was read, so try again.
        action.retry_policy = RetryPolicy(num_retries=2, retry_on="reset-before-request")
    return RouteConfiguration(
        name=cluster,
        virtual_hosts=[
            VirtualHost(
                name=f"inbound|http|{port}",
                domains=["*"],
                routes=[
                    Route(
                        name="default",
                        match=RouteMatch(prefix="/"),
                        route=action,
                        decorator=Decorator(operation=f"inbound:{port}/*"),
                    )
                ],
            )
        ],
        validate_clusters=False,
    )

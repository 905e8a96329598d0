"""Listeners for traffic from a workload (Istio: pilot/pkg/networking/core/listener.go, buildSidecarOutboundListeners).

Captured traffic arrives at `virtualOutbound`, which hands it to the listener of the address that was dialled: one for
each HTTP port shared by all services, one for each address and port of the others.
"""

from __future__ import annotations

from envoy_data_plane.envoy.config.core.v3 import TrafficDirection
from envoy_data_plane.envoy.config.listener.v3 import Filter, FilterChain, FilterChainMatch, Listener

from crds.meshconfig import MeshConfig
from dragoman.codec import CLUSTER, ROUTE, Encoded, Ref
from dragoman.engine import Graph, query
from dragoman.mesh.families import Families
from dragoman.mesh.hosts import service_host
from dragoman.mesh.listeners import Target
from dragoman.mesh.protocol import Protocol
from dragoman.mesh.proxies import InboundView
from dragoman.mesh.settings import mesh_config
from dragoman.mesh.workloads import Interception
from translators import alpn, listener_filters, telemetry
from translators.addresses import listen
from translators.http_connection_managers import outbound_manager
from translators.names import (
    BLACK_HOLE,
    HTTP_PROXY_ROUTE,
    PASSTHROUGH,
    VIRTUAL_OUTBOUND,
    listener,
    outbound_cluster,
)
from translators.tcp_proxies import tcp_proxy


@query
def virtual_outbound(g: Graph, allow_any: bool, mode: Interception, families: Families) -> Encoded:
    """The listener that receives everything that iptables redirects from the application."""
    mesh = mesh_config(g)
    fallback = _fallback(allow_any)
    message = Listener(
        name=VIRTUAL_OUTBOUND,
        use_original_dst=True,
        # Only here, where there is a socket: without one (`bind_to_port`) Envoy 1.40 crashes for it.
        transparent=True if mode is Interception.TPROXY else None,
        traffic_direction=TrafficDirection.OUTBOUND,
        access_log=list(telemetry.listener_logs(mesh)),
        filter_chains=[
            FilterChain(
                name=f"{VIRTUAL_OUTBOUND}-blackhole",
                filter_chain_match=FilterChainMatch(destination_port=mesh.proxy_listen_port),
                filters=_tcp(mesh, BLACK_HOLE),
            ),
            FilterChain(
                name=f"{VIRTUAL_OUTBOUND}-catchall-tcp",
                filters=_tcp(mesh, fallback),
            ),
        ],
    )
    listen(message, families.wildcards, mesh.proxy_listen_port)
    return Encoded.of(message, refs=frozenset({(CLUSTER, BLACK_HOLE), (CLUSTER, fallback)}))


@query
def http_listener(g: Graph, port: int, allow_any: bool, families: Families) -> Encoded:
    """The listener of a port on which services speak HTTP; what is no HTTP goes where it was meant to."""
    mesh = mesh_config(g)
    fallback = _fallback(allow_any)
    route = str(port)
    name = listener(families.wildcards[0], port)
    message = Listener(
        name=name,
        bind_to_port=False,
        traffic_direction=TrafficDirection.OUTBOUND,
        access_log=list(telemetry.listener_logs(mesh)),
        listener_filters=[listener_filters.tls_inspector(), listener_filters.http_inspector()],
        listener_filters_timeout=mesh.protocol_detection_timeout,
        continue_on_listener_filters_timeout=True,
        filter_chains=[_http_chain(mesh, f"outbound_{name};", route)],
        default_filter_chain=FilterChain(
            name="PassthroughFilterChain",
            filters=_tcp(mesh, fallback),
        ),
    )
    listen(message, families.wildcards, port)
    return Encoded.of(message, refs=frozenset({(ROUTE, route), (CLUSTER, fallback)}))


@query
def target_listener(g: Graph, target: Target) -> Encoded:
    """The listener of a port at some addresses whose service speaks TCP, TLS or whatever it is found to speak."""
    mesh = mesh_config(g)
    name = listener(target.addresses[0], target.port)
    host = service_host(target.namespace, target.service)
    cluster = outbound_cluster(target.port, "", host)
    bytes_chain = FilterChain(filters=_tcp(mesh, cluster))
    message = Listener(
        name=name,
        bind_to_port=False,
        traffic_direction=TrafficDirection.OUTBOUND,
        access_log=list(telemetry.listener_logs(mesh)),
    )
    refs: set[Ref] = {(CLUSTER, cluster)}
    if target.protocol is Protocol.AUTO:
        route = f"{host}:{target.port}"
        refs.add((ROUTE, route))
        message.listener_filters = [listener_filters.tls_inspector(), listener_filters.http_inspector()]
        message.listener_filters_timeout = mesh.protocol_detection_timeout
        message.continue_on_listener_filters_timeout = True
        message.filter_chains = [_http_chain(mesh, f"outbound_{name};", route)]
        message.default_filter_chain = bytes_chain
    else:
        message.filter_chains = [bytes_chain]
    listen(message, target.addresses, target.port)
    return Encoded.of(message, refs=frozenset(refs))


@query
def http_proxy_listener(g: Graph, view: InboundView) -> Encoded:
    """The HTTP proxy of a workload whose traffic nothing captures: applications use it through `http_proxy=`."""
    mesh = mesh_config(g)
    bind = view.bind or view.families.loopbacks
    name = listener(bind[0], view.http_proxy_port)
    manager = outbound_manager(
        mesh,
        f"outbound_{name};",
        HTTP_PROXY_ROUTE,
        telemetry.http_access_logs(mesh, telemetry.Traffic.OUTBOUND),
        absolute_urls=True,
    )
    message = Listener(
        name=name,
        traffic_direction=TrafficDirection.OUTBOUND,
        access_log=list(telemetry.listener_logs(mesh)),
        filter_chains=[FilterChain(filters=_observed(manager))],
    )
    listen(message, bind, view.http_proxy_port)
    return Encoded.of(message, refs=frozenset({(ROUTE, HTTP_PROXY_ROUTE)}))


def _http_chain(mesh: MeshConfig, stat_prefix: str, route: str) -> FilterChain:
    manager: Filter = outbound_manager(
        mesh,
        stat_prefix,
        route,
        telemetry.http_access_logs(mesh, telemetry.Traffic.OUTBOUND),
    )
    return FilterChain(
        filter_chain_match=FilterChainMatch(
            transport_protocol="raw_buffer", application_protocols=list(alpn.PLAIN_HTTP)
        ),
        filters=_observed(manager),
    )


def _tcp(mesh: MeshConfig, cluster: str) -> list[Filter]:
    return _observed(tcp_proxy(cluster, [(cluster, 1)], telemetry.tcp_access_logs(mesh, telemetry.Traffic.OUTBOUND)))


def _observed(last: Filter) -> list[Filter]:
    return [*telemetry.network_filters(telemetry.Traffic.OUTBOUND), last]


def _fallback(allow_any: bool) -> str:
    return PASSTHROUGH if allow_any else BLACK_HOLE

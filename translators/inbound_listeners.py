"""Listeners for traffic to a workload: `virtualInbound` where it is captured, one per port where it is not.

Istio: pilot/pkg/networking/core/listener_inbound.go.
"""

from __future__ import annotations

from envoy_data_plane.envoy.config.core.v3 import TrafficDirection
from envoy_data_plane.envoy.config.listener.v3 import Filter, FilterChain, FilterChainMatch, Listener

from dragoman.codec import CLUSTER, LISTENER, Encoded, Ref
from dragoman.engine import Graph, query
from dragoman.mesh.inbound import InboundPort, inbound_ports
from dragoman.mesh.policies import MtlsMode, port_mtls_modes, workload_mtls_mode
from dragoman.mesh.protocol import Protocol
from dragoman.mesh.proxies import InboundView
from dragoman.mesh.settings import mesh_config
from dragoman.mesh.sidecar_ingress import IngressPort, ingress_ports
from dragoman.mesh.workloads import Interception
from translators import alpn, authorization, jwt_authn, listener_filters, telemetry
from translators.addresses import listen
from translators.filter_chains import TLS, Chain, chains, inspects_tls
from translators.http_connection_managers import inbound_manager, inbound_routes
from translators.inbound_clusters import endpoint_of
from translators.names import (
    BLACK_HOLE,
    INBOUND_PASSTHROUGH,
    VIRTUAL_INBOUND,
    inbound_cluster,
    listener,
)
from translators.peer_names import PeerNames
from translators.pieces import Piece, concatenated, joined
from translators.tcp_proxies import tcp_proxy
from translators.tls import MESH_SECRETS, mesh_downstream

_FILTER_CHAINS = 3
"""Field number of Listener.filter_chains."""

CAPTURE_ALL = 0
"""The port number that stands for every port no service names."""


@query
def port_mode(g: Graph, view: InboundView, port: int) -> MtlsMode:
    """The mTLS mode of a workload port."""
    listed = dict(port_mtls_modes(g, view.namespace, view.labels))
    return listed.get(port) or workload_mtls_mode(g, view.namespace, view.labels)


@query
def captured_ports(g: Graph, view: InboundView) -> tuple[InboundPort, ...]:
    """Ports with filter chains of their own: those that the Sidecar resource has captured, else those of services."""
    written = ingress_ports(g, view)
    if not written:
        return inbound_ports(g, view.namespace, view.labels, view.ports)
    found = {port.number: port.port for port in written if not port.bind}
    return tuple(found[number] for number in sorted(found))


@query
def virtual_inbound(g: Graph, view: InboundView) -> Encoded:
    """The listener that receives everything that iptables redirects from outside."""
    mesh = mesh_config(g)
    ports = captured_ports(g, view)
    levels = dict(port_mtls_modes(g, view.namespace, view.labels))
    unnamed = sorted(set(levels) - {port.number for port in ports})
    pieces = [_loop_guard(g, mesh.proxy_inbound_listen_port)]
    pieces += [passthrough_chains(g, view, number) for number in (CAPTURE_ALL, *unnamed)]
    pieces += [port_chains(g, view, port) for port in ports]
    tables = {port.number: chains(port_mode(g, view, port.number), port.protocol) for port in ports}
    tables |= {number: chains(levels[number], Protocol.AUTO) for number in unnamed}
    filters = [listener_filters.original_destination()]
    if view.mode is Interception.TPROXY:
        filters.append(listener_filters.original_source(_from_the_proxy(g, view)))
    filters.append(listener_filters.tls_inspector(p for p, table in tables.items() if not inspects_tls(table)))
    # By protocol, not by mode: between PERMISSIVE and STRICT only filter chains then differ, and Envoy swaps those in
    # place. Other listener filters would replace the listener, and for a moment the old and the new both accept.
    filters.append(listener_filters.http_inspector(p.number for p in ports if p.protocol is not Protocol.AUTO))
    head = Listener(
        name=VIRTUAL_INBOUND,
        traffic_direction=TrafficDirection.INBOUND,
        access_log=list(telemetry.listener_logs(mesh)),
        transparent=True if view.mode is Interception.TPROXY else None,
        listener_filters=[*telemetry.listener_filters(), *filters],
        listener_filters_timeout=mesh.protocol_detection_timeout,
        continue_on_listener_filters_timeout=True,
    )
    listen(head, view.families.wildcards, mesh.proxy_inbound_listen_port)
    return _listener(VIRTUAL_INBOUND, head, joined(_FILTER_CHAINS, _split(pieces)))


def _from_the_proxy(g: Graph, view: InboundView) -> list[int]:
    """Ports whose connections to the application come from the proxy's own address even where others keep the client's.

    What answers from a loopback address cannot answer to that of a client: the kernel has no route from there.
    """
    written = {port.number: port.endpoint for port in ingress_ports(g, view)}
    ports = captured_ports(g, view)
    found = [(port.number, endpoint_of(g, port.number, written.get(port.number), view.families)) for port in ports]
    return [number for number, endpoint in found if endpoint is not None and endpoint[0]]


@query
def bound_inbound(g: Graph, view: InboundView, written: IngressPort) -> Encoded:
    """The listener of one port that is not captured, on an address of its own."""
    mesh = mesh_config(g)
    table = chains(port_mode(g, view, written.number), written.port.protocol)
    filters = []
    if inspects_tls(table):
        filters.append(listener_filters.tls_inspector())
    if written.port.protocol is Protocol.AUTO:
        filters.append(listener_filters.http_inspector())
    name = listener(written.bind[0], written.number)
    head = Listener(
        name=name,
        traffic_direction=TrafficDirection.INBOUND,
        access_log=list(telemetry.listener_logs(mesh)),
        listener_filters=[*telemetry.listener_filters(), *filters],
        listener_filters_timeout=mesh.protocol_detection_timeout if filters else None,
        continue_on_listener_filters_timeout=bool(filters),
    )
    listen(head, written.bind, written.number)
    return _listener(name, head, joined(_FILTER_CHAINS, _split([port_chains(g, view, written.port)])))


Chains = tuple[Piece, ...]


@query
def port_chains(g: Graph, view: InboundView, port: InboundPort) -> Chains:
    """The filter chains of one workload port."""
    match_port = None if view.mode is Interception.NONE else port.number
    return tuple(
        _chain(g, view, port, chain, _chain_name(view, port), match_port, inbound_cluster(port.number))
        for chain in chains(port_mode(g, view, port.number), port.protocol)
    )


@query
def passthrough_chains(g: Graph, view: InboundView, number: int) -> Chains:
    """The filter chains of ports no service names (`CAPTURE_ALL`) or only a port-level mTLS setting does."""
    port = InboundPort(number, number, Protocol.AUTO, view.namespace, "", "")
    return tuple(
        _chain(
            g,
            view,
            port,
            chain,
            f"{VIRTUAL_INBOUND}-catchall-http" if chain.http else VIRTUAL_INBOUND,
            number or None,
            INBOUND_PASSTHROUGH,
        )
        for chain in chains(port_mode(g, view, number), Protocol.AUTO)
    )


def _chain(
    g: Graph,
    view: InboundView,
    port: InboundPort,
    chain: Chain,
    name: str,
    match_port: int | None,
    cluster: str,
) -> Piece:
    to = cluster if chain.http or _admits(g, view, port, chain) else BLACK_HOLE
    refs: set[Ref] = {(CLUSTER, to), *authorization.references(g, view.namespace, view.labels, http=chain.http)}
    if chain.http:
        refs |= jwt_authn.references(g, view.namespace, view.labels)
    message = FilterChain(
        name=name,
        filter_chain_match=FilterChainMatch(
            destination_port=match_port,
            transport_protocol=chain.transport,
            application_protocols=list(chain.alpn),
        ),
        filters=_http(g, view, port, chain, cluster) if chain.http else _tcp(g, view, port, chain, cluster, to),
    )
    if chain.terminates:
        message.transport_socket = mesh_downstream(alpn.SERVED, _peers(g, view, port, chain))
        refs |= MESH_SECRETS
    return Piece.of(message, refs)


def _chain_name(view: InboundView, port: InboundPort) -> str:
    return listener(view.families.wildcards[0], port.number)


def _peers(g: Graph, view: InboundView, port: InboundPort, chain: Chain) -> PeerNames:
    """Who may complete the handshake: where only bytes are passed, policies decide it before the first of them."""
    if chain.http:
        return authorization.mesh_peers(g)
    return authorization.tcp_peers(g, view.namespace, view.labels, port.number)


def _http(g: Graph, view: InboundView, port: InboundPort, chain: Chain, cluster: str) -> list[Filter]:
    mesh = mesh_config(g)
    traffic = _traffic(chain)
    prefix = f"inbound_{_chain_name(view, port)};" if port.number else "InboundPassthroughCluster;"
    return [
        *telemetry.network_filters(traffic),
        inbound_manager(
            mesh,
            prefix,
            inbound_routes(port.service_port, cluster, port.protocol),
            (
                *authorization.custom_http_filters(g, view.namespace, view.labels),
                *jwt_authn.http_filters(g, view.namespace, view.labels, False),
                *authorization.http_filters(g, view.namespace, view.labels),
            ),
            telemetry.http_access_logs(mesh, traffic),
        ),
    ]


def _admits(g: Graph, view: InboundView, port: InboundPort, chain: Chain) -> bool:
    """Whether a connection reaches the application before its first byte: who is verified was judged by then."""
    return chain.terminates or authorization.admits_unidentified(g, view.namespace, view.labels, port.number)


def _tcp(g: Graph, view: InboundView, port: InboundPort, chain: Chain, cluster: str, to: str) -> list[Filter]:
    mesh = mesh_config(g)
    traffic = _traffic(chain)
    return [
        *telemetry.network_filters(traffic),
        *authorization.network_filters(g, view.namespace, view.labels, port.number),
        tcp_proxy(
            cluster,
            [(to, 1)],
            telemetry.tcp_access_logs(mesh, traffic),
            after_handshake=chain.terminates and chain.transport == TLS,
        ),
    ]


def _traffic(chain: Chain) -> telemetry.Traffic:
    return telemetry.Traffic.INBOUND_MTLS if chain.terminates else telemetry.Traffic.INBOUND_PLAIN


def _loop_guard(g: Graph, port: int) -> Chains:
    """Traffic that dials the proxy's own port would come back to it for ever."""
    mesh = mesh_config(g)
    return (
        Piece.of(
            FilterChain(
                name=f"{VIRTUAL_INBOUND}-blackhole",
                filter_chain_match=FilterChainMatch(destination_port=port),
                filters=[
                    *telemetry.network_filters(telemetry.Traffic.INBOUND_PLAIN),
                    tcp_proxy(
                        BLACK_HOLE,
                        [(BLACK_HOLE, 1)],
                        telemetry.tcp_access_logs(mesh, telemetry.Traffic.INBOUND_PLAIN),
                    ),
                ],
            ),
            {(CLUSTER, BLACK_HOLE)},
        ),
    )


def _split(groups: list[Chains]) -> list[Piece]:
    return [piece for group in groups for piece in group]


def _listener(name: str, head: Listener, tail: Piece) -> Encoded:
    return concatenated((Piece.of(head), tail)).resource(LISTENER, name)

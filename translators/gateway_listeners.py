"""Listeners of a gateway proxy: one for each address and port that its servers name.

Istio: pilot/pkg/networking/core/gateway.go (buildGatewayListeners). Plain HTTP servers of a port share one filter chain
and one route configuration; each TLS server has chains of its own, chosen by the server name that the client asks for.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from envoy_data_plane.envoy.config.core.v3 import TrafficDirection
from envoy_data_plane.envoy.config.listener.v3 import Filter, FilterChain, FilterChainMatch, Listener

from dragoman.codec import LISTENER, ROUTE, Encoded, Ref
from dragoman.engine import ABSENT, Failure, Graph, attempt, query
from dragoman.mesh.gateway_merge import BoundServer
from dragoman.mesh.gateways import servers_of, used
from dragoman.mesh.protocol import Protocol
from dragoman.mesh.proxies import GatewayView
from dragoman.mesh.settings import mesh_config
from translators import authorization, jwt_authn, listener_filters, telemetry
from translators.addresses import listen, unix_address
from translators.gateway_routes import gateway_route_name
from translators.gateway_tcp_routes import TcpTarget, passed_through, tcp_target
from translators.gateway_tls import downstream_socket_of
from translators.http_connection_managers import gateway_manager
from translators.names import listener
from translators.peer_names import PeerNames
from translators.pieces import Piece, concatenated, joined
from translators.tcp_proxies import tcp_proxy

_FILTER_CHAINS = 3
"""Field number of Listener.filter_chains."""

_UNIX = "unix://"


class Place(NamedTuple):
    """Where a listener listens: an IP address, or the first of several, and port, or `unix:///path` and the port its
    servers have in common."""

    address: str
    port: int


@query
def servers_by_place(g: Graph, view: GatewayView) -> dict[Place, tuple[BoundServer, ...]]:
    """Where a gateway workload listens, and the servers there, oldest first."""
    found: dict[Place, list[BoundServer]] = {}
    for bound in servers_of(g, view):
        found.setdefault(Place(bound.address, bound.listen), []).append(bound)
    return {place: tuple(servers) for place, servers in found.items()}


@query
def gateway_listener(g: Graph, view: GatewayView, place: Place) -> Encoded | None:
    """The listener at `place`; None while nothing there leads anywhere, as a TCP server without a VirtualService."""
    servers = servers_by_place(g, view).get(place, ())
    if not servers:
        return None
    for bound in servers:
        used(g, bound)
    speaks_tls = any(bound.is_tls for bound in servers)
    chains = _tls_chains(g, view, servers) if speaks_tls else plain_chains(g, view, servers[0])
    if not chains:
        return None
    name = listener(place.address, place.port)
    topology = mesh_config(g).default_config.gateway_topology
    filters = [listener_filters.proxy_protocol()] if topology.proxy_protocol is not None else []
    if speaks_tls:
        filters.append(listener_filters.tls_inspector())
    head = _listening(
        Listener(
            name=name,
            traffic_direction=TrafficDirection.OUTBOUND,
            listener_filters=[*telemetry.listener_filters(), *filters],
        ),
        view,
        place,
        servers,
    )
    tail = joined(_FILTER_CHAINS, chains)
    return concatenated((Piece.of(head), tail)).resource(LISTENER, name)


Chains = tuple[Piece, ...]


@query
def plain_chains(g: Graph, view: GatewayView, first: BoundServer) -> Chains:
    """The filter chain of a port without TLS, by the oldest of its servers: all others share it."""
    route = gateway_route_name(first)
    asked = authorization.references(g, view.namespace, view.labels, http=route is not None)
    if route is not None:
        refs = {(ROUTE, route), *asked, *jwt_authn.references(g, view.namespace, view.labels)}
        return (Piece.of(FilterChain(filters=_requests(g, view, first, route)), refs),)
    target = tcp_target(g, view, first)
    if target is None:
        return ()
    return (Piece.of(FilterChain(filters=_bytes(g, view, first, target)), target.refs | asked),)


def _tls_chains(g: Graph, view: GatewayView, servers: tuple[BoundServer, ...]) -> Chains:
    found: list[Piece] = []
    for claim in _claims(g, view, servers):
        if claim.names:
            everything = "*" in claim.names
            match = FilterChainMatch() if everything else FilterChainMatch(server_names=list(claim.names))
            head = Piece.of(FilterChain(filter_chain_match=match))
            found.append(concatenated((head, claim.body)))
    return tuple(found)


class _Claim(NamedTuple):
    """What is left of a chain's server names, and which of them an older one has."""

    bound: BoundServer
    names: tuple[str, ...]
    lost: tuple[str, ...]
    body: Piece


def _claims(g: Graph, view: GatewayView, servers: tuple[BoundServer, ...]) -> Iterator[_Claim]:
    """The chains of all TLS servers of a port. No name stands in two: Envoy would reject the whole listener
    (Envoy: FilterChainMatch, "multiple filter chains with the same matching rules")."""
    taken: set[str] = set()
    for bound in servers:
        for chain in _last_good_chains(g, view, bound):
            free = tuple(name for name in chain.names if name not in taken)
            yield _Claim(bound, free, tuple(name for name in chain.names if name in taken), chain.body)
            taken.update(free)


def _last_good_chains(g: Graph, view: GatewayView, bound: BoundServer) -> tuple[TlsChain, ...]:
    """The chains of a server, its last good ones while they cannot be made: others on the port go on without it."""
    found = attempt(g, tls_chains, view, bound)
    if isinstance(found, Failure):
        return () if found.last_good is ABSENT else found.last_good
    return found


class LostNamesError(ValueError):
    """Routes by server name that have no effect, because an older server or route of the port has the name."""


@query
def check_listener(g: Graph, view: GatewayView, place: Place) -> None:
    """Fails where a part of a TLS listener is left out, which reports it: chains that cannot be made, and routes of TLS
    that passes through whose names are taken (`LostNamesError`)."""
    servers = servers_by_place(g, view).get(place, ())
    if not any(bound.is_tls for bound in servers):
        return
    for bound in servers:
        tls_chains(g, view, bound)
    lost = [f"{claim.bound} does not get {', '.join(claim.lost)}" for claim in _claims(g, view, servers) if claim.lost]
    if lost:
        raise LostNamesError(f"{'; '.join(lost)}: an older server or route on the port has it")


class TlsChain(NamedTuple):
    """A filter chain but for its match: `names` are the server names it is for, `*` being all others."""

    names: tuple[str, ...]
    body: Piece


@query
def tls_chains(g: Graph, view: GatewayView, bound: BoundServer) -> tuple[TlsChain, ...]:
    """The filter chains of one TLS server: one where TLS ends here, one for each route by name where it passes."""
    used(g, bound)
    route = gateway_route_name(bound)
    asked = authorization.references(g, view.namespace, view.labels, http=route is not None)
    socket = downstream_socket_of(g, bound, _peers(g, view, bound))
    if socket is None:
        return tuple(
            TlsChain(target.names, Piece.of(FilterChain(filters=_bytes(g, view, bound, target)), target.refs | asked))
            for target in passed_through(g, view, bound)
        )
    refs: set[Ref] = {*socket.refs, *asked}
    if route is not None:
        refs |= {(ROUTE, route), *jwt_authn.references(g, view.namespace, view.labels)}
        filters = _requests(g, view, bound, route)
    else:
        target = tcp_target(g, view, bound)
        if target is None:
            return ()
        refs |= target.refs
        filters = _bytes(g, view, bound, target, after_handshake=True)
    return (
        TlsChain(bound.server_names, Piece.of(FilterChain(filters=filters, transport_socket=socket.message), refs)),
    )


def _requests(g: Graph, view: GatewayView, bound: BoundServer, route: str) -> list[Filter]:
    mesh = mesh_config(g)
    return [
        *telemetry.network_filters(telemetry.Traffic.GATEWAY),
        gateway_manager(
            mesh,
            bound.server.name or f"outbound_{listener(bound.address, bound.listen)};",
            route,
            (
                *authorization.custom_http_filters(g, view.namespace, view.labels),
                *jwt_authn.http_filters(g, view.namespace, view.labels, True),
                *authorization.http_filters(g, view.namespace, view.labels),
            ),
            telemetry.http_access_logs(mesh, telemetry.Traffic.GATEWAY),
        ),
    ]


def _bytes(
    g: Graph, view: GatewayView, bound: BoundServer, target: TcpTarget, *, after_handshake: bool = False
) -> list[Filter]:
    return [
        *telemetry.network_filters(telemetry.Traffic.GATEWAY),
        *authorization.network_filters(g, view.namespace, view.labels, bound.listen),
        tcp_proxy(
            bound.server.name or target.clusters[0][0],
            target.clusters,
            telemetry.tcp_access_logs(mesh_config(g), telemetry.Traffic.GATEWAY),
            after_handshake=after_handshake,
        ),
    ]


def _peers(g: Graph, view: GatewayView, bound: BoundServer) -> PeerNames:
    """Which workloads of the mesh may complete a handshake: where only bytes are passed, policies decide it before the
    first of them."""
    if bound.protocol is Protocol.HTTPS:
        return authorization.mesh_peers(g)
    return authorization.tcp_peers(g, view.namespace, view.labels, bound.listen)


def _listening(head: Listener, view: GatewayView, place: Place, servers: tuple[BoundServer, ...]) -> Listener:
    if place.address.startswith(_UNIX):
        head.address = unix_address(place.address.removeprefix(_UNIX))
        return head
    bound = all(each.server.bind for each in servers)
    return listen(head, (place.address,) if bound else view.bind, place.port)

"""Route configurations of a gateway proxy (Istio: pilot/pkg/networking/core/gateway.go, buildGatewayHTTPRouteConfig).

One for each port that speaks plain HTTP, shared by all servers on it, and one for each HTTPS server.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from envoy_data_plane.envoy.config.route.v3 import RouteConfiguration, VirtualHost, VirtualHostTlsRequirementType

from crds.servertls import ServerTLSMode
from dragoman.codec import ROUTE, Encoded
from dragoman.engine import ABSENT, Failure, Graph, attempt, query
from dragoman.mesh.gateway_merge import BoundServer
from dragoman.mesh.gateways import hosts_served, servers_of, used, virtual_services_of
from dragoman.mesh.protocol import Protocol, named_protocol
from dragoman.mesh.proxies import GatewayView
from translators.destinations import Client
from translators.pieces import Piece, concatenated, joined
from translators.routes import VIRTUAL_HOSTS, settings
from translators.virtual_hosts import ROUTES, RoutePieces, virtual_service_routes

_OPAQUE = (None, ServerTLSMode.PASSTHROUGH, ServerTLSMode.AUTO_PASSTHROUGH)


class Source(NamedTuple):
    """A VirtualService that gives a host routes, by the gateway they are bound to."""

    gateway: str
    namespace: str
    name: str


class GatewayHost(NamedTuple):
    """A virtual host of a gateway: who gives it routes, oldest first, and whether plain HTTP is sent on to HTTPS."""

    host: str
    port: int
    redirected: bool
    sources: tuple[Source, ...]


def gateway_route_name(bound: BoundServer) -> str | None:
    """The route configuration of a server, None where it takes no HTTP apart: TCP, or TLS passed through.

    Plain HTTP goes by the workload's port, HTTPS by the server (Istio: model/gateway.go, gatewayRDSRouteName).
    """
    server = bound.server
    bind = f".{server.bind}" if server.bind else ""
    protocol = named_protocol(server.port.protocol)
    if protocol.is_http:
        return f"http.{bound.listen}{bind}"
    if protocol is Protocol.HTTPS and server.tls is not None and server.tls.mode not in _OPAQUE:
        return f"https.{bound.port}.{server.port.name}.{bound.name}.{bound.namespace}{bind}"
    return None


@query
def gateway_route_names(g: Graph, view: GatewayView) -> tuple[str, ...]:
    """The route configurations that a gateway's listeners name, in order of its servers."""
    return tuple(servers_by_route(g, view))


@query
def gateway_route_configuration(g: Graph, view: GatewayView, name: str) -> Encoded:
    """The route configuration `name` of a gateway; without any host it answers 404, an unknown name gives none."""
    client = Client(view.namespace, view.labels)
    pieces = [
        piece for host in gateway_hosts(g, view, name) if (piece := gateway_virtual_host(g, client, host)) is not None
    ]
    if not pieces:
        pieces = [_black_hole(port) for port in gateway_ports(g, view, name)[:1]]
    head = Piece.of(RouteConfiguration(name=name))
    whole = concatenated((head, joined(VIRTUAL_HOSTS, pieces), settings()))
    return whole.resource(ROUTE, name)


@query
def servers_by_route(g: Graph, view: GatewayView) -> dict[str, tuple[BoundServer, ...]]:
    """The servers that share each route configuration, oldest first: looked up, not searched, by each of many."""
    found: dict[str, list[BoundServer]] = {}
    for bound in servers_of(g, view):
        name = gateway_route_name(bound)
        if name is not None:
            found.setdefault(name, []).append(bound)
    return {name: tuple(servers) for name, servers in found.items()}


def _servers(g: Graph, view: GatewayView, name: str) -> Iterator[BoundServer]:
    for bound in servers_by_route(g, view).get(name, ()):
        yield used(g, bound)


@query
def gateway_ports(g: Graph, view: GatewayView, name: str) -> tuple[int, ...]:
    """The ports, as Gateways number them, of the servers that share a route configuration."""
    return tuple(bound.port for bound in _servers(g, view, name))


@query
def gateway_hosts(g: Graph, view: GatewayView, name: str) -> tuple[GatewayHost, ...]:
    """The hosts that both the servers and VirtualServices of a route configuration name, in order of name.

    A server that only redirects to HTTPS needs no VirtualService for its hosts.
    """
    sources: dict[str, dict[Source, None]] = {}
    redirected: set[str] = set()
    ports: dict[str, int] = {}
    for bound in _servers(g, view, name):
        redirects = bound.server.tls is not None and bool(bound.server.tls.https_redirect)
        for rule in virtual_services_of(g, bound.gateway):
            if not rule.spec.http:
                continue
            for host in map(str.lower, hosts_served(bound, rule)):
                sources.setdefault(host, {})[Source(bound.gateway, rule.namespace, rule.name)] = None
                ports.setdefault(host, bound.port)
                if redirects:
                    redirected.add(host)
        if redirects:
            for written in bound.server.hosts:
                host = written.rpartition("/")[2].lower()
                redirected.add(host)
                ports.setdefault(host, bound.port)
    return tuple(
        GatewayHost(host, ports[host], host in redirected, tuple(sources.get(host, ()))) for host in sorted(ports)
    )


@query
def gateway_virtual_host(g: Graph, client: Client, host: GatewayHost) -> Piece | None:
    """The virtual host of a gateway's host: routes of all its VirtualServices, those that take everything last.

    Routes that cannot be made are replaced by the last good ones of the same VirtualService.
    """
    routes = [route for source in host.sources for route in _routes(g, client, source, host.port)]
    if not routes and not host.redirected:
        return None
    ordered = sorted(routes, key=lambda route: route[1])  # stable: only whether a route takes everything counts
    message = VirtualHost(name=f"{host.host}:{host.port}", domains=[host.host], include_request_attempt_count=True)
    if host.redirected:
        message.require_tls = VirtualHostTlsRequirementType.ALL
    return concatenated((Piece.of(message), joined(ROUTES, (piece for piece, _ in ordered))))


def _routes(g: Graph, client: Client, source: Source, port: int) -> RoutePieces:
    found = attempt(g, virtual_service_routes, client, source.namespace, source.name, source.gateway, port)
    if not isinstance(found, Failure):
        return found
    last: RoutePieces = () if found.last_good is ABSENT else found.last_good
    return last


def _black_hole(port: int) -> Piece:
    return Piece.of(VirtualHost(name=f"blackhole:{port}", domains=["*"]))

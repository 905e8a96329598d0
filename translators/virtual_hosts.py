"""Virtual hosts of a sidecar: one for each service port, one for each VirtualService host that is no service.

Istio: pilot/pkg/networking/core/httproute.go, pilot/pkg/networking/core/route/route.go
(BuildSidecarVirtualHostWrapper).
"""

from __future__ import annotations

from envoy_data_plane.envoy.config.route.v3 import (
    DirectResponseAction,
    Route,
    RouteAction,
    RouteMatch,
    VirtualHost,
)

from crds.meta import ObjectKey
from crds.virtualservice import VirtualService
from dragoman.codec import CLUSTER
from dragoman.engine import ABSENT, Failure, Graph, attempt, query
from dragoman.mesh.exports import visible
from dragoman.mesh.inputs import EXTERNAL_NAMES, OBJECTS
from dragoman.mesh.protocol import Protocol
from dragoman.mesh.rules import RuleKeys, virtual_service
from dragoman.mesh.services import Port, Service, service, service_of
from dragoman.mesh.settings import mesh_config
from dragoman.mesh.world import MESH_GATEWAY
from translators.destinations import Client, resolver, rules_for, target_under
from translators.domains import host_names, service_domains
from translators.http_routes import Origin, default_route, http_routes, references
from translators.names import PASSTHROUGH
from translators.pieces import NOTHING, Piece, concatenated, joined
from translators.route_action import CLIENT_DEADLINE, NO_TIMEOUT
from translators.route_match import takes_everything

ROUTES = 3
"""Field number of `VirtualHost.routes`."""


def speaks_http(port: Port) -> bool:
    """Whether requests may come to a port: by declaration, or because it is detected per connection."""
    return port.protocol.is_http or port.protocol is Protocol.AUTO


def is_destination(found: Service | None, client: str) -> bool:
    """Whether a host is a service to `client`; an ExternalName is only another name of one."""
    return found is not None and found.alias_of is None and visible(found.exported, client)


@query
def virtual_host(g: Graph, client: Client, host: str, port: int, domains: tuple[str, ...]) -> Piece | None:
    """The virtual host `host:port` for the given domains, None where it would have no route.

    Routes that cannot be made are replaced by the last good ones, else by what held without the VirtualService.
    """
    ruled = virtual_service(g, client.namespace, host) is not None
    routes = attempt(g, ruled_routes, client, host, port) if ruled else default_routes_of(g, client, host, port)
    if isinstance(routes, Failure):
        routes = default_routes_of(g, client, host, port) if routes.last_good is ABSENT else routes.last_good
    if not (routes.parts and domains):
        return None
    head = VirtualHost(name=f"{host}:{port}", domains=list(domains))
    return concatenated((Piece.of(head), routes, _TAIL))


_TAIL = Piece.of(VirtualHost(include_request_attempt_count=True))


@query
def ruled_routes(g: Graph, client: Client, host: str, port: int) -> Piece:
    """Routes that a VirtualService gives a host on a port, as elements of `VirtualHost.routes`.

    One without a route for this client and port changes nothing for a service.
    """
    found = virtual_service(g, client.namespace, host)
    if found is not None:
        routes = virtual_service_routes(g, client, found.namespace, found.name, MESH_GATEWAY, port)
        if routes:
            return joined(ROUTES, (route for route, _ in routes))
    return default_routes_of(g, client, host, port)


RoutePieces = tuple[tuple[Piece, bool], ...]
"""Routes in order, each with whether it takes every request that reaches it."""


@query
def virtual_service_routes(g: Graph, client: Client, namespace: str, name: str, gateway: str, port: int) -> RoutePieces:
    """Routes of a VirtualService for requests to `port` at `client`, by `gateway`: `mesh`, or `namespace/name`."""
    found = OBJECTS(g, ObjectKey("VirtualService", namespace, name))
    if not isinstance(found, VirtualService):
        return ()
    origin = Origin(port, gateway, client.namespace, client.labels)
    retries = mesh_config(g).default_http_retry_policy
    routes = http_routes(found, origin, resolver(g, client, namespace, port), retries)
    return tuple((Piece.of(route, references((route,))), takes_everything(route.match)) for route in routes)


def default_routes_of(g: Graph, client: Client, host: str, port: int) -> Piece:
    """Routes of a service without a VirtualService; none for a host that is no service."""
    found = service_of(g, host)
    if found is None or not is_destination(found, client.namespace):
        return NOTHING
    return default_routes(g, host, port, rules_for(g, client, found))


@query
def default_routes(g: Graph, host: str, port: int, rules: RuleKeys) -> Piece:
    """The same for every client for whom the same DestinationRules hold."""
    found = service_of(g, host)
    if found is None:
        return NOTHING
    target = target_under(g, found, "", port, rules)
    route = default_route(host, port, target, mesh_config(g).default_http_retry_policy)
    return joined(ROUTES, (Piece.of(route, references((route,))),))


@query
def domains_of(g: Graph, client: str, host: str) -> tuple[str, ...]:
    """Names under which namespace `client` reaches `host`, those of the ExternalNames that lead to it included."""
    found = service_of(g, host)
    if found is None or not is_destination(found, client):
        return host_names(host, client)[:1]
    aliases = aliases_of(g, client, host) if EXTERNAL_NAMES(g, host) else ()
    return service_domains(found, aliases, client)


@query
def aliases_of(g: Graph, client: str, host: str) -> tuple[str, ...]:
    """Hosts of the ExternalName services that lead to `host`, by one step or several."""
    found: list[str] = []
    for namespace, name in EXTERNAL_NAMES(g, host):
        alias = service(g, namespace, name)
        if alias is not None and visible(alias.exported, client):
            found.extend((alias.host, *aliases_of(g, client, alias.host)))
    return tuple(found)


def catch_all(allow_any: bool) -> Piece:
    """Requests to hosts that nobody knows: passed through, or refused with 502 (Istio: buildCatchAllVirtualHost)."""
    return _ALLOW_ANY if allow_any else _BLOCK_ALL


_EVERYTHING = RouteMatch(prefix="/")
_ALLOW_ANY = Piece.of(
    VirtualHost(
        name="allow_any",
        domains=["*"],
        routes=[
            Route(
                name="allow_any",
                match=_EVERYTHING,
                route=RouteAction(cluster=PASSTHROUGH, timeout=NO_TIMEOUT, max_stream_duration=CLIENT_DEADLINE),
            )
        ],
        include_request_attempt_count=True,
    ),
    {(CLUSTER, PASSTHROUGH)},
)
_BLOCK_ALL = Piece.of(
    VirtualHost(
        name="block_all",
        domains=["*"],
        routes=[Route(name="block_all", match=_EVERYTHING, direct_response=DirectResponseAction(status=502))],
        include_request_attempt_count=True,
    )
)

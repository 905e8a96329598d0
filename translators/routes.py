"""Route configurations of a sidecar (Istio: httproute.go, buildSidecarOutboundHTTPRouteConfig).

A route configuration is a join of pieces: virtual hosts, in chunks by the namespace that provides them. A change of one
VirtualService makes one virtual host, its chunk and the join anew.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from envoy_data_plane.envoy.config.route.v3 import RouteConfiguration

from crds.meta import age_order
from crds.virtualservice import VirtualService
from dragoman.codec import ROUTE, Encoded
from dragoman.engine import Graph, consult, query
from dragoman.mesh.hosts import DOMAIN, matches, resolve
from dragoman.mesh.inputs import VIRTUAL_SERVICE_HOSTS, VIRTUAL_SERVICE_NAMESPACES
from dragoman.mesh.proxies import OutboundView
from dragoman.mesh.rules import virtual_service
from dragoman.mesh.services import Egress, provider_namespaces, service, service_of, visible_services
from translators.destinations import Client
from translators.domains import HTTP_PORT, with_port
from translators.names import HTTP_PROXY_ROUTE
from translators.pieces import Piece, concatenated, joined
from translators.redirects import MAX_BODY
from translators.virtual_hosts import catch_all, domains_of, is_destination, speaks_http, virtual_host

VIRTUAL_HOSTS = 2
"""Field number of `RouteConfiguration.virtual_hosts`."""

ALL_PORTS = 0


class Scope(NamedTuple):
    """Which hosts a route configuration holds: those on one port, or on `ALL_PORTS` for the HTTP proxy listener."""

    namespace: str
    egress: Egress
    port: int


class Member(NamedTuple):
    """A virtual host by name, without its content."""

    host: str
    port: int


@query
def route_configuration(g: Graph, view: OutboundView, name: str) -> Encoded:
    """The route configuration `name`: `<port>`, `http_proxy`, or `<fqdn>:<port>` for a port whose protocol is detected.

    Any other name gives an empty one: a listener that names it must not wait for it.
    """
    host, _, port = name.rpartition(":")
    if name == HTTP_PROXY_ROUTE:
        pieces = (*_shared(g, view, ALL_PORTS), settings(ignore_port=False))
    elif not port.isdecimal():
        pieces = (settings(),)
    elif not host:
        pieces = (*_shared(g, view, int(port)), settings())
    else:
        pieces = (_of_one(g, view, host, int(port)), settings())
    whole = concatenated((Piece.of(RouteConfiguration(name=name)), *pieces))
    return whole.resource(ROUTE, name)


def settings(*, ignore_port: bool = True) -> Piece:
    """What all route configurations have in common. Clusters are not checked: they may come and go at any time."""
    return _IGNORING_PORTS if ignore_port else _MINDING_PORTS


def _settings(ignore_port: bool) -> Piece:
    return Piece.of(
        RouteConfiguration(
            validate_clusters=False,
            max_direct_response_body_size_bytes=MAX_BODY,
            ignore_port_in_host_matching=ignore_port,
        )
    )


_IGNORING_PORTS, _MINDING_PORTS = _settings(True), _settings(False)


def _shared(g: Graph, view: OutboundView, port: int) -> Iterator[Piece]:
    client, scope = Client(view.namespace, view.labels), Scope(view.namespace, view.egress, port)
    for provider in rule_namespaces(g, view.egress):
        yield rule_chunk(g, client, scope, provider)
    for provider in provider_namespaces(g, view.egress):
        yield service_chunk(g, client, scope, provider)
    yield joined(VIRTUAL_HOSTS, (catch_all(view.allow_any),))


def _of_one(g: Graph, view: OutboundView, host: str, port: int) -> Piece:
    """A listener that serves one service only: whatever host a request names, it is for that service."""
    found = service_of(g, host)
    if found is None or not is_destination(found, view.namespace) or found.port(port) is None:
        return Piece(b"")
    piece = virtual_host(g, Client(view.namespace, view.labels), host, port, ("*",))
    return joined(VIRTUAL_HOSTS, (piece,) if piece is not None else ())


@query
def rule_namespaces(g: Graph, egress: Egress) -> tuple[str, ...]:
    """Namespaces with VirtualServices for the mesh that the egress admits."""
    admitted = {namespace for namespace, _ in egress}
    return tuple(name for name in VIRTUAL_SERVICE_NAMESPACES(g, None) if "*" in admitted or name in admitted)


@query
def service_chunk(g: Graph, client: Client, scope: Scope, provider: str) -> Piece:
    """The virtual hosts of one namespace's services, in order of name."""
    return _chunk(g, client, scope, provider, True)


@query
def rule_chunk(g: Graph, client: Client, scope: Scope, provider: str) -> Piece:
    """The virtual hosts that VirtualServices of one namespace add: for hosts that are no service."""
    return _chunk(g, client, scope, provider, False)


def _chunk(g: Graph, client: Client, scope: Scope, provider: str, services: bool) -> Piece:
    pieces = (virtual_host(g, client, *entry) for entry in _entries(g, scope, provider, services))
    return joined(VIRTUAL_HOSTS, (piece for piece in pieces if piece is not None))


def _entries(g: Graph, scope: Scope, provider: str, services: bool) -> Iterator[tuple[str, int, tuple[str, ...]]]:
    """Host, port and domains of each virtual host of a chunk."""
    lost = consult(g, lost_domains, scope, provider, services)
    for member in members(g, scope, provider, services):
        domains = _domains(g, scope, member)
        if lost:
            domains = tuple(domain for domain in domains if (member, domain) not in lost)
        yield member.host, member.port, domains


@query
def service_members(g: Graph, scope: Scope, provider: str) -> tuple[Member, ...]:
    """Ports of one namespace's services on which requests may come, as far as the scope sees them."""
    return tuple(
        Member(found.host, port.number)
        for name in visible_services(g, scope.namespace, scope.egress, provider)
        if (found := service(g, provider, name)) is not None and is_destination(found, scope.namespace)
        for port in found.ports
        if speaks_http(port) and scope.port in (ALL_PORTS, port.number)
    )


@query
def rule_members(g: Graph, scope: Scope, provider: str) -> tuple[Member, ...]:
    """Hosts that VirtualServices of one namespace name and that are no service, where it is their rule that holds.

    Wildcards below the cluster's domain are left out: they are for services, known or not visible.
    """
    members: list[Member] = []
    for host in VIRTUAL_SERVICE_HOSTS(g, provider):
        if host == "*" or (host.startswith("*") and host.endswith(f".{DOMAIN}")) or not _admits(scope, provider, host):
            continue
        if is_destination(service_of(g, host), scope.namespace):
            continue
        rule = virtual_service(g, scope.namespace, host)
        if rule is not None and rule.namespace == provider and rule.spec.http:
            ports = _ports(g, scope, rule)
            members.extend(Member(host, port) for port in ports if scope.port in (ALL_PORTS, port))
    return tuple(members)


def members(g: Graph, scope: Scope, provider: str, services: bool) -> tuple[Member, ...]:
    """The virtual hosts of a chunk by name."""
    return service_members(g, scope, provider) if services else rule_members(g, scope, provider)


def _admits(scope: Scope, namespace: str, host: str) -> bool:
    return any(
        admitted in ("*", namespace) and (matches(pattern, host) or matches(host, pattern))
        for admitted, pattern in scope.egress
    )


def _ports(g: Graph, scope: Scope, rule: VirtualService) -> tuple[int, ...]:
    """Ports of the services among a VirtualService's hosts, 80 where there is none: a host that is no service has no
    port of its own (Istio: buildSidecarVirtualHostsForVirtualService)."""
    ports = {
        port.number
        for host in rule.spec.hosts
        if (found := service_of(g, resolve(host, rule.namespace))) is not None
        and is_destination(found, scope.namespace)
        for port in found.ports
        if speaks_http(port)
    }
    return tuple(sorted(ports)) or (HTTP_PORT,)


def _domains(g: Graph, scope: Scope, member: Member) -> tuple[str, ...]:
    domains = domains_of(g, scope.namespace, member.host)
    return with_port(domains, member.port) if scope.port == ALL_PORTS else domains


# Removing duplicates: Envoy rejects a whole route configuration for one domain that two virtual hosts claim.

Claims = tuple[tuple[Member, str], ...]


@query
def claims(g: Graph, scope: Scope, provider: str, services: bool) -> Claims:
    """Which domains the virtual hosts of a chunk ask for."""
    listed = members(g, scope, provider, services)
    return tuple((member, domain) for member in listed for domain in _domains(g, scope, member))


@query
def claimed(g: Graph, scope: Scope, provider: str, services: bool) -> tuple[int, frozenset[str]]:
    """How many claims a chunk has, and their domains."""
    listed = claims(g, scope, provider, services)
    return len(listed), frozenset(domain for _, domain in listed)


@query
def duplicates(g: Graph, scope: Scope) -> frozenset[tuple[Member, str]]:
    """Claims that lose: the oldest keeps a domain, VirtualServices' own hosts before services (Istio: httproute.go,
    dedupeDomains). Nearly always none, which costs a count and no comparison of names."""
    chunks = [(provider, False) for provider in rule_namespaces(g, scope.egress)]
    chunks += [(provider, True) for provider in provider_namespaces(g, scope.egress)]
    counted = [claimed(g, scope, *chunk) for chunk in chunks]
    if sum(count for count, _ in counted) == len(frozenset().union(*(names for _, names in counted))):
        return frozenset()
    owner: dict[str, Member] = {}
    listed = ((services, member) for provider, services in chunks for member in members(g, scope, provider, services))
    return frozenset(
        (member, domain)
        for _, member in sorted(listed, key=lambda entry: (entry[0], _age(g, scope, *entry), entry[1]))
        for domain in _domains(g, scope, member)
        if owner.setdefault(domain, member) != member
    )


def _age(g: Graph, scope: Scope, services: bool, member: Member) -> tuple[object, ...]:
    if services:
        found = service_of(g, member.host)
        return found.age if found is not None else ()
    rule = virtual_service(g, scope.namespace, member.host)
    return age_order(rule) if rule is not None else ()


@query
def lost_domains(g: Graph, scope: Scope, provider: str, services: bool) -> frozenset[tuple[Member, str]]:
    """The losing claims of one chunk: only chunks that lose something are made anew for it."""
    lost = duplicates(g, scope)
    return frozenset(claim for claim in claims(g, scope, provider, services) if claim in lost) if lost else lost

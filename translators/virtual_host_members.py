"""Which virtual hosts a sidecar's route configurations have, and under which domains.

They are listed by the namespace that provides them and in chunks of bounded size, so that a change in one place does
not cost the width of the mesh (Istio: pilot/pkg/networking/core/httproute.go, BuildSidecarOutboundVirtualHosts).
"""

from __future__ import annotations

from typing import NamedTuple
from zlib import crc32

from crds.meta import age_order
from crds.virtualservice import VirtualService
from dragoman.engine import Graph, query
from dragoman.mesh.hosts import DOMAIN, matches, resolve
from dragoman.mesh.inputs import VIRTUAL_SERVICE_HOSTS, VIRTUAL_SERVICE_NAMESPACES
from dragoman.mesh.rules import virtual_service
from dragoman.mesh.services import Egress, provider_namespaces, service, service_of, visible_services
from translators.domains import HTTP_PORT, with_port
from translators.virtual_hosts import domains_of, is_destination, speaks_http

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
def rule_namespaces(g: Graph, egress: Egress) -> tuple[str, ...]:
    """Namespaces with VirtualServices for the mesh that the egress admits."""
    admitted = {namespace for namespace, _ in egress}
    return tuple(name for name in VIRTUAL_SERVICE_NAMESPACES(g, None) if "*" in admitted or name in admitted)


class Provider(NamedTuple):
    """What a namespace adds to a scope: the virtual hosts of its services, or those of hosts that only its
    VirtualServices name."""

    namespace: str
    services: bool


def providers(g: Graph, scope: Scope) -> list[Provider]:
    """All providers of a scope in order: VirtualServices, then services, each by namespace."""
    rules = [Provider(namespace, False) for namespace in rule_namespaces(g, scope.egress)]
    return rules + [Provider(namespace, True) for namespace in provider_namespaces(g, scope.egress)]


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


def members(g: Graph, scope: Scope, provider: Provider) -> tuple[Member, ...]:
    """The virtual hosts of a provider by name."""
    listed = service_members if provider.services else rule_members
    return listed(g, scope, provider.namespace)


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


def domains(g: Graph, scope: Scope, member: Member) -> tuple[str, ...]:
    domains = domains_of(g, scope.namespace, member.host)
    return with_port(domains, member.port) if scope.port == ALL_PORTS else domains


class Chunk(NamedTuple):
    """Virtual hosts that are joined together: one bucket of those of a provider."""

    provider: Provider
    bucket: int


@query
def chunks(g: Graph, scope: Scope, provider: Provider) -> tuple[Chunk, ...]:
    """All chunks of a provider in order."""
    return tuple(Chunk(provider, bucket) for bucket in range(len(_buckets(g, scope, provider))))


@query
def members_of(g: Graph, scope: Scope, chunk: Chunk) -> tuple[Member, ...]:
    """The virtual hosts of a chunk by name."""
    buckets = _buckets(g, scope, chunk.provider)
    return buckets[chunk.bucket] if chunk.bucket < len(buckets) else ()


@query
def _buckets(g: Graph, scope: Scope, provider: Provider) -> tuple[tuple[Member, ...], ...]:
    """The virtual hosts of a provider, in order of name while they are few, else spread by a hash of the host: a host
    more or less then changes its own bucket only, and no bucket grows with the mesh."""
    listed = members(g, scope, provider)
    count = 1
    while count * _BUCKET < len(listed):
        count *= 2
    found: list[list[Member]] = [[] for _ in range(count if listed else 0)]
    for member in listed:
        found[crc32(member.host.encode()) % count].append(member)
    return tuple(map(tuple, found))


_BUCKET = 32
"""Members of a provider for which one bucket is enough: making a chunk anew costs its members, and joining those of a
provider its chunks."""


# Removing duplicates: Envoy rejects a whole route configuration for one domain that two virtual hosts claim.


@query
def claimed(g: Graph, scope: Scope, chunk: Chunk) -> tuple[int, frozenset[str]]:
    """How many domains the virtual hosts of a chunk ask for, and which."""
    asked = [name for member in members_of(g, scope, chunk) for name in domains(g, scope, member)]
    return len(asked), frozenset(asked)


@query
def duplicates(g: Graph, scope: Scope) -> frozenset[tuple[Member, str]]:
    """Claims that lose: the oldest keeps a domain, VirtualServices' own hosts before services (Istio: httproute.go,
    dedupeDomains). Nearly always none, which costs a count and no comparison of names."""
    listed = providers(g, scope)
    counted = [claimed(g, scope, chunk) for provider in listed for chunk in chunks(g, scope, provider)]
    if sum(count for count, _ in counted) == len(frozenset().union(*(names for _, names in counted))):
        return frozenset()
    owner: dict[str, Member] = {}
    claims = ((provider.services, member) for provider in listed for member in members(g, scope, provider))
    return frozenset(
        (member, domain)
        for _, member in sorted(claims, key=lambda entry: (entry[0], _age(g, scope, *entry), entry[1]))
        for domain in domains(g, scope, member)
        if owner.setdefault(domain, member) != member
    )


def _age(g: Graph, scope: Scope, services: bool, member: Member) -> tuple[object, ...]:
    if services:
        found = service_of(g, member.host)
        return found.age if found is not None else ()
    rule = virtual_service(g, scope.namespace, member.host)
    return age_order(rule) if rule is not None else ()


@query
def lost_domains(g: Graph, scope: Scope, chunk: Chunk) -> frozenset[tuple[Member, str]]:
    """The losing claims of one chunk: only chunks that lose something are made anew for it."""
    lost = duplicates(g, scope)
    if not lost:
        return lost
    listed = members_of(g, scope, chunk)
    return frozenset((member, domain) for member in listed for domain in domains(g, scope, member)) & lost

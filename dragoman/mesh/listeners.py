"""Addresses on which captured traffic to a service arrives: its virtual IPs, or the pods' own for a headless one."""

from __future__ import annotations

from dataclasses import dataclass, replace

from dragoman.engine import Graph, query
from dragoman.mesh.endpoints import endpoints
from dragoman.mesh.families import Families
from dragoman.mesh.protocol import Protocol
from dragoman.mesh.services import Egress, provider_namespaces, service, visible_services


@dataclass(frozen=True, slots=True)
class Target:
    """Where a client dials a port of a service that needs a listener of its own: at any of the addresses."""

    addresses: tuple[str, ...]
    port: int
    protocol: Protocol
    namespace: str
    service: str


@query
def targets_of_namespace(
    g: Graph, client: str, egress: Egress, families: Families, provider: str
) -> tuple[Target, ...]:
    """Targets of one provider namespace: ports of TCP, TLS and undeclared protocol; HTTP ports share a listener."""
    found: list[Target] = []
    for name in visible_services(g, client, egress, provider):
        known = service(g, provider, name)
        if known is None or known.alias_of is not None:
            continue
        for port in known.ports:
            if port.protocol.is_http or port.protocol is Protocol.UDP:
                continue
            dialled = [known.addresses]
            if known.headless:
                dialled = list(dict.fromkeys(e.addresses for e in endpoints(g, provider, name, port.name)))
            found += [
                Target(addresses, port.number, port.protocol, provider, name)
                for addresses in map(families.among, dialled)
                if addresses
            ]
    return tuple(found)


@query
def targets(g: Graph, client: str, egress: Egress, families: Families) -> tuple[Target, ...]:
    """All targets, each address and port once: of two services that claim one, the older keeps it (Istio:
    pilot_conflict_outbound_listener_tcp_over_current_tcp). Addresses of other families are left out."""
    listed: list[Target] = []
    owners: dict[tuple[str, int], tuple[tuple[object, ...], Target]] = {}
    contested = False
    for provider in provider_namespaces(g, egress):
        for target in targets_of_namespace(g, client, egress, families, provider):
            known = service(g, target.namespace, target.service)
            age = known.age if known is not None else ()
            listed.append(target)
            for address in target.addresses:
                held = owners.get((address, target.port))
                contested = contested or held is not None
                if held is None or age < held[0]:
                    owners[address, target.port] = (age, target)
    if not contested:
        return tuple(listed)
    kept: dict[Target, list[str]] = {}
    for (address, _), (_, target) in owners.items():
        kept.setdefault(target, []).append(address)
    return tuple(
        target if len(addresses) == len(target.addresses) else replace(target, addresses=tuple(addresses))
        for target, addresses in kept.items()
    )

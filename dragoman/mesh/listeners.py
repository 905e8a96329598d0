"""Addresses on which captured traffic to a service arrives: its virtual IPs, or the pods' own for a headless one."""

from __future__ import annotations

from dataclasses import dataclass

from dragoman.engine import Graph, query
from dragoman.mesh.endpoints import endpoints
from dragoman.mesh.protocol import Protocol
from dragoman.mesh.services import Egress, provider_namespaces, service, visible_services


@dataclass(frozen=True, slots=True)
class Target:
    """Where a client dials a port of a service that needs a listener of its own."""

    address: str
    port: int
    protocol: Protocol
    namespace: str
    service: str


@query
def targets_of_namespace(g: Graph, client: str, egress: Egress, provider: str) -> tuple[Target, ...]:
    """Targets of one provider namespace: ports of TCP, TLS and undeclared protocol; HTTP ports share a listener."""
    found = []
    for name in visible_services(g, client, egress, provider):
        known = service(g, provider, name)
        if known is None or known.alias_of is not None:
            continue
        for port in known.ports:
            if port.protocol.is_http or port.protocol is Protocol.UDP:
                continue
            addresses = known.addresses
            if known.headless:
                addresses = tuple(dict.fromkeys(e.address for e in endpoints(g, provider, name, port.name)))
            found += [Target(address, port.number, port.protocol, provider, name) for address in addresses]
    return tuple(found)


@query
def targets(g: Graph, client: str, egress: Egress) -> tuple[Target, ...]:
    """All targets, each address and port once: of two services that claim one, the older keeps it (Istio:
    pilot_conflict_outbound_listener_tcp_over_current_tcp)."""
    owners: dict[tuple[str, int], tuple[tuple[object, ...], Target]] = {}
    for provider in provider_namespaces(g, egress):
        for target in targets_of_namespace(g, client, egress, provider):
            known = service(g, target.namespace, target.service)
            age = known.age if known is not None else ()
            held = owners.get((target.address, target.port))
            if held is None or age < held[0]:
                owners[target.address, target.port] = (age, target)
    return tuple(target for _, target in owners.values())

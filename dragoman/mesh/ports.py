"""Which ports the services that a client sees have, in shards by provider namespace."""

from __future__ import annotations

from dragoman.engine import Graph, query
from dragoman.mesh.protocol import Protocol
from dragoman.mesh.services import Egress, provider_namespaces, service, visible_services


@query
def ports_of_namespace(g: Graph, client: str, egress: Egress, provider: str) -> frozenset[tuple[int, Protocol]]:
    """Port numbers and protocols of one provider namespace; ExternalName services have none of their own."""
    found: set[tuple[int, Protocol]] = set()
    for name in visible_services(g, client, egress, provider):
        known = service(g, provider, name)
        if known is not None and known.alias_of is None:
            found.update((port.number, port.protocol) for port in known.ports)
    return frozenset(found)


@query
def http_ports(g: Graph, client: str, egress: Egress) -> tuple[int, ...]:
    """Numbers of the ports on which some visible service speaks HTTP by declaration: one route configuration each."""
    return tuple(
        sorted(
            {
                number
                for provider in provider_namespaces(g, egress)
                for number, protocol in ports_of_namespace(g, client, egress, provider)
                if protocol.is_http
            }
        )
    )

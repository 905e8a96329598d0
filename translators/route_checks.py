"""Rules whose routes cannot be made, as leaves that fail.

A virtual host goes on with its last good routes and hides what is wrong with its rule. Here each rule in use is a leaf
without a resource: it fails when its routes do, and is reported as every failure is.
"""

from __future__ import annotations

from dragoman.engine import Call, Graph, Tree, query
from dragoman.mesh.proxies import GatewayView, OutboundView
from dragoman.mesh.rules import virtual_service
from dragoman.mesh.world import MESH_GATEWAY
from translators.destinations import Client
from translators.gateway_routes import gateway_hosts, gateway_route_names
from translators.virtual_host_members import ALL_PORTS, Chunk, Scope, chunks, members_of, providers
from translators.virtual_hosts import virtual_service_routes


@query
def sidecar_rules(g: Graph, view: OutboundView) -> Tree:
    """A leaf for each VirtualService that gives a sidecar routes, on each port where it does."""
    client, scope = Client(view.namespace, view.labels), Scope(view.namespace, view.egress, ALL_PORTS)
    return Tree(
        rules_of_chunk.call(client, scope, chunk)
        for provider in providers(g, scope)
        for chunk in chunks(g, scope, provider)
    )


@query
def rules_of_chunk(g: Graph, client: Client, scope: Scope, chunk: Chunk) -> Tree:
    """The rules of one chunk of virtual hosts."""
    calls: list[Call[None]] = []
    for member in members_of(g, scope, chunk):
        rule = virtual_service(g, scope.namespace, member.host)
        if rule is not None:
            calls.append(rule_in_use.call(client, rule.namespace, rule.name, MESH_GATEWAY, member.port))
    return Tree(calls)


@query
def gateway_rules(g: Graph, view: GatewayView) -> Tree:
    """A leaf for each VirtualService that gives a gateway routes, on each port where it does."""
    client = Client(view.namespace, view.labels)
    return Tree(
        rule_in_use.call(client, source.namespace, source.name, source.gateway, host.port)
        for name in gateway_route_names(g, view)
        for host in gateway_hosts(g, view, name)
        for source in host.sources
    )


@query
def rule_in_use(g: Graph, client: Client, namespace: str, name: str, gateway: str, port: int) -> None:
    """Fails as the routes of the VirtualService do."""
    virtual_service_routes(g, client, namespace, name, gateway, port)

"""Everything a sidecar gets, as trees of resources: one for what is outside it, one for what is inside.

A leaf is one xDS resource; the trees say which there are, so that a change costs its leaf and not the width of a view.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from dragoman.engine import Call, Graph, Tree, query
from dragoman.mesh.authorizers import asked_services
from dragoman.mesh.families import Families
from dragoman.mesh.inbound import InboundPort
from dragoman.mesh.labels import Labels
from dragoman.mesh.listeners import targets
from dragoman.mesh.ports import http_ports
from dragoman.mesh.protocol import Protocol
from dragoman.mesh.proxies import InboundView, OutboundView
from dragoman.mesh.proxy_id import ProxyType
from dragoman.mesh.request_authentications import key_servers
from dragoman.mesh.rules import destination_rules, merged_rule
from dragoman.mesh.services import Egress, provider_namespaces, service, visible_services
from dragoman.mesh.sidecar_ingress import ingress_ports
from dragoman.mesh.workloads import Interception
from translators.clusters import black_hole_cluster, outbound_cluster_of, passthrough_cluster
from translators.inbound_clusters import inbound_cluster_of, inbound_passthrough_cluster
from translators.inbound_listeners import bound_inbound, captured_ports, virtual_inbound
from translators.load_assignments import load_assignment, subset_labels
from translators.names import HTTP_PROXY_ROUTE
from translators.outbound_listeners import http_listener, http_proxy_listener, target_listener, virtual_outbound
from translators.route_checks import sidecar_rules
from translators.routes import route_configuration


@query
def outbound(g: Graph, view: OutboundView) -> Tree:
    """Clusters and endpoints of all that a proxy may see, and for a sidecar the listeners and routes towards them."""
    calls: list[Call[Any]] = [black_hole_cluster.call(), passthrough_cluster.call()]
    dials_directly, gateway = view.mode is not Interception.NONE, view.type is not ProxyType.SIDECAR
    scope = (view.namespace, view.labels, view.egress, dials_directly, gateway)
    calls += (services_of_namespace.call(*scope, provider) for provider in provider_namespaces(g, view.egress))
    calls.append(authorizers_out_of_sight.call(*scope))
    if view.type is ProxyType.SIDECAR:
        calls.append(sidecar_rules.call(view))
        calls.append(uncaptured.call(view) if view.families is None else captured.call(view, view.families))
    return Tree(calls)


@query
def services_of_namespace(
    g: Graph, client: str, labels: Labels, egress: Egress, dials_directly: bool, gateway: bool, provider: str
) -> Tree:
    """Clusters and endpoints of the services of one provider namespace."""
    calls: list[Call[Any]] = []
    for name in visible_services(g, client, egress, provider):
        calls += _of_service(g, client, labels, dials_directly, gateway, provider, name)
    return Tree(calls)


@query
def authorizers_out_of_sight(
    g: Graph, client: str, labels: Labels, egress: Egress, dials_directly: bool, gateway: bool
) -> Tree:
    """The same of external authorizers, and servers of keys, that a proxy's applications may not call: the proxy must
    ask them all the same, and without their clusters every request would be denied."""
    calls: list[Call[Any]] = []
    for provider, name in dict.fromkeys((*asked_services(g), *key_servers(g, client))):
        if name not in visible_services(g, client, egress, provider):
            calls += _of_service(g, client, labels, dials_directly, gateway, provider, name)
    return Tree(calls)


def _of_service(
    g: Graph, client: str, labels: Labels, dials_directly: bool, gateway: bool, provider: str, name: str
) -> Iterator[Call[Any]]:
    found = service(g, provider, name)
    if found is None or found.alias_of is not None:
        return
    rules = destination_rules(g, client, labels, provider, found.host)
    rule = merged_rule(g, rules)
    # Gateways and sidecars share what does not depend on who gets Secrets.
    holds_credentials = gateway and rule is not None and rule.names_credentials
    subsets = ("", *(subset.name for subset in rule.subsets)) if rule is not None else ("",)
    for port in found.ports:
        if port.protocol is Protocol.UDP:
            continue
        for subset in subsets:
            key = (provider, name, port.number, subset)
            yield outbound_cluster_of.call(*key, rules, dials_directly, holds_credentials)
            if not (found.headless and dials_directly):
                yield load_assignment.call(*key, subset_labels(g, rules, subset))


@query
def captured(g: Graph, view: OutboundView, families: Families) -> Tree:
    """Listeners and routes of a sidecar to which traffic is redirected."""
    ports = http_ports(g, view.namespace, view.egress)
    calls: list[Call[Any]] = [virtual_outbound.call(view.allow_any, view.mode, families)]
    calls += (http_listener.call(port, view.allow_any, families) for port in ports)
    calls += (route_configuration.call(view, str(port)) for port in ports)
    for target in targets(g, view.namespace, view.egress, families):
        calls.append(target_listener.call(target))
        if target.protocol is Protocol.AUTO:
            found = service(g, target.namespace, target.service)
            if found is not None:
                calls.append(route_configuration.call(view, f"{found.host}:{target.port}"))
    return Tree(calls)


@query
def uncaptured(g: Graph, view: OutboundView) -> Tree:
    """Routes of a sidecar whose application speaks to it as an HTTP proxy."""
    return Tree((route_configuration.call(view, HTTP_PROXY_ROUTE),))


@query
def inbound(g: Graph, view: InboundView) -> Tree:
    """Listeners for and clusters to the application behind a sidecar."""
    calls: list[Call[Any]] = []
    written = {port.number: port for port in ingress_ports(g, view)}
    bound = tuple(port for port in written.values() if port.bind)
    calls += (bound_inbound.call(view, port) for port in bound)
    ports: tuple[InboundPort, ...] = tuple(port.port for port in bound)
    if view.mode is not Interception.NONE:
        calls += (virtual_inbound.call(view), inbound_passthrough_cluster.call(view.mode, view.families))
        ports += captured_ports(g, view)
    elif view.http_proxy_port:
        calls.append(http_proxy_listener.call(view))
    for port in ports:
        endpoint = written[port.number].endpoint if port.number in written else None
        # Only the virtual listener keeps the client's address.
        mode = Interception.NONE if port.number in written and written[port.number].bind else view.mode
        calls.append(inbound_cluster_of.call(port, endpoint, mode, view.families))
    return Tree(calls)

"""Routes of bytes through a gateway: VirtualServices' `tcp`, and `tls` where TLS is passed through by server name.

Istio: pilot/pkg/networking/core/gateway.go (buildGatewayNetworkFiltersFromTCPRoutes, ...FromTLSRoutes).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from crds.servertls import ServerTLSMode
from crds.virtualservice import L4MatchAttributes, RouteDestination, TLSMatchAttributes, VirtualService
from dragoman.codec import CLUSTER, Ref
from dragoman.engine import Graph
from dragoman.mesh.gateway_merge import BoundServer
from dragoman.mesh.gateways import admitted, hosts_served, virtual_services_of
from dragoman.mesh.proxies import GatewayView
from translators.destinations import Client, resolver


class TcpTarget(NamedTuple):
    """Where bytes go: clusters with their weights. `names`: for which server names, empty where none are read."""

    names: tuple[str, ...]
    clusters: tuple[tuple[str, int], ...]

    @property
    def refs(self) -> frozenset[Ref]:
        return frozenset((CLUSTER, name) for name, _ in self.clusters)


def tcp_target(g: Graph, view: GatewayView, bound: BoundServer) -> TcpTarget | None:
    """Where a server's bytes go: by the first `tcp` route of the oldest VirtualService that matches its port."""
    for rule in virtual_services_of(g, bound.gateway):
        if not hosts_served(bound, rule):
            continue
        for route in rule.spec.tcp:
            if not route.match or any(_matches(match, bound, rule) for match in route.match):
                return _target(g, view, bound, rule, (), route.route)
    return None


def passed_through(g: Graph, view: GatewayView, bound: BoundServer) -> Iterator[TcpTarget]:
    """Where connections of a PASSTHROUGH server go, by the server name they ask for; oldest VirtualService first."""
    if bound.server.tls is None or bound.server.tls.mode is ServerTLSMode.AUTO_PASSTHROUGH:
        return
    for rule in virtual_services_of(g, bound.gateway):
        if not hosts_served(bound, rule):
            continue
        for route in rule.spec.tls:
            for match in route.match:
                if not _matches(match, bound, rule):
                    continue
                names = tuple(
                    dict.fromkeys(name for host in match.sni_hosts for name in admitted(bound, rule.namespace, host))
                )
                if names and route.route:
                    yield _target(g, view, bound, rule, names, route.route)


def _matches(match: L4MatchAttributes | TLSMatchAttributes, bound: BoundServer, rule: VirtualService) -> bool:
    """Whether a match can hold at a server: its port and gateway. Labels and namespace of sources are the mesh's."""
    if match.port and match.port != bound.port:
        return False
    full = (name if "/" in name else f"{rule.namespace}/{name}" for name in match.gateways)
    return not match.gateways or bound.gateway in full


def _target(
    g: Graph,
    view: GatewayView,
    bound: BoundServer,
    rule: VirtualService,
    names: tuple[str, ...],
    destinations: tuple[RouteDestination, ...],
) -> TcpTarget:
    resolve = resolver(g, Client(view.namespace, view.labels), rule.namespace, bound.port)
    weights = [1] if len(destinations) == 1 else [destination.weight or 0 for destination in destinations]
    clusters = (resolve(destination.destination).cluster for destination in destinations)
    return TcpTarget(names, tuple(zip(clusters, weights, strict=True)))

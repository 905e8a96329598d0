"""Everything that is particular to a gateway proxy: its listeners and their routes."""

from __future__ import annotations

from typing import Any

from dragoman.engine import Call, Graph, Tree, query
from dragoman.mesh.gateway_merge import Refusal
from dragoman.mesh.gateways import merged_servers, used
from dragoman.mesh.proxies import GatewayView
from translators.gateway_listeners import check_listener, gateway_listener, servers_by_place
from translators.gateway_routes import gateway_route_configuration, gateway_route_names
from translators.route_checks import gateway_rules


class RefusedServerError(ValueError):
    """A server of a Gateway has no effect, because an older one leaves no room for it on the port."""


@query
def gateway(g: Graph, view: GatewayView) -> Tree:
    """Listeners of a gateway's servers and the routes they name; a server that is refused is a leaf that fails."""
    places = tuple(servers_by_place(g, view))
    calls: list[Call[Any]] = [gateway_listener.call(view, place) for place in places]
    calls += (check_listener.call(view, place) for place in places)
    calls += (gateway_route_configuration.call(view, name) for name in gateway_route_names(g, view))
    calls.append(gateway_rules.call(view))
    calls += (refused_server.call(refusal) for refusal in merged_servers(g, view).refused)
    return Tree(calls)


@query
def refused_server(g: Graph, refusal: Refusal) -> None:
    """Always raises `RefusedServerError`: as every failure it is reported, with both Gateways as its authors."""
    used(g, refusal.older)
    used(g, refusal.server)
    raise RefusedServerError(str(refusal))

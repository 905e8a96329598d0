"""Everything that is particular to a gateway proxy: its listeners and their routes."""

from __future__ import annotations

from typing import Any

from dragoman.engine import Call, Graph, Tree, query
from dragoman.mesh.proxies import GatewayView
from translators.gateway_listeners import gateway_listener, places_of
from translators.gateway_routes import gateway_route_configuration, gateway_route_names


@query
def gateway(g: Graph, view: GatewayView) -> Tree:
    """Listeners of a gateway's servers and the routes they name."""
    calls: list[Call[Any]] = [gateway_listener.call(view, place) for place in places_of(g, view)]
    calls += (gateway_route_configuration.call(view, name) for name in gateway_route_names(g, view))
    return Tree(calls)

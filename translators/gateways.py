"""Everything that is particular to a gateway proxy: its listeners and their routes."""

from __future__ import annotations

from typing import Any

from dragoman.engine import Call, Graph, Tree, query
from dragoman.mesh.proxies import GatewayView


@query
def gateway(g: Graph, view: GatewayView) -> Tree:
    """Listeners of a gateway's servers and the routes they name."""
    calls: list[Call[Any]] = []
    return Tree(calls)

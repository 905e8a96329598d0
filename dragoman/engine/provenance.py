"""Provenance: which inputs an outcome was made from."""

from __future__ import annotations

from typing import Any

from dragoman.engine.inputs import Input
from dragoman.engine.node import Cell, Node


def provenance(node: Node) -> frozenset[tuple[Input[Any, Any], Any]]:
    """All present cells that `node` used, directly or not. Absent ones have no author, consulted ones no part in it."""
    found: set[tuple[Input[Any, Any], Any]] = set()
    todo, seen = [node], {node}
    while todo:
        node = todo.pop()
        for dep in node.deps:
            if dep in node.consulted:
                continue
            if isinstance(dep, Cell):
                if dep.value is not dep.input.default:
                    found.add((dep.input, dep.key))
            elif dep not in seen:
                seen.add(dep)
                todo.append(dep)
    return frozenset(found)

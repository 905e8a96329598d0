"""Provenance: which inputs an outcome was made from, and which outcomes from an input."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from dragoman.engine.inputs import Input
from dragoman.engine.node import Cell, Node

_STEP: Final = 500
"""Nodes looked at between two looks at the clock: a tenth of a millisecond."""


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


def watched_dependents(cell: Cell) -> Iterator[Node | None]:
    """Nodes that some mount observes and that used `cell`, directly or not: who merely consulted it is none.

    Yields None now and then. The graph may be read meanwhile, but a transaction that runs in between shows in part.
    """
    todo: list[Cell | Node] = [cell]
    seen: set[Cell | Node] = {cell}
    while todo:
        vertex = todo.pop()
        for reader in tuple(vertex.readers):
            if reader not in seen and vertex not in reader.consulted:
                seen.add(reader)
                todo.append(reader)
                if reader.watchers:
                    yield reader
                if not len(seen) % _STEP:
                    yield None

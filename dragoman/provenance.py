"""Which objects a resource, or a part of one, was made from: the recorded reads, as object keys."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from crds.meta import Object, ObjectKey
from dragoman.engine import Call, Graph
from dragoman.mesh.inputs import OBJECTS


def origins(g: Graph, call: Call[Any]) -> tuple[ObjectKey, ...]:
    """The objects that the value of `call` was made from, sorted."""
    found: set[ObjectKey] = set()
    for cell, key in g.provenance(call):
        if cell is OBJECTS:
            found.add(key)
        else:
            found.update(_keys(cell(g, key)))
    return tuple(sorted(found))


def _keys(value: Any) -> Iterable[ObjectKey]:
    if isinstance(value, Object):
        return (value.key,)
    if isinstance(value, tuple):
        return (item.key for item in value if isinstance(item, Object))
    return ()

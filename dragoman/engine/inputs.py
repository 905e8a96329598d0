"""Inputs: typed families of cells, the only way by which the world enters the graph."""

from __future__ import annotations

from collections.abc import Hashable
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from dragoman.engine.graph import Graph

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Input(Generic[K, V]):
    """A family of cells, one per key; a key that was never set holds `default`.

    Reading an absent key is a read like any other: who looked for a rule that was not there must learn when it comes.
    Values are compared with `==` and never mutated.
    """

    __slots__ = ("default", "name")

    def __init__(self, name: str, *, default: V) -> None:
        self.name = name
        self.default = default

    def __call__(self, g: Graph, key: K, /) -> V:
        """The value of the cell; recorded as used by the query that reads it."""
        return g._read_cell(self, key, True)

    def __repr__(self) -> str:
        return f"Input({self.name!r})"

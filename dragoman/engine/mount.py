"""Trees and mounts: wide values as unions of small ones, and their observation by difference."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from enum import Enum
from typing import TYPE_CHECKING, Any, Final

from dragoman.engine.failure import last_good
from dragoman.engine.node import Links, Node, linked, unlinked
from dragoman.engine.query import Call

if TYPE_CHECKING:
    from dragoman.engine.graph import Graph


class Gone(Enum):
    """The type of `GONE`, an enum so that type checkers can narrow it away."""

    GONE = "gone"

    def __repr__(self) -> str:
        return self.name


GONE: Final = Gone.GONE
"""In `Mount.changes`: the leaf is no longer there."""


class Tree:
    """The value of a query that is the union of other calls, each a leaf or again a tree.

    Calls that are given twice count once. The query that returns a tree does not read its calls: it runs again only
    when the set of calls changes, so changing one leaf costs one leaf.
    """

    __slots__ = ("calls",)

    def __init__(self, calls: Iterable[Call[Any]]) -> None:
        self.calls: tuple[Call[Any], ...] = tuple(dict.fromkeys(calls))

    def __eq__(self, other: object) -> bool:
        return self.calls == other.calls if isinstance(other, Tree) else NotImplemented

    def __hash__(self) -> int:
        return hash(self.calls)

    def __repr__(self) -> str:
        return f"Tree({', '.join(map(str, self.calls))})"


def children(outcome: Any) -> tuple[Call[Any], ...]:
    """The calls of a tree; of a tree that fails, those that it had: one bad object must not take away its siblings."""
    value = last_good(outcome)
    return value.calls if isinstance(value, Tree) else ()


_STEP = 100
"""Nodes taken into a mount between two looks at the clock."""


class Spot:
    """A node's place in a mount: who put it there and what was published of it."""

    __slots__ = ("children", "node", "outcome", "parents")

    def __init__(self, node: Node) -> None:
        self.node = node
        self.outcome: Any = node.outcome
        self.children: tuple[Node, ...] = ()
        self.parents: Links[Spot | None] = ()  # None holds the root

    @property
    def leaf(self) -> Any:
        return GONE if isinstance(self.outcome, Tree) else self.outcome


class Mount:
    """A tree under observation. Its leaves are the calls whose value is no tree, and trees that fail.

    A failing tree shows its `Failure` as a leaf of its own, beside the leaves that it had. A leaf that is reached over
    several trees is there once, until the last of them is gone.
    """

    __slots__ = ("_before", "_first", "_graph", "_shown", "_spots", "alone", "call", "changes", "closed")

    def __init__(self, graph: Graph, call: Call[Any]) -> None:
        self._graph = graph
        self._shown = False  # whether a transaction has ended since it was opened
        self._spots: dict[Node, Spot] = {}
        self._before: dict[Node, Any] = {}  # of what was touched: the leaf as published, or GONE
        self._first: dict[Call[Any], Any] = {}  # the leaves it was opened with, until they are published
        self.alone = (self,)  # one for all nodes that nobody else watches
        self.call = call
        self.closed = False
        self.changes: Mapping[Call[Any], Any] = {}
        """What the last transaction changed: value, `Failure`, or `GONE`; at first all leaves."""

    def leaves(self) -> dict[Call[Any], Any]:
        """A copy of all leaves as of the last transaction, with their values or failures. Costs the whole width."""
        if not self._shown:
            return {}
        return {spot.node.call: spot.outcome for spot in self._spots.values() if spot.leaf is not GONE}

    def value(self) -> Any:
        """Of a call that yields no tree: its last good value as of the last transaction, `ABSENT` without any."""
        (outcome,) = self.leaves().values()
        return last_good(outcome)

    def close(self) -> None:
        """Stop observing; closing twice does nothing. What nobody else observes is forgotten some time later."""
        for node in self._spots:
            self._graph._unwatch(node, self)
        self._spots = {}
        self._first = {}
        self.changes = {}
        self.closed = True
        self._graph._mounts.discard(self)

    def _open(self) -> Iterator[None]:
        """Take in the whole tree, whose nodes are right; yields now and then."""
        if not self.closed:
            self._graph._mounts.add(self)
            yield from self._attach((None,), self._graph._node(self.call.query, self.call.args))
            yield from self._gather()

    def _gather(self) -> Iterator[None]:
        """Note all leaves as new, which of a wide tree is too much for the moment in which it is published."""
        spots, self._before = self._spots, {}
        for number, (node, spot) in enumerate(spots.items()):
            if number % _STEP == _STEP - 1:
                yield
                if self.closed:
                    return
            if (leaf := spot.leaf) is not GONE:
                self._first[node.call] = leaf

    def _update(self, node: Node) -> None:
        """Take over what a refreshed node says now."""
        spot = self._spots.get(node)
        if spot is None or node.outcome is spot.outcome:
            return
        self._before.setdefault(node, spot.leaf)
        spot.outcome = node.outcome
        old, spot.children = spot.children, self._children(node)
        if old != spot.children:
            kept, now = set(old), set(spot.children)
            for child in spot.children:
                if child not in kept:
                    for _ in self._attach((spot,), child):
                        pass
            for child in old:  # last, so that what only moved is not taken down in between
                if child not in now:
                    self._detach(spot, child)

    def _publish(self) -> None:
        changes, self._first = self._first, {}
        for node, before in self._before.items():
            spot = self._spots.get(node)
            now = GONE if spot is None else spot.leaf
            if not (now is before or now == before):
                changes[node.call] = now
        self._before = {}
        self._shown = True
        self.changes = changes

    def _attach(self, parent: tuple[Spot | None], node: Node) -> Iterator[None]:
        todo = [(parent, node)]
        while todo:
            if len(self._spots) % _STEP == _STEP - 1:
                yield
                if self.closed:
                    return
            parent, node = todo.pop()
            spot = self._spots.get(node)
            if spot is None:
                if node.dirty:
                    self._graph._refresh(node)
                spot = self._spots[node] = Spot(node)
                self._graph._watch(node, self)
                self._before.setdefault(node, GONE)
                spot.children = self._children(node)
                alone = (spot,)  # one for all that have no other parent
                todo.extend((alone, child) for child in spot.children)
            spot.parents = linked(spot.parents, parent[0]) if spot.parents else parent

    def _detach(self, parent: Spot, node: Node) -> None:
        todo = [(parent, node)]
        while todo:
            parent, node = todo.pop()
            spot = self._spots.get(node)
            if spot is None:
                continue
            spot.parents = unlinked(spot.parents, parent)
            if spot.parents and (not spot.children or self._is_rooted(spot)):
                continue
            del self._spots[node]
            self._graph._unwatch(node, self)
            self._before.setdefault(node, spot.leaf)
            todo.extend((spot, child) for child in spot.children)

    def _is_rooted(self, spot: Spot) -> bool:
        """Whether a tree that lost a parent is still held, and not only by trees that it holds itself."""
        todo, seen = [spot], {spot}
        while todo:
            for parent in todo.pop().parents:
                if parent is None:
                    return True
                if parent not in seen:
                    seen.add(parent)
                    todo.append(parent)
        return False

    def _children(self, node: Node) -> tuple[Node, ...]:
        return tuple(self._graph._node(call.query, call.args) for call in children(node.outcome))

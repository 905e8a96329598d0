"""The vertices of the graph: cells hold inputs, nodes memoise queries, a frame is a query being computed.

There are a hundred thousand of them in a large mesh, so they are slotted and their edges are tuples until they are
many: an empty set alone is bigger than a whole cell.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from dragoman.engine.failure import ABSENT, Failure
from dragoman.engine.query import Call

if TYPE_CHECKING:
    from dragoman.engine.inputs import Input
    from dragoman.engine.mount import Mount
    from dragoman.engine.query import Query

T = TypeVar("T")
Links = tuple[T, ...] | set[T]

_FEW = 24
"""Most vertices have fewer readers; a set of them would take ten times the room of a tuple."""


def linked(links: Links[T], item: T) -> Links[T]:
    """`links` with `item`, which is not among them."""
    if isinstance(links, set):
        links.add(item)
        return links
    return (*links, item) if len(links) < _FEW else {*links, item}


def unlinked(links: Links[T], item: T) -> Links[T]:
    """`links` without `item`."""
    if isinstance(links, set):
        links.discard(item)
        return links
    return tuple(link for link in links if link is not item)


class Cell:
    """One key of an input. It exists while it is present or read; absent and unread it is dropped."""

    __slots__ = ("changed", "input", "key", "readers", "value")
    dirty = False  # what is written is right

    def __init__(self, of: Input[Any, Any], key: Any) -> None:
        self.input = of
        self.key = key
        self.value: Any = of.default
        self.changed = 0  # revision of the last change
        self.readers: Links[Node] = ()


class Node:
    """One query with its arguments: the outcome and the reads that led to it."""

    __slots__ = (
        "args",
        "changed",
        "consulted",
        "deps",
        "dirty",
        "failure",
        "frame",
        "query",
        "readers",
        "value",
        "verified",
        "watchers",
    )

    def __init__(self, query: Query[..., Any], args: tuple[Any, ...]) -> None:
        self.query = query
        self.args = args
        self.value: Any = ABSENT  # the last good one
        self.failure: Failure | None = None
        self.changed = 0  # revision in which the outcome last changed
        self.verified = -1  # revision in which the outcome was last known to be right; -1: only computing can tell
        self.dirty = True  # a read may have changed; then every reader is dirty too
        self.deps: tuple[Cell | Node, ...] = ()  # in the order of the reads
        self.consulted: tuple[Cell | Node, ...] = ()  # those of deps that are no provenance
        self.readers: Links[Node] = ()
        self.watchers: Links[Mount] = ()
        self.frame: Frame | None = None  # set while it is computed, or waits for the rest of its cycle

    @property
    def call(self) -> Call[Any]:
        return Call(self.query, self.args)

    @property
    def outcome(self) -> Any:
        return self.value if self.failure is None else self.failure


class Frame:
    """A query being computed, on the stack of those that wait for it."""

    __slots__ = ("cycle", "depth", "head", "node", "parent", "previous", "reads")

    def __init__(self, node: Node, parent: Frame | None) -> None:
        self.node = node
        self.parent = parent
        self.depth: int = 0 if parent is None else parent.depth + 1
        self.reads: dict[Cell | Node, bool] = {}  # True: used, False: only consulted
        self.previous = node.failure
        self.head: Frame | None = None  # lowest frame on the stack that this one needs: Tarjan's lowlink
        self.cycle: tuple[tuple[Node, Failure | None], ...] = ()  # members of an open cycle, and what they were before

    def needs(self, head: Frame) -> None:
        if self.head is None or head.depth < self.head.depth:
            self.head = head

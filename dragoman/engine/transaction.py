"""Transactions: changes of inputs that become visible together."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from dragoman.engine.failure import TransactionError
from dragoman.engine.inputs import Input, K, V
from dragoman.engine.mount import Mount, children
from dragoman.engine.node import Node
from dragoman.engine.query import Call
from dragoman.engine.slices import Preempted, Slice

if TYPE_CHECKING:
    from dragoman.engine.graph import Graph


class Transaction:
    """Collects changes; `run` applies them all at once and brings what is observed up to date."""

    __slots__ = ("_cells", "_deadline", "_graph", "_mounts", "_started", "changed", "finished")

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._cells: dict[tuple[Input[Any, Any], Any], Any] = {}
        self._mounts: list[Mount] = []
        self._started = False
        self._deadline = 0.0  # of the slice that runs
        self.changed: tuple[Mount, ...] = ()
        """The mounts whose `changes` are not empty, known when `run` has ended."""
        self.finished = False
        """Whether `run` has ended."""

    def set(self, of: Input[K, V], key: K, value: V) -> None:
        """Change one cell; the last value for a key counts, the default removes the key, an equal value does nothing.

        Raises `TransactionError` after `run` has begun.
        """
        self._refuse_when_started()
        self._cells[of, key] = value

    def mount(self, call: Call[Any]) -> Mount:
        """Like `Graph.mount`, but computed in the slices of `run` and empty until its end."""
        self._refuse_when_started()
        mount = Mount(self._graph, call)
        self._mounts.append(mount)
        return mount

    def run(self, slice_seconds: float = 0.005) -> Iterator[None]:
        """Apply everything, then evaluate what is observed, yielding whenever a slice of time is used up.

        Between slices the graph may be read (reads see the new inputs) and mounts may be closed, but mounts show their
        old leaves: they all change together when the iterator is exhausted. An iterator closed early leaves the inputs
        applied and the rest of the work to the next transaction; mounts of its own are not opened then.

        Raises `TransactionError`, on the first step, if another transaction runs, if this one has run already, or from
        within a query.
        """
        graph = self._graph
        self._refuse_when_started()
        graph._refuse_to_change()
        self._started = True
        graph._running = self
        clock = graph._clock
        begin = clock()
        try:
            graph._write(self._cells)
            for mount in self._mounts:
                graph._dirty[graph._node(mount.call.query, mount.call.args)] = None
            self._deadline = begin + slice_seconds
            for _ in self._steps():
                if clock() >= self._deadline:
                    yield
                    self._deadline = clock() + slice_seconds
            self._take_over()
            self.finished = True
        finally:
            graph._running = None
            if not self.finished:
                for mount in self._mounts:
                    mount.close()
        graph._transactions += 1
        graph._last_transaction_seconds = clock() - begin

    def _steps(self) -> Iterator[None]:
        """All that can be done in slices."""
        yield from self._evaluate()
        for mount in self._mounts:
            yield from mount._open()

    def _evaluate(self) -> Iterator[None]:
        """Refresh the nodes that are watched, or will be once their trees are published; yield after each."""
        graph = self._graph
        todo = graph._dirty  # what is left when this stops early is there for the next transaction
        seen: set[Node] = set()
        while todo:
            node, _ = todo.popitem()
            if node.watchers:
                graph._refreshed[node] = None
            while not self._refreshed(node):
                todo[node] = None  # for the next transaction, should this one stop here
                yield
            todo.pop(node, None)
            yield
            if node in seen or (node.watchers and node.changed <= graph._published_revision):
                continue
            seen.add(node)
            for call in children(node.outcome):
                child = graph._node(call.query, call.args)
                if not child.watchers:  # else it is up to date, or on the list in its own right
                    todo[child] = None

    def _refreshed(self, node: Node) -> bool:
        """Make a node right, or as much of it as this slice has time for."""
        graph = self._graph
        graph._slice = Slice(graph._clock, self._deadline)
        try:
            if node.dirty:
                graph._refresh(node)
        except Preempted:
            pass
        finally:
            graph._slice = None
        return not node.dirty

    def _take_over(self) -> None:
        """Make it all visible, at once."""
        graph = self._graph
        for mount in graph._published:
            mount.changes = {}
        stale: dict[Mount, None] = {}
        for node in graph._refreshed:
            for mount in tuple(node.watchers):
                mount._update(node)
                stale[mount] = None
        graph._refreshed.clear()
        stale |= dict.fromkeys(self._mounts)
        for mount in stale:
            mount._publish()
        self.changed = tuple(mount for mount in stale if mount.changes)
        graph._published = list(self.changed)
        graph._published_revision = graph._revision

    def _refuse_when_started(self) -> None:
        if self._started:
            raise TransactionError("this transaction has run")

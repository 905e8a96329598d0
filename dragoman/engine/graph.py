"""The incremental graph.

Theory of operation
===================

*Vertices.* Cells hold inputs, nodes memoise the outcome of a query (a value or a `Failure`) with the cells and nodes
it read, in order. Edges exist both ways: `deps` to verify, `readers` to invalidate.

*Invalidation is pushed.* A transaction writes its cells under a new revision and marks everything that reads them,
directly or not, as dirty. Rule 1: if a node is dirty, so are all its readers; so marking stops where it meets dirt.

*Evaluation is pulled.* A dirty node is right if none of its deps changed since it was last verified. Deps are verified
in the order of the reads and the first that changed ends the search: later reads may have depended on it and may not
happen again, so they must not be run. A node that has to run again and yields an equal value has not changed (early
cutoff), and keeps the old object. Verifying keeps its own stack; only computing nests Python calls.

*Slices.* A transaction evaluates for some milliseconds at a time. What is computed when the time is up is abandoned,
with all that waits for it (`Preempted` unwinds the stack), and runs again in the next slice: what it had read by then
is memoised and costs next to nothing. Only nodes on the stack are concerned, and they stay dirty as before.

*Reading is always consistent*: a read refreshes what it needs, so it never shows a mixture of old and new. What mounts
show is the end of the last transaction, and changes at once when the running one ends.

*Failures* are outcomes like any other: memoised with the reads made until then, recomputed when one of those changes,
equal if they say the same.

*Cycles* are strongly connected components of the reads, found as Tarjan does, on the stack of frames. A read of a
node in progress yields a failure, ties all frames in between to that node, and they all fail together once the
lowest of them is done, whatever they made of the failure: else the outcome would depend on where evaluation entered the
cycle. Until then they stay dirty, and reading one of them ties the reader to the cycle too. Afterwards they cannot be
verified by their deps, which lead back to themselves, so once dirty they are recomputed (`verified` is -1).

*Forgetting.* What has no reader and no watcher is loose, as everything is when it comes into being. Loose for long
enough it goes, and with it all that only it had read; cells only if they are absent. Members of a cycle read each other
and are loose as a whole. Nothing goes while a query runs: the reads of the queries on the stack are not linked yet.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from dragoman.engine.evaluation import Evaluation
from dragoman.engine.failure import TransactionError
from dragoman.engine.inputs import Input
from dragoman.engine.mount import Mount
from dragoman.engine.node import Cell, Node, linked, unlinked
from dragoman.engine.provenance import provenance, watched_dependents
from dragoman.engine.query import Call
from dragoman.engine.transaction import Transaction


@dataclass(frozen=True, slots=True)
class Statistics:
    """The graph in numbers."""

    nodes: int
    """Memoised queries."""
    cells: int
    """Input cells that are present, or absent and read."""
    edges: int
    """Recorded reads."""
    mounts: int
    computed: int
    """Query runs since the start."""
    transactions: int
    """Finished transactions since the start."""
    last_transaction_seconds: float
    """How long the last one took, the time between its slices included."""


class Graph(Evaluation):
    """Inputs, memoised queries and mounts. Not thread-safe: it belongs to one event loop.

    `clock` measures slices and durations in seconds; queries never see it.
    """

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._clock = clock
        self._running: Transaction | None = None
        self._mounts: set[Mount] = set()
        self._published_revision = 1
        self._refreshed: dict[Node, None] = {}  # watched, refreshed and to be published
        self._published: list[Mount] = []  # mounts whose changes are not empty
        self._transactions = 0
        self._last_transaction_seconds = 0.0

    # changing and observing -------------------------------------------------------------------------------------------

    def transaction(self) -> Transaction:
        """A set of changes to apply at once. Any number may be prepared; one runs at a time."""
        return Transaction(self)

    def update(self, cells: Mapping[tuple[Input[Any, Any], Any], Any]) -> None:
        """Set cells `{(input, key): value}` in one transaction, run to its end."""
        self.apply((of, key, value) for (of, key), value in cells.items())

    def apply(self, cells: Iterable[tuple[Input[Any, Any], Any, Any]]) -> None:
        """Set cells `(input, key, value)` in one transaction, run to its end."""
        transaction = self.transaction()
        for of, key, value in cells:
            transaction.set(of, key, value)
        for _ in transaction.run():
            pass

    def mount(self, call: Call[Any]) -> Mount:
        """Observe the tree of `call`, computed here and now; `Transaction.mount` does the same in slices.

        Raises `TransactionError` while a transaction runs: the mount would show what is not published yet.
        """
        self._refuse_to_change()
        mount = Mount(self, call)
        for _ in mount._open():
            pass
        mount._publish()
        self._published.append(mount)
        return mount

    def provenance(self, call: Call[Any]) -> frozenset[tuple[Input[Any, Any], Any]]:
        """The `(input, key)` of all present cells that the outcome of `call` was made from.

        Reads of reads count; consulted ones do not, nor do the calls of a tree. The call is computed if need be.
        """
        return provenance(self._read(call.query, call.args, True))

    def dependents(self, of: Input[Any, Any], key: Any) -> Iterator[tuple[Mount, Call[Any]] | None]:
        """The calls in mounts whose outcome was made from a cell: `provenance` the other way round.

        It costs what depends on the cell. Yields None now and then, for slices; between them the graph may be read.
        """
        cell = self._cells[of].get(key)
        for node in watched_dependents(cell) if cell is not None else ():
            if node is None:
                yield None
            else:
                for mount in tuple(node.watchers):
                    yield mount, node.call

    def reads(self, call: Call[Any]) -> tuple[Call[Any], ...]:
        """The calls that the outcome of `call` was made from directly, in the order of the reads; not consulted ones.

        The call is computed if need be.
        """
        node = self._read(call.query, call.args, True)
        return tuple(dep.call for dep in node.deps if isinstance(dep, Node) and dep not in node.consulted)

    def statistics(self) -> Statistics:
        return Statistics(
            nodes=sum(map(len, self._nodes.values())),
            cells=sum(map(len, self._cells.values())),
            edges=self._edges,
            mounts=len(self._mounts),
            computed=self._computed,
            transactions=self._transactions,
            last_transaction_seconds=self._last_transaction_seconds,
        )

    def forget_unobserved(self, now: float, after_seconds: float = 60.0, at_most: int | None = None) -> int:
        """Drop nodes that no mount has needed for `after_seconds`, and return how many went.

        To be called now and then with the time in seconds on any steady clock: a node's time starts at the first call
        that finds it unobserved. Does nothing while a transaction runs. Costs what is unobserved, not what is there.
        Once about `at_most` nodes went it stops; the next call goes on with the rest, which may be needed by then.
        """
        if self._running is not None or self._frame is not None:
            return 0
        for node in self._cyclic:
            if self._cycle_is_loose(node):
                self._loose.setdefault(node, None)
            else:
                self._loose.pop(node, None)
        old = []
        for vertex, since in self._loose.items():
            if since is None:
                since = self._loose[vertex] = now
            if now - since >= after_seconds:
                old.append(vertex)
                if len(old) == at_most:
                    break
        return self._drop(old, now - after_seconds, at_most)

    def _refuse_to_change(self) -> None:
        if self._frame is not None:
            raise TransactionError(f"{self._frame.node.call} is being computed: queries are pure")
        if self._running is not None:
            raise TransactionError("a transaction is running")

    # watching and forgetting ------------------------------------------------------------------------------------------

    def _watch(self, node: Node, mount: Mount) -> None:
        node.watchers = linked(node.watchers, mount) if node.watchers else mount.alone
        self._loose.pop(node, None)

    def _unwatch(self, node: Node, mount: Mount) -> None:
        node.watchers = unlinked(node.watchers, mount)
        self._loosen(node)

    def _cycle_is_loose(self, node: Node) -> bool:
        """Whether a node is part of a cycle that only its own members read."""
        todo, seen = [node], {node}
        while todo:
            node = todo.pop()
            if node.watchers or node not in self._cyclic:
                return False
            for reader in node.readers:
                if reader not in seen:
                    seen.add(reader)
                    todo.append(reader)
        return True

    def _drop(self, vertices: list[Cell | Node], since: float, at_most: int | None) -> int:
        """Drop what is loose and what only it had read; members of a loose cycle take their readers with them.

        After `at_most` nodes the rest stays, loose since `since`, but for members of cycles that were begun.
        """
        dropped = 0
        while vertices:
            vertex = vertices.pop()
            if at_most is not None and dropped >= at_most and not vertex.readers:
                if vertex in self._loose:
                    self._loose[vertex] = since
                continue
            self._loose.pop(vertex, None)
            if isinstance(vertex, Cell):
                self._cells[vertex.input].pop(vertex.key, None)
            elif self._nodes[vertex.query].pop(vertex.args, None) is not None:
                dropped += 1
                self._cyclic.discard(vertex)
                vertices.extend(vertex.readers)
                self._edges -= len(vertex.deps)
                for dep in vertex.deps:
                    dep.readers = unlinked(dep.readers, vertex)
                    self._loosen(dep)
                    if (dep in self._loose and not dep.readers) or (
                        isinstance(dep, Node) and self._cycle_is_loose(dep)
                    ):
                        vertices.append(dep)
        return dropped

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
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from dragoman.engine.failure import ABSENT, CycleError, Failure, NestingError, TransactionError, failure_of
from dragoman.engine.inputs import Input, K, V
from dragoman.engine.mount import Mount
from dragoman.engine.node import Cell, Frame, Node, linked, unlinked
from dragoman.engine.provenance import provenance
from dragoman.engine.query import Call, Query
from dragoman.engine.transaction import Transaction

MAX_NESTING = 100
"""Queries that may wait for each other. A mesh nests about 50; a level takes five of Python's 1000 frames."""


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


class Graph:
    """Inputs, memoised queries and mounts. Not thread-safe: it belongs to one event loop.

    `clock` measures slices and durations in seconds; queries never see it.
    """

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._revision = 1
        self._each_transaction = Cell(Input("each transaction", default=None), None)
        self._cells: defaultdict[Input[Any, Any], dict[Any, Cell]] = defaultdict(dict)
        self._nodes: defaultdict[Query[..., Any], dict[tuple[Any, ...], Node]] = defaultdict(dict)
        self._frame: Frame | None = None
        self._loose: dict[Cell | Node, float | None] = {}  # since when, by the clock of forget_unobserved
        self._cyclic: set[Node] = set()
        self._running: Transaction | None = None
        self._mounts: set[Mount] = set()
        self._published_revision = 1
        self._dirty: dict[Node, None] = {}  # watched and to be refreshed
        self._refreshed: dict[Node, None] = {}  # watched, refreshed and to be published
        self._published: list[Mount] = []  # mounts whose changes are not empty
        self._edges = 0
        self._computed = 0
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
        mount._open()
        mount._publish()
        self._published.append(mount)
        return mount

    def provenance(self, call: Call[Any]) -> frozenset[tuple[Input[Any, Any], Any]]:
        """The `(input, key)` of all present cells that the outcome of `call` was made from.

        Reads of reads count; consulted ones do not, nor do the calls of a tree. The call is computed if need be.
        """
        return provenance(self._read(call.query, call.args, True))

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

    def forget_unobserved(self, now: float, after_seconds: float = 60.0) -> int:
        """Drop nodes that no mount has needed for `after_seconds`, and return how many went.

        To be called now and then with the time in seconds on any steady clock: a node's time starts at the first call
        that finds it unobserved. Does nothing while a transaction runs. Costs what is unobserved, not what is there.
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
        return self._drop(old)

    # reading ----------------------------------------------------------------------------------------------------------

    def _read(self, query: Query[..., Any], args: tuple[Any, ...], used: bool) -> Node:
        """The node, refreshed and recorded as read by the query that runs now."""
        node = self._node(query, args)
        frame = self._frame
        if frame is None:
            if node in self._loose:
                self._loose[node] = None  # its time starts again
        elif used:
            frame.reads[node] = True
        else:
            frame.reads.setdefault(node, False)
        if node.dirty:
            self._refresh(node)
        return node

    def _read_cell(self, of: Input[K, V], key: K, used: bool) -> V:
        cell = self._cells[of].get(key)
        frame = self._frame
        if cell is None:
            if frame is None:
                return of.default
            cell = self._cells[of][key] = Cell(of, key)
            self._loose[cell] = None
        if frame is not None:
            if used:
                frame.reads[cell] = True
            else:
                frame.reads.setdefault(cell, False)
        value: V = cell.value
        return value

    def _node(self, query: Query[..., Any], args: tuple[Any, ...]) -> Node:
        nodes = self._nodes[query]
        node = nodes.get(args)
        if node is None:
            node = nodes[args] = Node(query, args)
            self._loose[node] = None
        return node

    # evaluating -------------------------------------------------------------------------------------------------------

    def _refresh(self, node: Node) -> None:
        """Make a dirty node right: verify it by its deps, or compute it."""
        if node.frame is not None:
            self._read_in_progress(node)
            return
        path, positions = [node], [0]
        while path:
            node = path[-1]
            if not node.dirty or node.frame is not None:  # computed meanwhile, or found to be part of a cycle
                path.pop()
                positions.pop()
                continue
            if node.verified >= 0:
                deps = node.deps
                dep: Cell | Node
                for position in range(positions[-1], len(deps)):
                    dep = deps[position]
                    if dep.dirty or dep.changed > node.verified:
                        break
                else:
                    node.verified = self._revision
                    node.dirty = False
                    continue
                if dep.dirty and isinstance(dep, Node) and dep.frame is None:
                    positions[-1] = position
                    path.append(dep)
                    positions.append(0)
                    continue
            # a dep changed, or is in progress: then only running again shows the cycle
            path.pop()
            positions.pop()
            self._compute(node)

    def _compute(self, node: Node) -> None:
        """Run the query of a node and take its outcome."""
        parent = self._frame
        frame = Frame(node, parent)
        node.frame = frame
        self._frame = frame
        self._computed += 1
        value: Any = None
        equal = ended = False
        error: Exception | None = None
        try:
            try:
                if frame.depth >= MAX_NESTING:
                    raise NestingError(f"queries nest deeper than {MAX_NESTING}")
                value = node.query.__wrapped__(self, *node.args)
                equal = value is node.value or (node.value is not ABSENT and bool(value == node.value))
            except (NestingError, RecursionError) as raised:
                frame.reads.setdefault(self._each_transaction, False)  # it depends on who called: try again then
                error = raised
            except Exception as raised:
                error = raised
            self._frame = parent
            self._link(frame)
            if frame.head is None:
                failure = None if error is None else failure_of(error, node.call, node.value)
                if self._cyclic:
                    self._leave_cycle(node)
                self._settle(node, frame.previous, failure, value, equal)
            elif frame.head is frame:
                self._settle_cycle([*frame.cycle, (node, frame.previous)])
            elif parent is not None:  # always: the head is below
                node.frame = frame.head
                node.failure = self._failure_in_cycle(node)
                parent.needs(frame.head)
                parent.cycle += frame.cycle
                parent.cycle.append((node, frame.previous))
            ended = True
        finally:
            if not ended:  # an interrupt is nobody's outcome: all stay dirty. No calls here, the stack may be full.
                self._frame = parent
                for member, previous in (*frame.cycle, (node, frame.previous)):
                    member.failure = previous
                    member.frame = None
                    member.verified = -1

    def _settle(self, node: Node, previous: Failure | None, failure: Failure | None, value: Any, equal: bool) -> None:
        """Take the outcome of a run; `previous` is the failure of the last one."""
        if failure is not None and failure == previous:
            failure = previous
        elif failure is not None or previous is not None or not equal:
            node.changed = self._revision
        node.failure = failure
        if failure is None and not equal:
            node.value = value
        node.verified = self._revision
        node.dirty = False
        node.frame = None

    def _settle_cycle(self, members: list[tuple[Node, Failure | None]]) -> None:
        calls = frozenset(member.call for member, _ in members)
        for member, previous in members:
            failure = Failure(CycleError(calls), member.call, member.value, calls)
            self._settle(member, previous, failure, None, False)
            member.verified = -1
            self._cyclic.add(member)

    def _read_in_progress(self, node: Node) -> None:
        """The running query reads a node that waits for it: all from there on are one cycle."""
        head = node.frame
        if head is None or self._frame is None:
            return
        while (lower := head.node.frame) not in (head, None):  # that frame is done and waits for a lower one
            head = lower
        self._frame.needs(head)
        node.failure = self._failure_in_cycle(node)

    def _failure_in_cycle(self, node: Node) -> Failure:
        """What other members see of a member; all of them are known once the lowest is done."""
        calls = frozenset((node.call,))
        return Failure(CycleError(calls), node.call, node.value, calls)

    def _leave_cycle(self, node: Node) -> None:
        if node in self._cyclic:
            self._cyclic.discard(node)
            self._loose.pop(node, None)
            self._loosen(node)

    def _link(self, frame: Frame) -> None:
        """Make the edges of a node those of its last run."""
        node, reads = frame.node, frame.reads
        deps, old = tuple(reads), node.deps
        node.consulted = tuple(dep for dep, used in reads.items() if not used) if False in reads.values() else ()
        if deps == old:
            return
        kept = set(old)
        for dep in deps:
            if dep not in kept:
                if not dep.readers:
                    self._loose.pop(dep, None)
                dep.readers = linked(dep.readers, node)
        node.deps = deps
        self._edges += len(deps) - len(old)
        for dep in old:
            if dep not in reads:
                dep.readers = unlinked(dep.readers, node)
                self._loosen(dep)

    # invalidating -----------------------------------------------------------------------------------------------------

    def _write(self, cells: Mapping[tuple[Input[Any, Any], Any], Any]) -> None:
        """Write cells under a new revision and mark all that depends on them."""
        changed = []
        for (of, key), value in cells.items():
            cell = self._cells[of].get(key)
            old = of.default if cell is None else cell.value
            if not (value is old or value == old):
                changed.append((of, key, of.default if value == of.default else value))
        self._revision += 1
        dirty = list(self._each_transaction.readers)
        self._each_transaction.changed = self._revision
        for of, key, value in changed:
            cell = self._cells[of].get(key)
            if cell is None:
                cell = self._cells[of][key] = Cell(of, key)
            cell.value = value
            cell.changed = self._revision
            dirty.extend(cell.readers)
            if value is of.default:
                self._loosen(cell)
            else:
                self._loose.pop(cell, None)
        while dirty:
            node = dirty.pop()
            if not node.dirty:
                node.dirty = True
                if node.watchers:
                    self._dirty[node] = None
                dirty.extend(node.readers)

    def _refuse_to_change(self) -> None:
        if self._frame is not None:
            raise TransactionError(f"{self._frame.node.call} is being computed: queries are pure")
        if self._running is not None:
            raise TransactionError("a transaction is running")

    # watching and forgetting ------------------------------------------------------------------------------------------

    def _watch(self, node: Node, mount: Mount) -> None:
        node.watchers = linked(node.watchers, mount)
        self._loose.pop(node, None)

    def _unwatch(self, node: Node, mount: Mount) -> None:
        node.watchers = unlinked(node.watchers, mount)
        self._loosen(node)

    def _loosen(self, vertex: Cell | Node) -> None:
        """Note that a vertex lost a reader, a watcher or its value: perhaps nobody needs it any longer."""
        if isinstance(vertex, Node):
            needed = bool(vertex.readers or vertex.watchers)
        else:
            needed = bool(vertex.readers) or vertex.value is not vertex.input.default
        if not needed:
            self._loose.setdefault(vertex, None)

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

    def _drop(self, vertices: list[Cell | Node]) -> int:
        """Drop what is loose and what only it had read; members of a loose cycle take their readers with them."""
        dropped = 0
        while vertices:
            vertex = vertices.pop()
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

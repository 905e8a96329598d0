"""Evaluation: memoised outcomes, the reads that led to them, and which of them a change makes doubtful.

The theory of operation is at the head of `graph.py`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from typing import Any

from dragoman.engine.failure import ABSENT, CycleError, Failure, NestingError, failure_of
from dragoman.engine.inputs import Input, K, V
from dragoman.engine.node import Cell, Frame, Node, linked, unlinked
from dragoman.engine.query import Query
from dragoman.engine.slices import Slice

MAX_NESTING = 100
"""Queries that may wait for each other. A mesh nests about 50; a level takes five of Python's 1000 frames."""


class Evaluation:
    """The part of the graph that reads and computes; `Graph` adds what changes, observes and forgets."""

    def __init__(self) -> None:
        self._revision = 1
        self._each_transaction = Cell(Input("each transaction", default=None), None)
        self._cells: defaultdict[Input[Any, Any], dict[Any, Cell]] = defaultdict(dict)
        self._nodes: defaultdict[Query[..., Any], dict[tuple[Any, ...], Node]] = defaultdict(dict)
        self._frame: Frame | None = None
        self._loose: dict[Cell | Node, float | None] = {}  # since when, by the clock of forget_unobserved
        self._cyclic: set[Node] = set()
        self._dirty: dict[Node, None] = {}  # watched and to be refreshed
        self._edges = 0
        self._computed = 0
        self._slice: Slice | None = None  # set while a transaction evaluates

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
                self._settle_cycle((*frame.cycle, (node, frame.previous)))
            elif parent is not None:  # always: the head is below
                node.frame = frame.head
                node.failure = self._failure_in_cycle(node)
                parent.needs(frame.head)
                parent.cycle += (*frame.cycle, (node, frame.previous))
            ended = True
            if self._slice is not None and frame.head is None:
                self._slice.check()
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

    def _settle_cycle(self, members: tuple[tuple[Node, Failure | None], ...]) -> None:
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
        kept = frozenset(old)
        alone = (node,)  # one for all that only this node reads
        for dep in deps:
            if dep in kept:
                continue
            if dep.readers:
                dep.readers = linked(dep.readers, node)
            else:
                dep.readers = alone
                self._loose.pop(dep, None)
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

    def _loosen(self, vertex: Cell | Node) -> None:
        """Note that a vertex lost a reader, a watcher or its value: perhaps nobody needs it any longer."""
        if isinstance(vertex, Node):
            needed = bool(vertex.readers or vertex.watchers)
        else:
            needed = bool(vertex.readers) or vertex.value is not vertex.input.default
        if not needed:
            self._loose.setdefault(vertex, None)

"""After any sequence of changes the graph says what a fresh one would say, and mounts report exactly the difference.

The queries are programs that are themselves inputs, so that hypothesis finds every shape of reads: shared, conditional,
absent, consulted, failing, cyclic.
"""

from __future__ import annotations

from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from dragoman.engine import ABSENT, GONE, Call, Failure, Graph, Input, Mount, Transaction, Tree, attempt, consult, query
from dragoman.engine.node import Cell, Node

Program = tuple[tuple[str, int], ...]

VALUES = Input[int, int]("values", default=0)
PROGRAMS = Input[int, Program]("programs", default=())
TREES = Input[int, Program]("trees", default=())
SIZE = 6


class Interrupted(BaseException):
    pass


interrupting = False


def cell_value(g: Graph, key: int) -> int:
    value = VALUES(g, key)
    if value == 3:
        raise ValueError(key)
    if value == 4 and interrupting:
        raise Interrupted
    return value


@query
def number(g: Graph, n: int) -> int:
    total = 0
    for operation, arg in PROGRAMS(g, n):
        match operation:
            case "cell":
                total += cell_value(g, arg)
            case "call":
                total += number(g, arg)
            case "attempt":
                got = attempt(g, number, arg)
                total += 1 if isinstance(got, Failure) else got
            case "consult":
                total += consult(g, number, arg)
            case "consult cell":
                total += consult(g, VALUES, arg)
            case "stop unless":
                if not cell_value(g, arg):
                    break
    return total % 4


@query
def tree(g: Graph, n: int) -> Tree:
    calls: list[Call[Any]] = []
    for operation, arg in TREES(g, n):
        match operation:
            case "tree":
                calls.append(tree.call(arg))
            case "number":
                calls.append(number.call(arg))
            case "leaf":
                calls.append(changing.call(arg))
            case "stop unless":
                if not number(g, arg):
                    break
    return Tree(calls)


@query
def changing(g: Graph, n: int) -> int | Tree:
    """Now a leaf, now a tree."""
    value = number(g, n)
    return value if value < 2 else Tree((number.call(value), tree.call(n)))


keys = st.integers(0, SIZE - 1)
reads = st.sampled_from(["cell", "call", "attempt", "consult", "consult cell", "stop unless"])
branches = st.sampled_from(["tree", "number", "leaf", "stop unless"])
changes = st.lists(
    st.one_of(
        st.tuples(st.just(VALUES), keys, st.integers(0, 4)),
        st.tuples(st.just(PROGRAMS), keys, st.lists(st.tuples(reads, keys), max_size=4).map(tuple)),
        st.tuples(st.just(TREES), keys, st.lists(st.tuples(branches, keys), max_size=4).map(tuple)),
    ),
    max_size=4,
)
roots = st.builds(lambda q, n: q.call(n), st.sampled_from([number, tree, changing]), keys)


def say(outcome: Any) -> Any:
    """An outcome without what depends on the past."""
    if isinstance(outcome, Failure):
        return (type(outcome.error), outcome.error.args, outcome.call, outcome.origins)
    return outcome


class Incremental(RuleBasedStateMachine):
    @initialize()
    def begin(self) -> None:
        global interrupting
        interrupting = False
        self.time = 0.0
        self.ticks = 0.0
        self.g = Graph(clock=self.clock)
        self.inputs: dict[tuple[Input[Any, Any], int], Any] = {}
        self.replicas: dict[Mount, dict[Call[Any], Any]] = {}

    def clock(self) -> float:
        self.ticks += 1.0
        return self.ticks

    def start(self, cells: list[Any]) -> Transaction:
        transaction = self.g.transaction()
        for of, key, value in cells:
            transaction.set(of, key, value)
            self.inputs[of, key] = value
        return transaction

    def finish(self) -> None:
        for mount, replica in self.replicas.items():
            leaves = mount.leaves()
            expected = {call: now for call, now in leaves.items() if call not in replica or replica[call] != now}
            expected |= dict.fromkeys(replica.keys() - leaves.keys(), GONE)
            assert mount.changes == expected
            replica.clear()
            replica.update(leaves)

    @rule(cells=changes)
    def change(self, cells: list[Any]) -> None:
        transaction = self.start(cells)
        for _ in transaction.run():
            pass
        self.finish()
        assert set(transaction.changed) == {mount for mount in self.replicas if mount.changes}

    @rule(cells=changes, call=roots, opened=roots, closing=st.booleans())
    def change_in_slices(self, cells: list[Any], call: Call[Any], opened: Call[Any], closing: bool) -> None:
        """Between slices anybody may read the new state, mounts may go, and those that stay show the old state."""
        transaction = self.start(cells)
        mount = transaction.mount(opened)
        for _ in transaction.run(slice_seconds=0.0):
            self.check_reading(call)
            for other, replica in self.replicas.items():
                assert other.leaves() == replica
            if closing and self.replicas:
                self.close(0)
                closing = False
        self.replicas[mount] = {}
        self.finish()

    @rule(cells=changes, opened=roots, slices=st.integers(0, 3))
    def abandon(self, cells: list[Any], opened: Call[Any], slices: int) -> None:
        transaction = self.start(cells)
        mount = transaction.mount(opened)
        run = transaction.run(slice_seconds=0.0)
        for _ in range(slices + 1):
            if next(run, "ended") == "ended":
                self.replicas[mount] = {}
                self.finish()
                return
        run.close()  # type: ignore[attr-defined]
        for other, replica in self.replicas.items():
            assert other.leaves() == replica
        assert mount.leaves() == {}
        self.change([])  # does the rest of the work

    @rule(call=roots)
    def open(self, call: Call[Any]) -> None:
        mount = self.g.mount(call)
        assert mount.changes == mount.leaves()
        self.replicas[mount] = mount.leaves()

    @precondition(lambda self: self.replicas)
    @rule(index=st.integers(0, 5))
    def close(self, index: int) -> None:
        mount = list(self.replicas)[index % len(self.replicas)]
        mount.close()
        mount.close()
        del self.replicas[mount]
        assert mount.leaves() == {}

    @rule(call=roots)
    def read(self, call: Call[Any]) -> None:
        self.check_reading(call)

    @rule(call=roots)
    def interrupt(self, call: Call[Any]) -> None:
        global interrupting
        interrupting = True
        try:
            attempt(self.g, call.query, *call.args)
        except Interrupted:
            pass
        finally:
            interrupting = False

    @rule(seconds=st.integers(0, 90))
    def forget(self, seconds: int) -> None:
        self.time += seconds
        self.g.forget_unobserved(self.time)

    def fresh(self) -> Graph:
        fresh = Graph()
        fresh.update(self.inputs)
        return fresh

    def check_reading(self, call: Call[Any]) -> None:
        fresh = self.fresh()
        assert say(attempt(self.g, call.query, *call.args)) == say(attempt(fresh, call.query, *call.args))
        assert self.g.provenance(call) == fresh.provenance(call)

    @invariant()
    def leaves_are_as_from_scratch(self) -> None:
        fresh = self.fresh()
        for mount in self.replicas:
            assert {call: say(value) for call, value in mount.leaves().items()} == self.expected(fresh, mount)

    def expected(self, fresh: Graph, mount: Mount) -> dict[Call[Any], Any]:
        leaves = {}
        todo, seen = [mount.call], {mount.call}
        while todo:
            call = todo.pop()
            outcome = attempt(fresh, call.query, *call.args)
            if not isinstance(outcome, Tree):
                leaves[call] = say(outcome)
            if isinstance(outcome, Failure):  # the past decides what a failing tree still shows
                outcome = mount.leaves()[call].last_good
            for child in outcome.calls if isinstance(outcome, Tree) else ():
                if child not in seen:
                    seen.add(child)
                    todo.append(child)
        return leaves

    @invariant()
    def dependents_are_provenance_the_other_way_round(self) -> None:
        made_from = {(mount, call): self.g.provenance(call) for mount in self.replicas for call in mount.leaves()}
        for cell in (cell for cell in self.inputs if cell[0](self.g, cell[1]) != cell[0].default):
            dependents = {found for found in self.g.dependents(*cell) if found is not None}
            assert dependents & made_from.keys() == {leaf for leaf, cells in made_from.items() if cell in cells}

    @invariant()
    def edges_agree(self) -> None:
        g = self.g
        nodes: list[Node] = [node for of_query in g._nodes.values() for node in of_query.values()]
        cells = [cell for of_input in g._cells.values() for cell in of_input.values()] + [g._each_transaction]
        vertices: list[Cell | Node] = [*nodes, *cells]
        forward = {(dep, node) for node in nodes for dep in node.deps}
        backward = {(vertex, node) for vertex in vertices for node in vertex.readers}
        assert forward == backward
        assert g.statistics().edges == len(forward)
        for node in nodes:
            assert node.frame is None
            assert not node.dirty or all(reader.dirty for reader in node.readers)
            assert node.dirty or not node.watchers or node.value is not ABSENT or node.failure is not None
            assert set(node.watchers) == {mount for mount in self.replicas if node in mount._spots}
        assert len(nodes) == g.statistics().nodes
        for vertex in vertices[:-1]:
            needed = bool(vertex.readers) or bool(isinstance(vertex, Node) and vertex.watchers)
            present = isinstance(vertex, Cell) and vertex.value is not vertex.input.default
            assert needed or present or vertex in g._loose

    def teardown(self) -> None:
        if not hasattr(self, "g"):
            return
        while self.replicas:
            self.close(0)
        self.g.forget_unobserved(self.time, after_seconds=0.0)
        numbers = self.g.statistics()
        assert (numbers.nodes, numbers.edges, numbers.mounts) == (0, 0, 0)
        assert numbers.cells == sum(value != of.default for (of, _), value in self.inputs.items())


Incremental.TestCase.settings = settings(
    max_examples=100, stateful_step_count=30, deadline=None, report_multiple_bugs=False
)
TestIncremental = Incremental.TestCase

"""Transactions: all at once, one at a time, in slices, published at the end."""

from __future__ import annotations

from collections.abc import Generator

import pytest

from dragoman.engine import GONE, Graph, Input, QueryFailed, TransactionError, Tree, query

SIZES = Input[int, int]("sizes", default=0)
WIDTH = Input[str, int]("width", default=0)


@query
def leaf(g: Graph, n: int) -> int:
    return SIZES(g, n) + SIZES(g, -1)


@query
def fan(g: Graph, name: str) -> Tree:
    return Tree(leaf.call(n) for n in range(WIDTH(g, name)))


class Clock:
    """Advances by a millisecond whenever it is read."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        self.now += 0.001
        return self.now


def test_all_changes_become_visible_together() -> None:
    g = Graph()
    g.update({(SIZES, -1): 1, (SIZES, 0): 10})
    transaction = g.transaction()
    transaction.set(SIZES, -1, 2)
    transaction.set(SIZES, 0, 20)
    assert leaf(g, 0) == 11
    assert list(transaction.run()) == []
    assert leaf(g, 0) == 22


def test_the_last_value_for_a_key_counts() -> None:
    g = Graph()
    g.apply([(SIZES, 0, 1), (SIZES, 0, 2)])
    assert SIZES(g, 0) == 2


def test_the_default_removes_a_key() -> None:
    g = Graph()
    g.update({(SIZES, 0): 1})
    assert g.statistics().cells == 1
    g.update({(SIZES, 0): 0})
    g.forget_unobserved(0.0, 0.0)
    assert g.statistics().cells == 0


def test_work_is_cut_into_slices_and_published_at_the_end() -> None:
    g = Graph(clock=Clock())
    g.update({(WIDTH, "a"): 100})
    mount = g.mount(fan.call("a"))
    old = mount.leaves()
    transaction = g.transaction()
    transaction.set(SIZES, -1, 7)
    slices = 0
    for _ in transaction.run(slice_seconds=0.005):
        slices += 1
        assert mount.leaves() == old
        assert leaf(g, 3) == 7  # who reads the graph itself sees the new state
    assert 40 <= slices <= 70  # a hundred leaves, some readings of the clock each
    assert transaction.changed == (mount,)
    assert mount.changes == dict.fromkeys(old, 7)
    assert g.statistics().last_transaction_seconds == pytest.approx(0.35, abs=0.1)


def test_new_leaves_of_a_tree_are_computed_in_slices_too() -> None:
    g = Graph(clock=Clock())
    mount = g.mount(fan.call("a"))
    transaction = g.transaction()
    transaction.set(WIDTH, "a", 100)
    assert len(list(transaction.run(slice_seconds=0.005))) >= 15
    assert len(mount.changes) == 100


def test_a_mount_can_be_opened_in_slices() -> None:
    g = Graph(clock=Clock())
    g.update({(WIDTH, "a"): 100})
    transaction = g.transaction()
    mount = transaction.mount(fan.call("a"))
    slices = 0
    for _ in transaction.run(slice_seconds=0.005):
        slices += 1
        assert mount.leaves() == mount.changes == {}
    assert slices >= 15
    assert mount.changes == mount.leaves()
    assert len(mount.leaves()) == 100
    g.update({(SIZES, 4): 1})
    assert mount.changes == {leaf.call(4): 1}


def test_a_mount_closed_while_its_transaction_runs_stays_closed() -> None:
    g = Graph(clock=Clock())
    g.update({(WIDTH, "a"): 100})
    transaction = g.transaction()
    mount = transaction.mount(fan.call("a"))
    for _ in transaction.run(slice_seconds=0.005):
        mount.close()
    assert mount.leaves() == {}
    assert g.statistics().mounts == 0
    g.forget_unobserved(0.0, 0.0)
    assert g.statistics().nodes == 0


def test_a_mount_closed_at_any_moment_has_changed_nothing() -> None:
    g = Graph(clock=Clock())
    g.update({(WIDTH, "a"): 350})
    g.mount(fan.call("a"))  # keeps it evaluated: what is left to do is to open another
    moment, steps = -1, 1
    while moment < steps:
        moment += 1
        transaction = g.transaction()
        mount = transaction.mount(fan.call("a"))
        steps = 0
        for _ in transaction.run(slice_seconds=0.0):
            if steps == moment:
                mount.close()
            steps += 1
        assert transaction.changed == (() if moment < steps else (mount,))
        assert len(mount.changes) == (0 if moment < steps else 350)
        mount.close()
        assert g.statistics().mounts == 1
    assert steps >= 2 * 3, "to take in 350 leaves and to note them as new take three pauses each"


def test_a_transaction_that_stops_early_leaves_no_half_open_mount() -> None:
    g = Graph(clock=Clock())
    g.update({(WIDTH, "a"): 1000})
    for steps in (1, 10, 1000):
        transaction = g.transaction()
        mount = transaction.mount(fan.call("a"))
        running = transaction.run(slice_seconds=0.0)
        for _ in range(steps):
            next(running)
            assert mount.leaves() == {}
        assert isinstance(running, Generator)
        running.close()
        assert g.statistics().mounts == 0
    g.forget_unobserved(0.0, 0.0)
    assert g.statistics().nodes == 0


@query
def total(g: Graph, name: str) -> int:
    return sum(leaf(g, n) for n in range(WIDTH(g, name)))


@query
def doubled(g: Graph, name: str) -> int:
    return 2 * total(g, name)


def test_a_wide_query_gives_up_its_turn_and_keeps_what_it_has_read() -> None:
    g = Graph(clock=Clock())
    g.update({(WIDTH, "a"): 1000, (SIZES, 7): 7})
    transaction = g.transaction()
    mount = transaction.mount(doubled.call("a"))
    slices, longest, before = 0, 0, 0
    for _ in transaction.run(slice_seconds=0.010):
        slices += 1
        longest, before = max(longest, g.statistics().computed - before), g.statistics().computed
    assert longest <= 25
    assert slices >= 50
    assert g.statistics().computed <= 1000 + 2 * slices + 2, "reads are kept, only what waits for them runs again"
    assert mount.leaves() == {doubled.call("a"): 14}
    g.update({(SIZES, 7): 8})
    assert mount.changes == {doubled.call("a"): 16}


def test_a_query_whose_reads_alone_take_longer_than_a_slice_gets_done() -> None:
    g = Graph(clock=Clock())
    g.update({(WIDTH, "a"): 300})
    transaction = g.transaction()
    mount = transaction.mount(doubled.call("a"))
    slices = sum(1 for _ in transaction.run(slice_seconds=0.0))
    assert slices <= 600
    assert mount.leaves() == {doubled.call("a"): 0}


def test_one_transaction_at_a_time() -> None:
    g = Graph(clock=Clock())
    g.update({(WIDTH, "a"): 100})
    g.mount(fan.call("a"))
    first, second = g.transaction(), g.transaction()
    first.set(SIZES, -1, 1)
    second.set(SIZES, -1, 2)
    running = first.run(slice_seconds=0.0)
    next(running)
    with pytest.raises(TransactionError, match="a transaction is running"):
        list(second.run())
    with pytest.raises(TransactionError, match="a transaction is running"):
        g.mount(fan.call("b"))
    with pytest.raises(TransactionError, match="has run"):
        first.set(SIZES, -1, 3)
    with pytest.raises(TransactionError, match="has run"):
        first.mount(fan.call("b"))
    assert g.forget_unobserved(0.0, 0.0) == 0
    list(running)
    with pytest.raises(TransactionError, match="has run"):
        list(first.run())
    list(second.run())
    assert SIZES(g, -1) == 2


def test_queries_change_nothing() -> None:
    g = Graph()

    @query
    def writing(g: Graph) -> None:
        g.update({(SIZES, 0): 1})

    @query
    def mounting(g: Graph) -> None:
        g.mount(fan.call("a"))

    for impure in (writing, mounting):
        with pytest.raises(QueryFailed, match="is being computed: queries are pure"):
            impure(g)
    assert SIZES(g, 0) == 0


def test_an_abandoned_transaction_is_finished_by_the_next() -> None:
    g = Graph(clock=Clock())
    g.update({(WIDTH, "a"): 10})
    mount = g.mount(fan.call("a"))
    old = mount.leaves()
    transaction = g.transaction()
    transaction.set(SIZES, -1, 1)
    transaction.set(WIDTH, "a", 11)
    running = transaction.run(slice_seconds=0.0)
    next(running)
    del running
    assert mount.leaves() == old
    assert g.statistics().transactions == 1
    g.update({(WIDTH, "a"): 9})
    assert mount.changes == {leaf.call(n): 1 for n in range(9)} | {leaf.call(9): GONE}


def test_statistics_count() -> None:
    g = Graph()
    g.update({(WIDTH, "a"): 3, (SIZES, 0): 5})
    mount = g.mount(fan.call("a"))
    numbers = g.statistics()
    assert (numbers.nodes, numbers.edges, numbers.mounts) == (4, 7, 1)
    assert numbers.cells == 5  # WIDTH a, SIZES -1, 0, 1, 2
    assert (numbers.computed, numbers.transactions) == (4, 1)
    mount.close()
    assert g.statistics().mounts == 0

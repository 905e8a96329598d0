"""Mounts: leaves, their changes, shared subtrees, failures, and what a change costs."""

from __future__ import annotations

import pytest
from bench_engine import RULES, SERVICES, SLICES, mesh, view

from dragoman.engine import GONE, Call, Failure, Graph, Input, Tree, query

BRANCHES = Input[str, tuple[str, ...]]("branches", default=())
VALUES = Input[str, int]("values", default=0)


@query
def node(g: Graph, name: str) -> int | Tree:
    """A tree of its branches, or its value."""
    value = VALUES(g, name)
    if value < 0:
        raise ValueError(value)
    branches = BRANCHES(g, name)
    return Tree(node.call(branch) for branch in branches) if branches else value


def calls(**values: object) -> dict[Call[int | Tree], object]:
    return {node.call(name): value for name, value in values.items()}


def test_leaves_are_what_is_no_tree() -> None:
    g = Graph()
    g.update({(BRANCHES, "root"): ("a", "b"), (BRANCHES, "b"): ("c", "d"), (VALUES, "c"): 3})
    mount = g.mount(node.call("root"))
    assert mount.leaves() == mount.changes == calls(a=0, c=3, d=0)


def test_a_mount_of_a_leaf_is_that_leaf() -> None:
    g = Graph()
    mount = g.mount(node.call("a"))
    g.update({(VALUES, "a"): 1})
    assert mount.changes == mount.leaves() == calls(a=1)


def test_changes_are_of_the_last_transaction_only() -> None:
    g = Graph()
    g.update({(BRANCHES, "root"): ("a", "b")})
    mount = g.mount(node.call("root"))
    g.update({(VALUES, "a"): 1})
    assert mount.changes == calls(a=1)
    g.update({(VALUES, "elsewhere"): 1})
    assert mount.changes == {}
    g.update({(VALUES, "b"): 0})
    assert mount.changes == {}


def test_a_leaf_may_become_a_tree_and_a_tree_a_leaf() -> None:
    g = Graph()
    g.update({(BRANCHES, "root"): ("a",), (VALUES, "b"): 2})
    mount = g.mount(node.call("root"))
    g.update({(BRANCHES, "a"): ("b", "c")})
    assert mount.changes == calls(a=GONE, b=2, c=0)
    g.update({(BRANCHES, "a"): ()})
    assert mount.changes == calls(a=0, b=GONE, c=GONE)


def test_a_leaf_that_two_trees_hold_goes_with_the_last() -> None:
    g = Graph()
    g.update({(BRANCHES, "root"): ("x", "y"), (BRANCHES, "x"): ("s", "a"), (BRANCHES, "y"): ("s", "b")})
    mount = g.mount(node.call("root"))
    g.update({(VALUES, "s"): 1})
    assert mount.changes == calls(s=1)
    g.update({(BRANCHES, "x"): ("a",)})
    assert mount.changes == {}
    g.update({(BRANCHES, "y"): ("b",)})
    assert mount.changes == calls(s=GONE)


def test_what_moves_between_trees_has_not_changed() -> None:
    g = Graph()
    g.update({(BRANCHES, "root"): ("x", "y"), (BRANCHES, "x"): ("t", "a"), (BRANCHES, "y"): ("b",)})
    g.update({(BRANCHES, "t"): ("s",)})
    mount = g.mount(node.call("root"))
    g.update({(BRANCHES, "x"): ("a",), (BRANCHES, "y"): ("b", "t")})
    assert mount.changes == {}
    assert mount.leaves() == calls(a=0, b=0, s=0)
    g.update({(BRANCHES, "x"): ("a", "t"), (BRANCHES, "y"): ("b",), (VALUES, "s"): 4})
    assert mount.changes == calls(s=4)


def test_trees_that_hold_each_other_go_when_nobody_else_holds_them() -> None:
    g = Graph()
    g.update({(BRANCHES, "root"): ("x", "a"), (BRANCHES, "x"): ("y", "b"), (BRANCHES, "y"): ("x", "c")})
    mount = g.mount(node.call("root"))
    assert mount.leaves() == calls(a=0, b=0, c=0)
    g.update({(BRANCHES, "root"): ("a",)})
    assert mount.changes == calls(b=GONE, c=GONE)
    assert mount.leaves() == calls(a=0)


def test_mounts_share_subtrees_and_go_separately() -> None:
    g = Graph()
    g.update({(BRANCHES, "one"): ("s", "a"), (BRANCHES, "two"): ("s", "b"), (BRANCHES, "s"): ("x", "y")})
    one = g.mount(node.call("one"))
    computed = g.statistics().computed
    two = g.mount(node.call("two"))
    assert g.statistics().computed == computed + 2  # two and b
    g.update({(VALUES, "x"): 1})
    assert one.changes == two.changes == calls(x=1)
    one.close()
    assert one.closed
    g.update({(VALUES, "x"): 2, (VALUES, "a"): 2})
    assert (one.changes, one.leaves()) == ({}, {})
    assert two.changes == calls(x=2)


def test_many_mounts_of_one_tree() -> None:
    g = Graph()
    g.update({(BRANCHES, "root"): ("a", "b")})
    mounts = [g.mount(node.call("root")) for _ in range(40)]
    g.update({(VALUES, "a"): 1})
    assert all(mount.changes == calls(a=1) for mount in mounts)
    for mount in mounts[1:]:
        mount.close()
    g.update({(VALUES, "a"): 2})
    assert mounts[0].changes == calls(a=2)
    mounts[0].close()
    g.forget_unobserved(0.0, 0.0)
    assert g.statistics().nodes == 0


def test_a_failing_leaf_is_a_failure_with_its_last_good_value() -> None:
    g = Graph()
    g.update({(BRANCHES, "root"): ("a", "b"), (VALUES, "a"): 5})
    mount = g.mount(node.call("root"))
    g.update({(VALUES, "a"): -1})
    (failure,) = mount.changes.values()
    assert isinstance(failure, Failure)
    assert failure.last_good == 5
    g.update({(VALUES, "a"): 5})
    assert mount.changes == calls(a=5)


def test_a_failing_tree_keeps_the_leaves_it_had() -> None:
    g = Graph()
    g.update({(BRANCHES, "root"): ("t", "a"), (BRANCHES, "t"): ("b", "c")})
    mount = g.mount(node.call("root"))
    g.update({(VALUES, "t"): -1})
    assert list(mount.changes) == [node.call("t")]
    assert isinstance(mount.changes[node.call("t")], Failure)
    assert mount.leaves().keys() == calls(a=0, b=0, c=0, t=0).keys()
    g.update({(VALUES, "b"): 2})
    assert mount.changes == calls(b=2)
    g.update({(VALUES, "t"): 0, (BRANCHES, "t"): ("b",)})
    assert mount.changes == calls(t=GONE, c=GONE)


@pytest.mark.parametrize("services", [100, 10_000])
def test_a_change_runs_the_same_queries_however_large_the_mesh(services: int) -> None:
    g = mesh(services)
    mount = g.mount(view.call("ns0"))
    assert len(mount.leaves()) == 3 * services

    def ran(cell: tuple[object, object], value: object) -> tuple[int, int]:
        before = g.statistics().computed
        g.update({cell: value})  # type: ignore[dict-item]
        return g.statistics().computed - before, len(mount.changes)

    assert ran((SLICES, ("ns1", "svc1")), ("10.0.0.9",)) == (2, 1)
    assert ran((RULES, ("ns0", "svc1.ns1.svc.cluster.local")), "rule") == (2, 1)
    assert ran((RULES, ("istio-system", "svc1.ns1.svc.cluster.local")), "hidden") == (0, 0)
    assert ran((SLICES, ("ns1", "svc1")), ("10.0.0.9",)) == (0, 0)
    assert ran((SERVICES, "elsewhere"), ("x",)) == (0, 0)
    # a new service: its chunk, cluster, rule, assignment, endpoints, virtual host and route
    assert ran((SERVICES, "ns1"), (*SERVICES(g, "ns1"), "new")) == (7, 3)

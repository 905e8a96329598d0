"""What no mount needs is dropped after a while, and nothing else."""

from __future__ import annotations

from dragoman.engine import Graph, Input, Tree, attempt, query

VALUES = Input[str, int]("values", default=0)
BRANCHES = Input[str, tuple[str, ...]]("branches", default=())

ran: list[str] = []


@query
def below(g: Graph, name: str) -> int:
    ran.append(name)
    return VALUES(g, name)


@query
def above(g: Graph, name: str) -> int:
    return below(g, name) + 1


@query
def tree(g: Graph, name: str) -> Tree:
    return Tree(above.call(branch) for branch in BRANCHES(g, name))


@query
def ring(g: Graph, n: int) -> int:
    return ring(g, (n + 1) % 3) if VALUES(g, "ring") else below(g, "ring")


def test_what_was_read_in_passing_goes_after_its_time() -> None:
    g = Graph()
    above(g, "a")
    assert g.statistics().nodes == 2
    assert g.forget_unobserved(100.0) == 0
    assert g.forget_unobserved(159.0) == 0
    assert g.forget_unobserved(160.0) == 2
    assert (g.statistics().nodes, g.statistics().cells, g.statistics().edges) == (0, 0, 0)


def test_reading_it_again_starts_its_time_again() -> None:
    g = Graph()
    above(g, "a")
    g.forget_unobserved(0.0)
    above(g, "a")
    assert g.forget_unobserved(60.0) == 0
    assert g.forget_unobserved(120.0) == 2


def test_a_reconnect_finds_everything_in_place() -> None:
    g = Graph()
    g.update({(BRANCHES, "root"): ("a", "b")})
    g.mount(tree.call("root")).close()
    g.forget_unobserved(0.0)
    g.forget_unobserved(59.0)
    ran.clear()
    mount = g.mount(tree.call("root"))
    assert ran == []
    assert g.forget_unobserved(1000.0) == 0
    assert g.forget_unobserved(2000.0) == 0
    mount.close()
    assert g.forget_unobserved(3000.0) == 0
    assert g.forget_unobserved(3060.0) == 5


def test_what_a_mount_still_needs_stays() -> None:
    g = Graph()
    g.update({(BRANCHES, "one"): ("a", "b"), (BRANCHES, "two"): ("b",)})
    one, two = g.mount(tree.call("one")), g.mount(tree.call("two"))
    one.close()
    assert g.forget_unobserved(0.0, after_seconds=0.0) == 3  # the tree, above a, below a
    g.update({(VALUES, "b"): 4})
    assert two.changes == {above.call("b"): 5}


def test_leaves_that_left_a_tree_go() -> None:
    g = Graph()
    g.update({(BRANCHES, "root"): ("a", "b")})
    g.mount(tree.call("root"))
    g.update({(BRANCHES, "root"): ("b",)})
    assert g.forget_unobserved(0.0, after_seconds=0.0) == 2


def test_present_cells_stay_and_absent_ones_go() -> None:
    g = Graph()
    g.update({(VALUES, "a"): 1})
    above(g, "a")
    above(g, "b")
    assert g.statistics().cells == 2
    g.forget_unobserved(0.0, after_seconds=0.0)
    assert g.statistics().cells == 1
    assert VALUES(g, "a") == 1


def test_an_absent_cell_that_came_back_stays() -> None:
    g = Graph()
    g.update({(VALUES, "a"): 1})
    g.update({(VALUES, "a"): 0})
    g.forget_unobserved(0.0)
    g.update({(VALUES, "a"): 2})
    g.forget_unobserved(100.0)
    assert above(g, "a") == 3


def test_a_cell_that_one_reader_leaves_while_another_comes_is_not_lost() -> None:
    """The newcomer runs first and is linked last: in between nobody is known to read the cell."""
    g = Graph()

    @query
    def leaving(g: Graph) -> int:
        return 0 if VALUES(g, "switch") else VALUES(g, "shared")

    @query
    def coming(g: Graph) -> int:
        return VALUES(g, "shared") + leaving(g)

    assert leaving(g) == 0
    g.update({(VALUES, "switch"): 1})
    assert coming(g) == 0
    g.update({(VALUES, "shared"): 5})
    assert coming(g) == 5


def test_members_of_a_cycle_go_together() -> None:
    g = Graph()
    g.update({(VALUES, "ring"): 1})
    attempt(g, ring, 0)
    mount = g.mount(ring.call(1))
    assert g.forget_unobserved(0.0, after_seconds=0.0) == 0
    mount.close()
    assert g.forget_unobserved(1.0) == 0
    assert g.forget_unobserved(61.0) == 3
    assert (g.statistics().nodes, g.statistics().edges) == (0, 0)


def test_a_cycle_that_was_broken_goes_like_anything_else() -> None:
    g = Graph()
    g.update({(VALUES, "ring"): 1})
    mount = g.mount(ring.call(0))
    g.update({(VALUES, "ring"): 0})
    assert mount.leaves() == {ring.call(0): 0}
    assert g.forget_unobserved(0.0, after_seconds=0.0) == 2  # ring 1 and 2, which nobody reads any longer
    mount.close()
    assert g.forget_unobserved(0.0, after_seconds=0.0) == 2


def test_forgetting_in_steps_ends_where_forgetting_at_once_does() -> None:
    g = Graph()
    names = tuple(map(str, range(100)))
    g.update({(BRANCHES, "root"): names, (VALUES, "ring"): 1, (VALUES, "7"): 1})
    mount = g.mount(tree.call("root"))
    attempt(g, ring, 0)
    nodes = g.statistics().nodes
    mount.close()
    g.forget_unobserved(0.0)
    above(g, "7")  # needed again between two steps
    gone = [g.forget_unobserved(60.0, at_most=20) for _ in range(20)]
    assert max(gone) <= 22, "a cycle goes as a whole"
    assert sum(gone) == nodes - 2
    assert g.statistics().nodes == 2
    assert g.forget_unobserved(120.0) == 2
    assert (g.statistics().edges, g.statistics().cells) == (0, 3)

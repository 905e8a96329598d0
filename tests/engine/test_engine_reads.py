"""Inputs, queries, consulting and provenance."""

from __future__ import annotations

import pytest

from dragoman.engine import Call, Graph, Input, QueryFailed, Tree, attempt, consult, query

PODS = Input[str, int]("pods", default=0)
RULES = Input[str, str | None]("rules", default=None)

ran: list[str] = []


@pytest.fixture(autouse=True)
def _nothing_ran() -> None:
    ran.clear()


@query
def doubled(g: Graph, name: str) -> int:
    """Twice the pods."""
    ran.append(f"doubled {name}")
    return 2 * PODS(g, name)


@query
def is_large(g: Graph, name: str) -> bool:
    ran.append(f"is_large {name}")
    return doubled(g, name) > 10


@query
def label(g: Graph, name: str) -> str:
    ran.append(f"label {name}")
    return "large" if is_large(g, name) else "small"


@query
def ruled(g: Graph, name: str) -> str:
    ran.append(f"ruled {name}")
    for scope in ("exact", "wildcard"):
        rule = RULES(g, f"{scope} {name}")
        if rule is not None:
            return rule
    return "none"


@query
def routed(g: Graph, name: str) -> str:
    ran.append(f"routed {name}")
    return name if consult(g, is_large, name) or consult(g, RULES, name) else ruled(g, name)


@query
def sized(g: Graph, name: str) -> tuple[int, ...]:
    ran.append(f"sized {name}")
    return tuple(range(PODS(g, name) % 3))


@query
def used_after_all(g: Graph, name: str) -> int:
    return consult(g, PODS, name) + PODS(g, name) + consult(g, PODS, name)


def test_absent_keys_hold_the_default_and_reading_one_outside_of_queries_leaves_nothing_behind() -> None:
    g = Graph()
    assert PODS(g, "a") == 0
    assert RULES(g, "a") is None
    assert g.statistics().cells == 0


def test_a_query_runs_once_for_equal_arguments() -> None:
    g = Graph()
    g.update({(PODS, "a"): 3})
    assert [doubled(g, "a"), doubled(g, "a"), doubled(g, "b")] == [6, 6, 0]
    assert ran == ["doubled a", "doubled b"]


def test_a_change_runs_what_read_the_cell_and_nothing_else() -> None:
    g = Graph()
    assert label(g, "a") == label(g, "b") == "small"
    ran.clear()
    g.update({(PODS, "a"): 6})
    assert label(g, "a") == "large"
    assert label(g, "b") == "small"
    assert ran == ["doubled a", "is_large a", "label a"]


def test_readers_of_an_equal_value_stay_clean() -> None:
    g = Graph()
    label(g, "a")
    ran.clear()
    g.update({(PODS, "a"): 1})
    assert label(g, "a") == "small"
    assert ran == ["doubled a", "is_large a"]


def test_an_equal_value_keeps_the_old_object() -> None:
    g = Graph()
    g.update({(PODS, "a"): 2})
    before = sized(g, "a")
    g.update({(PODS, "a"): 5})
    assert sized(g, "a") is before
    assert ran == ["sized a", "sized a"]


def test_setting_an_equal_value_runs_nothing() -> None:
    g = Graph()
    g.update({(PODS, "a"): 6})
    label(g, "a")
    ran.clear()
    g.apply([(PODS, "a", 6), (PODS, "b", 0)])
    assert label(g, "a") == "large"
    assert ran == []


def test_an_absent_key_that_was_read_is_a_read() -> None:
    g = Graph()
    assert ruled(g, "a") == "none"
    g.update({(RULES, "wildcard a"): "w"})
    assert ruled(g, "a") == "w"
    g.update({(RULES, "exact a"): "e"})
    assert ruled(g, "a") == "e"
    ran.clear()
    g.update({(RULES, "wildcard a"): "other"})
    assert ruled(g, "a") == "e"
    assert ran == []  # the second lookup is not made any longer
    g.update({(RULES, "exact a"): None})
    assert ruled(g, "a") == "other"


def test_reads_that_may_not_happen_again_are_not_verified() -> None:
    g = Graph()
    g.update({(PODS, "deep"): 1})

    assert guarded(g) == 1
    g.update({(PODS, "deep"): 0, (PODS, "x"): 9})
    assert guarded(g) == -1
    assert "unguarded 1" not in ran[2:]


@query
def unguarded(g: Graph, divisor: int) -> int:
    ran.append(f"unguarded {divisor}")
    return (PODS(g, "x") + 1) // divisor


@query
def guarded(g: Graph) -> int:
    ran.append("guarded")
    divisor = PODS(g, "deep")
    return unguarded(g, divisor) if divisor else -1


def test_consulting_invalidates_but_is_no_provenance() -> None:
    g = Graph()
    g.update({(PODS, "a"): 1, (RULES, "exact a"): "e"})
    assert routed(g, "a") == "e"
    assert g.provenance(routed.call("a")) == {(RULES, "exact a")}
    g.update({(RULES, "a"): "yes"})
    assert routed(g, "a") == "a"
    g.update({(RULES, "a"): None, (PODS, "a"): 6})
    assert routed(g, "a") == "a"
    assert g.provenance(routed.call("a")) == frozenset()


def test_what_is_consulted_and_used_is_provenance() -> None:
    g = Graph()
    g.update({(PODS, "a"): 1})
    assert g.provenance(used_after_all.call("a")) == {(PODS, "a")}


def test_provenance_is_transitive_and_names_present_cells_only() -> None:
    g = Graph()
    g.update({(PODS, "a"): 1, (RULES, "wildcard a"): "w"})
    assert g.provenance(label.call("a")) == {(PODS, "a")}
    assert g.provenance(label.call("b")) == frozenset()
    assert g.provenance(ruled.call("a")) == {(RULES, "wildcard a")}
    g.update({(RULES, "wildcard a"): None})
    assert g.provenance(ruled.call("a")) == frozenset()


def test_provenance_of_a_failure_names_what_was_read_until_then() -> None:
    g = Graph()
    g.update({(PODS, "a"): 0, (RULES, "divide"): "yes"})
    assert g.provenance(dividing.call("a")) == {(RULES, "divide")}


@query
def dividing(g: Graph, name: str) -> float:
    return 1 / PODS(g, name) if RULES(g, "divide") else 0.0


def test_calls_are_handles_that_compare_by_value() -> None:
    assert doubled.call("a") == doubled.call("a") != doubled.call("b")
    assert len({doubled.call("a"), doubled.call("a"), label.call("a")}) == 2
    assert str(doubled.call("a")) == "doubled('a')"
    g = Graph()
    call: Call[int] = doubled.call("a")
    assert call.query(g, *call.args) == 0


def test_queries_keep_the_name_and_documentation_of_their_function() -> None:
    assert (doubled.__name__, doubled.__doc__, doubled.__module__) == ("doubled", "Twice the pods.", __name__)
    assert repr(doubled) == f"<query {__name__}.doubled>"
    assert repr(PODS) == "Input('pods')"


def test_arguments_are_positional() -> None:
    g = Graph()
    for act in (
        lambda: doubled(g, name="a"),
        lambda: doubled.call(name="a"),
        lambda: attempt(g, doubled, name="a"),
        lambda: consult(g, doubled, name="a"),
    ):
        with pytest.raises(TypeError, match="positional"):
            act()
    assert ran == []


def test_unhashable_arguments_fail_the_reader_alone() -> None:
    g = Graph()
    with pytest.raises(TypeError, match="unhashable"):
        listing(g, [])  # type: ignore[arg-type]
    with pytest.raises(QueryFailed, match="unhashable"):
        misreading(g)
    assert label(g, "a") == "small"


@query
def listing(g: Graph, names: tuple[str, ...]) -> int:
    return len(names)


@query
def misreading(g: Graph) -> int:
    return listing(g, ["a"])  # type: ignore[arg-type]


def test_trees_are_values() -> None:
    a, b = doubled.call("a"), doubled.call("b")
    assert Tree([a, b, a]) == Tree(iter([a, b])) != Tree([a])
    assert hash(Tree([a, b])) == hash(Tree((a, b)))
    assert Tree([a]) != a
    assert repr(Tree([a, b])) == "Tree(doubled('a'), doubled('b'))"


def test_the_reads_of_a_call_are_those_its_value_was_made_from() -> None:
    g = Graph()
    assert g.reads(label.call("a")) == (is_large.call("a"),)
    assert g.reads(is_large.call("a")) == (doubled.call("a"),)
    assert g.reads(doubled.call("a")) == ()


def test_consulted_calls_are_not_among_the_reads() -> None:
    @query
    def looked_at(g: Graph, name: str) -> int:
        return doubled(g, name) if consult(g, doubled, "b") == 0 else 0

    assert Graph().reads(looked_at.call("a")) == (doubled.call("a"),)

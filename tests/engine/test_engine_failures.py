"""A failing query fails alone: its readers learn of it, it recovers by itself, and it keeps nothing alive."""

from __future__ import annotations

import gc
import weakref

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from dragoman.engine import (
    ABSENT,
    CycleError,
    Failure,
    Graph,
    Input,
    NestingError,
    Query,
    QueryFailed,
    attempt,
    query,
)

NUMBERS = Input[str, int]("numbers", default=0)
NEXT = Input[int, tuple[int, ...]]("next", default=())

runs = 0


class UnluckyError(Exception):
    def __init__(self, number: int) -> None:
        super().__init__("unlucky")
        self.number = number


class Heavy:
    """Something that a traceback would keep alive."""


heavies: list[weakref.ref[Heavy]] = []


@query
def number(g: Graph, name: str) -> int:
    heavy = Heavy()
    heavies.append(weakref.ref(heavy))
    value = NUMBERS(g, name)
    if value >= 13:
        raise UnluckyError(13)
    if value < 0:
        raise UnluckyError(value)
    return value


@query
def total(g: Graph) -> int:
    heavy = Heavy()
    heavies.append(weakref.ref(heavy))
    return number(g, "a") + number(g, "b")


@query
def report(g: Graph) -> str:
    global runs
    runs += 1
    got = attempt(g, total)
    return f"failed, was {got.last_good}" if isinstance(got, Failure) else str(got)


@query
def translated(g: Graph) -> int:
    try:
        return total(g)
    except QueryFailed as failed:
        raise ValueError("no total") from failed


@query
def grouped(g: Graph) -> int:
    problems = [got.error for name in ("a", "b") if isinstance(got := attempt(g, number, name), Failure)]
    if problems:
        raise ExceptionGroup("several", problems)
    return 0


def test_a_failure_reaches_readers_with_its_root_cause() -> None:
    g = Graph()
    g.update({(NUMBERS, "a"): 13})
    with pytest.raises(QueryFailed, match=r"total\(\) failed in number\('a'\): UnluckyError: unlucky") as raised:
        total(g)
    failure = raised.value.failure
    assert isinstance(failure.error, UnluckyError)
    assert failure.call == total.call()
    assert failure.origins == {number.call("a")}
    assert failure.last_good is ABSENT
    assert failure.location.startswith(f"{__name__}.number:")
    assert str(attempt(g, number, "a")) == "number('a') failed: UnluckyError: unlucky"


def test_a_failed_query_is_memoised_and_recovers_by_itself() -> None:
    g = Graph()
    g.update({(NUMBERS, "a"): 13})
    first = attempt(g, total)
    assert isinstance(first, Failure)
    assert attempt(g, total) is first
    assert g.statistics().computed == 2
    g.update({(NUMBERS, "a"): 1})
    assert total(g) == 1


def test_the_last_good_value_stays() -> None:
    g = Graph()
    g.update({(NUMBERS, "a"): 1, (NUMBERS, "b"): 2})
    assert report(g) == "3"
    g.update({(NUMBERS, "b"): 13})
    assert report(g) == "failed, was 3"


def test_failing_again_for_the_same_reason_is_no_change() -> None:
    g = Graph()
    g.update({(NUMBERS, "a"): 13})
    report(g)
    before, ran = attempt(g, total), runs
    g.update({(NUMBERS, "a"): 14})
    report(g)
    assert attempt(g, total) is before
    assert runs == ran


def test_failing_for_another_reason_is_a_change() -> None:
    g = Graph()
    g.update({(NUMBERS, "a"): 13})
    report(g)
    ran = runs
    g.update({(NUMBERS, "a"): -1})
    report(g)
    assert runs == ran + 1
    failure = attempt(g, total)
    assert isinstance(failure, Failure)
    assert isinstance(failure.error, UnluckyError)
    assert failure.error.number == -1


def test_origins_are_found_through_translated_errors() -> None:
    g = Graph()
    g.update({(NUMBERS, "a"): 13})
    failure = attempt(g, translated)
    assert isinstance(failure, Failure)
    assert isinstance(failure.error, ValueError)
    assert failure.origins == {number.call("a")}


def test_failures_keep_no_frames_alive() -> None:
    g = Graph()
    heavies.clear()
    g.update({(NUMBERS, "a"): 13, (NUMBERS, "b"): 13})
    gc.disable()
    try:
        outcomes = [attempt(g, total), attempt(g, translated), attempt(g, grouped)]
    finally:
        gc.enable()
    gc.collect()
    assert all(isinstance(outcome, Failure) for outcome in outcomes)
    assert len(heavies) == 3
    assert all(heavy() is None for heavy in heavies)


def test_an_exception_that_is_being_handled_outside_is_left_as_it_is() -> None:
    g = Graph()
    g.update({(NUMBERS, "a"): 13})
    outside = KeyError("outside")
    try:
        raise outside
    except KeyError:
        failure = attempt(g, number, "a")
        still_there = outside.__traceback__
    assert still_there is not None
    assert isinstance(failure, Failure)
    assert failure.error.__context__ is None


def test_an_interrupt_is_not_memoised() -> None:
    g = Graph()
    interrupts = [KeyboardInterrupt()]

    @query
    def interrupted(g: Graph) -> int:
        if interrupts:
            raise interrupts.pop()
        return NUMBERS(g, "a")

    @query
    def reader(g: Graph) -> int:
        return interrupted(g)

    with pytest.raises(KeyboardInterrupt):
        reader(g)
    assert reader(g) == 0


@query
def step(g: Graph, n: int) -> int:
    return 1 + sum(step(g, following) for following in NEXT(g, n))


@query
def optimistic(g: Graph, n: int) -> int:
    got = attempt(g, pessimistic, n)
    return 0 if isinstance(got, Failure) else got


@query
def pessimistic(g: Graph, n: int) -> int:
    return optimistic(g, n) if NEXT(g, n) else 1


def test_all_queries_of_a_cycle_fail_and_their_readers_say_why() -> None:
    g = Graph()
    g.update({(NEXT, 0): (1,), (NEXT, 1): (2,), (NEXT, 2): (3,), (NEXT, 3): (1,)})
    members = {step.call(1), step.call(2), step.call(3)}
    for n in (0, 1, 2, 3):
        failure = attempt(g, step, n)
        assert isinstance(failure, Failure)
        assert isinstance(failure.error, CycleError)
        assert failure.error.calls == failure.origins == members
    assert str(attempt(g, step, 1)) == "step(1) failed: CycleError: these need each other: step(1), step(2), step(3)"


def test_a_cycle_recovers_when_it_is_broken_and_comes_back_when_it_is_closed() -> None:
    g = Graph()
    ring: dict[tuple[Input[int, tuple[int, ...]], int], tuple[int, ...]] = {(NEXT, n): ((n + 1) % 3,) for n in range(3)}
    g.update(ring)
    mount = g.mount(step.call(0))
    assert isinstance(mount.leaves()[step.call(0)], Failure)
    g.update({(NEXT, 2): ()})
    assert mount.changes == {step.call(0): 3}
    assert step(g, 2) == 1
    g.update(ring)
    failure = mount.changes[step.call(0)]
    assert isinstance(failure, Failure)
    assert failure.last_good == 3
    assert isinstance(attempt(g, step, 2), Failure)


@pytest.mark.parametrize("first", [optimistic, pessimistic])
def test_a_cycle_is_the_same_wherever_it_is_entered(first: Query[[int], int]) -> None:
    """One that attempts the other could make a value of the failure, but only if the other was asked first."""
    g = Graph()
    g.update({(NEXT, 0): (0,)})
    with pytest.raises(QueryFailed):
        first(g, 0)
    for member in (optimistic, pessimistic):
        failure = attempt(g, member, 0)
        assert isinstance(failure, Failure)
        assert failure.origins == {optimistic.call(0), pessimistic.call(0)}


@query
def keen(g: Graph, n: int) -> int:
    """Asks all that follow, whatever becomes of them."""
    return sum(isinstance(attempt(g, keen, following), Failure) for following in NEXT(g, n))


@settings(deadline=None)
@given(
    graph=st.dictionaries(st.integers(0, 5), st.lists(st.integers(0, 5), max_size=4).map(tuple)),
    order=st.permutations(range(6)),
)
@example(graph={0: (1, 2), 1: (2, 0), 2: (1,)}, order=list(range(6)))  # 2 waits for 1, which waits for 0
def test_cycles_are_the_strongly_connected_components(graph: dict[int, tuple[int, ...]], order: list[int]) -> None:
    reached = {n: set(graph.get(n, ())) for n in range(6)}
    for _ in range(6):
        for n in range(6):
            reached[n] |= {further for following in reached[n] for further in reached[following]}
    g = Graph()
    g.update({(NEXT, n): following for n, following in graph.items()})
    for n in order:
        outcome = attempt(g, keen, n)
        members = {keen.call(m) for m in reached[n] if n in reached[m]}
        assert (outcome.origins if isinstance(outcome, Failure) else set()) == members


def test_deep_meshes_nest() -> None:
    g = Graph()
    g.update({(NEXT, n): (n + 1,) for n in range(60)})
    assert step(g, 0) == 61


def test_endless_nesting_is_a_failure_that_recovers() -> None:
    g = Graph()
    g.update({(NEXT, n): (n + 1,) for n in range(2000)})
    mount = g.mount(step.call(0))
    failure = mount.leaves()[step.call(0)]
    assert isinstance(failure, Failure)
    assert isinstance(failure.error, NestingError)
    g.update({(NEXT, 50): ()})
    assert mount.changes == {step.call(0): 51}
    g.update({(NEXT, 130): ()})
    assert step(g, 90) == 41


def test_a_chain_that_was_computed_from_below_may_be_as_long_as_it_likes() -> None:
    g = Graph()
    g.update({(NEXT, n): (n + 1,) for n in range(3000)})
    for n in range(3000, -1, -1):
        step(g, n)
    g.update({(NEXT, 3000): (3001,)})
    assert step(g, 0) == 3002


def test_a_value_that_cannot_be_compared_fails_its_query_alone() -> None:
    class Incomparable:
        def __eq__(self, other: object) -> bool:
            raise TypeError("incomparable")

        __hash__ = object.__hash__

    @query
    def strange(g: Graph) -> object:
        NUMBERS(g, "a")
        return Incomparable()

    g = Graph()
    assert isinstance(strange(g), Incomparable)
    g.update({(NUMBERS, "a"): 1})
    failure = attempt(g, strange)
    assert isinstance(failure, Failure)
    assert str(failure.error) == "incomparable"


def test_failures_compare_by_what_they_say() -> None:
    g, h = Graph(), Graph()
    for graph in (g, h):
        graph.update({(NUMBERS, "a"): 13})
    one, other = attempt(g, number, "a"), attempt(h, number, "a")
    assert one is not other
    assert one == other
    assert hash(one) == hash(other)
    h.update({(NUMBERS, "a"): -1})
    assert one != attempt(h, number, "a")
    assert one != attempt(g, total)
    assert one != 13

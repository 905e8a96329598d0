"""Publication: what a view holds while makers of its resources come, go and fail."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from dragoman.codec import CLUSTER, Encoded
from dragoman.engine import Failure, Graph, Input, Tree, query
from dragoman.runtime.publication import Publication

MAKERS = Input[str, tuple[int, ...]]("publication-makers", default=())
"""Which generations of makers a resource has: more than one never at once, as with DestinationRules of a cluster."""
BROKEN = Input[tuple[str, int], bool]("publication-broken", default=False)
CONTENT = Input[tuple[str, int], bytes]("publication-content", default=b"")

NAMES = ("a", "b")


@query
def maker(g: Graph, name: str, generation: int) -> Encoded:
    if BROKEN(g, (name, generation)):
        raise ValueError(f"{name} {generation} is broken")
    return Encoded.of_payload(CLUSTER, name, CONTENT(g, (name, generation)))


@query
def root(g: Graph) -> Tree:
    return Tree(maker.call(name, generation) for name in NAMES for generation in MAKERS(g, name))


class View:
    """A graph, a publication of its tree, and what streams would hold."""

    def __init__(self) -> None:
        self.graph = Graph()
        self.publication = Publication()
        self.held: dict[str, Encoded] = {}
        self.mount = self.graph.mount(root.call())
        self._publish()

    def change(self, *cells: tuple[Any, Any, Any]) -> None:
        self.graph.apply(cells)
        self._publish()

    def _publish(self) -> None:
        for (_, name), value in self.publication.resources(self.mount.changes).items():
            if value is None:
                del self.held[name]
            else:
                self.held[name] = value


def test_a_new_maker_that_fails_leaves_what_the_old_one_made() -> None:
    view = View()
    view.change((MAKERS, "a", (1,)), (CONTENT, ("a", 1), b"first"))
    view.change((MAKERS, "a", (2,)), (BROKEN, ("a", 2), True))
    assert view.held["a"].payload == b"first"
    assert len(view.publication.failures) == 1
    view.change((BROKEN, ("a", 2), False), (CONTENT, ("a", 2), b"second"))
    assert view.held["a"].payload == b"second"
    assert not view.publication.failures
    assert view.publication.owner((CLUSTER, "a")) == maker.call("a", 2)


def test_what_is_gone_without_a_successor_is_removed() -> None:
    view = View()
    view.change((MAKERS, "a", (1,)))
    view.change((MAKERS, "a", ()))
    assert not view.held
    assert view.publication.owner((CLUSTER, "a")) is None


def test_what_was_kept_for_a_maker_that_fails_goes_with_it() -> None:
    view = View()
    view.change((MAKERS, "a", (1,)))
    view.change((MAKERS, "a", (2,)), (BROKEN, ("a", 2), True))
    view.change((MAKERS, "a", ()))
    assert not view.held


def test_a_failing_maker_keeps_its_last_bytes() -> None:
    view = View()
    view.change((MAKERS, "a", (1,)), (CONTENT, ("a", 1), b"good"))
    view.change((BROKEN, ("a", 1), True), (CONTENT, ("a", 1), b"bad"))
    assert view.held["a"].payload == b"good"


_steps = st.lists(
    st.one_of(
        st.tuples(st.just("makers"), st.sampled_from(NAMES), st.sampled_from([(), (1,), (2,), (3,)])),
        st.tuples(st.just("broken"), st.sampled_from(NAMES), st.integers(1, 3), st.booleans()),
        st.tuples(st.just("content"), st.sampled_from(NAMES), st.integers(1, 3), st.binary(max_size=2)),
    ),
    min_size=1,
    max_size=4,
)


@given(st.lists(_steps, max_size=12))
def test_a_resource_with_a_maker_is_lost_only_if_it_never_was_made(transactions: list[list[Any]]) -> None:
    view = View()
    for steps in transactions:
        before = dict(view.held)
        cells = [
            (MAKERS, step[1], step[2])
            if step[0] == "makers"
            else (BROKEN if step[0] == "broken" else CONTENT, (step[1], step[2]), step[3])
            for step in steps
        ]
        view.change(*cells)
        leaves = view.mount.leaves()
        for name in NAMES:
            values = [value for call, value in leaves.items() if call.args[0] == name]
            good = [value for value in values if isinstance(value, Encoded)]
            if good:
                assert view.held[name] == good[0]
            elif values and name in before:
                assert name in view.held, "the only replacement fails: the old one stays"
            elif not values and not any(isinstance(value, Failure) for value in leaves.values()):
                assert name not in view.held
        assert set(view.publication.failures) == {c for c, v in leaves.items() if isinstance(v, Failure)}

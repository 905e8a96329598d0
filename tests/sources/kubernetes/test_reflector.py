"""The reflector against a model of an API server that forgets, cuts and refuses."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from dragoman.kube import ApiError
from dragoman.sources.kubernetes.reflector import Reflector
from tests.sources.kubernetes.api_model import ModelApi, Watcher, bookmark, error

A, B, C, D = ("x", "a"), ("x", "b"), ("y", "c"), ("y", "d")
GONE = ApiError(410, "Expired", "too old")
AWAY = ApiError(0, "Unreachable", "away")


def watcher(*, streaming: bool = True, served: bool = True) -> Watcher:
    """Of a server with three objects, listed."""
    api = ModelApi(streaming=served)
    for value, name in enumerate((A, B, C)):
        api.write(name, value)
    found = Watcher(api, Reflector(streaming=streaming, chance=lambda: 0.5))
    found.settle()
    found.deltas.clear()
    return found


@pytest.mark.parametrize(("streaming", "served"), [(True, True), (True, False), (False, True)])
def test_all_is_listed_and_then_watched(streaming: bool, served: bool) -> None:
    mesh = watcher(streaming=streaming, served=served)
    assert mesh.known == {A: 0, B: 1, C: 2}
    mesh.api.write(D, 7)
    mesh.api.delete(A)
    mesh.turn()
    assert mesh.deltas == [(D, 7), (A, None)]


def test_a_server_without_streaming_lists_is_asked_for_pages_from_then_on() -> None:
    mesh = watcher(served=False)
    assert mesh.reflector.lists == 2
    mesh.turn(fault=GONE)
    request = mesh.reflector.request()
    assert not request.stream
    assert "sendInitialEvents" not in request.query


def test_an_error_inside_a_streaming_list_means_pages() -> None:
    api = ModelApi()
    api.write(A, 1)
    mesh = Watcher(api, Reflector(chance=lambda: 0.5))
    reflector = mesh.reflector
    reflector.request()
    assert [delta.name for delta in reflector.event(api.initial()[0])] == [A]
    with pytest.raises(ApiError) as failure:
        list(reflector.event(error(500, "InternalError")))
    assert reflector.ended(failure.value) == 0
    assert not reflector.request().stream


def test_a_server_that_is_away_has_not_refused_a_streaming_list() -> None:
    reflector = Reflector(chance=lambda: 0.5)
    reflector.request()
    assert reflector.ended(AWAY) > 0
    assert "sendInitialEvents" in reflector.request().query


def test_a_cut_watch_goes_on_where_it_was() -> None:
    mesh = watcher()
    mesh.api.write(A, 10)
    mesh.api.write(B, 11)
    mesh.turn(cut_after=1)
    mesh.turn()
    assert mesh.deltas == [(A, 10), (B, 11)]
    assert mesh.reflector.lists == 1


def test_a_bookmark_moves_the_place_to_go_on_from() -> None:
    mesh = watcher()
    for _ in range(5):
        mesh.api.elsewhere()
    mesh.turn(fault=bookmark(mesh.api.version))
    mesh.api.compact()
    mesh.api.write(A, 10)
    mesh.turn()
    assert mesh.deltas == [(A, 10)]
    assert mesh.reflector.lists == 1


@pytest.mark.parametrize("fault", [GONE, error(410, "Expired"), error(500), ApiError(400, "BadRequest", "version")])
def test_what_a_new_list_shows_is_only_what_differs(fault: ApiError | bytes) -> None:
    mesh = watcher()
    mesh.api.write(A, 10)
    mesh.api.delete(B)
    mesh.api.write(D, 13)
    mesh.api.compact()
    mesh.turn(fault=fault)
    mesh.settle()
    assert sorted(mesh.deltas, key=str) == sorted([(A, 10), (B, None), (D, 13)], key=str)
    assert mesh.reflector.lists == 2


def test_an_outage_changes_nothing() -> None:
    mesh = watcher()
    pauses = [mesh.turn(fault=AWAY) for _ in range(20)]
    assert pauses[0] <= 0.2
    assert max(pauses) <= 45
    assert pauses[-1] >= 15
    assert mesh.reflector.error is AWAY
    mesh.turn()
    assert mesh.deltas == []
    assert mesh.reflector.error is None
    assert mesh.reflector.lists == 1


def test_a_restored_server_that_is_behind_is_listed_anew() -> None:
    mesh = watcher()
    cause = {"causes": [{"reason": "ResourceVersionTooLarge"}]}
    mesh.turn(fault=ApiError(504, "Timeout", "Too large resource version", cause))
    assert "sendInitialEvents" in mesh.reflector.request().query


def test_a_watch_that_is_cut_each_second_is_resumed_at_once() -> None:
    reflector = watcher().reflector
    for _ in range(50):
        reflector.request()
        list(reflector.event(bookmark(200)))
        assert reflector.ended(AWAY, lived=1.0) < 0.2


def test_a_storm_of_410_does_not_become_a_storm_of_lists() -> None:
    mesh = watcher()
    waited = 0.0
    for _ in range(40):
        waited += mesh.turn(fault=GONE)
        waited += mesh.turn()
    assert mesh.reflector.lists == 41
    assert waited > 300


def test_a_watch_that_ends_at_once_again_and_again_is_not_hammered() -> None:
    mesh = watcher()
    assert sum(mesh.turn() for _ in range(12)) > 30


def test_one_good_answer_ends_the_back_off() -> None:
    mesh = watcher()
    for _ in range(10):
        mesh.turn(fault=AWAY)
    mesh.api.write(A, 5)
    mesh.turn()
    assert mesh.turn(fault=AWAY) < 0.2


def test_what_is_forbidden_is_asked_for_rarely_and_holds_nobody_up() -> None:
    reflector = Reflector(chance=lambda: 0.5)
    reflector.request()
    assert not reflector.settled
    denied = ApiError(403, "Forbidden", "no")
    # The first refusal may be of the streaming list alone.
    assert reflector.ended(denied) == 0
    assert not reflector.request().stream
    # Nor is one believed of a server that has just started, and has not read the roles yet.
    soon = [reflector.ended(denied) for _ in range(5)]
    assert sum(soon) < 4
    assert not reflector.settled
    reflector.ended(denied)
    assert reflector.settled
    assert not reflector.listed
    assert max(reflector.ended(denied) for _ in range(5)) == 20


def test_a_refusal_that_passes_costs_little() -> None:
    mesh = watcher()
    for _ in range(3):
        mesh.turn(fault=ApiError(403, "Forbidden", "no"))
    mesh.api.write(A, 5)
    assert mesh.turn(fault=ApiError(403, "Forbidden", "no")) < 2


def test_a_server_that_says_when_to_come_again_is_heeded() -> None:
    reflector = watcher().reflector
    reflector.request()
    assert reflector.ended(ApiError(429, "TooManyRequests", "busy", {"retryAfterSeconds": 7})) == 7


def test_what_was_taken_over_is_gone_unless_the_first_list_shows_it() -> None:
    api = ModelApi()
    api.write(A, 1)
    mesh = Watcher(api, Reflector(chance=lambda: 0.5))
    mesh.known = {A: 0, B: 0}
    for name in (A, B):
        mesh.reflector.adopt(name)
    mesh.settle()
    assert mesh.deltas == [(A, 1), (B, None)]


def test_a_selector_goes_with_every_request() -> None:
    api = ModelApi()
    mesh = Watcher(api, Reflector(selector="metadata.name=a"))
    assert mesh.reflector.request().query["fieldSelector"] == "metadata.name=a"
    mesh.settle()
    assert mesh.reflector.request().query["fieldSelector"] == "metadata.name=a"


class Following(RuleBasedStateMachine):
    """Whatever the server does, and whatever becomes of connections: nothing is missed and nothing is said twice."""

    @initialize(streaming=st.booleans(), served=st.booleans())
    def start(self, streaming: bool, served: bool) -> None:
        self.api = ModelApi(streaming=served)
        self.mesh = Watcher(self.api, Reflector(streaming=streaming, chance=lambda: 0.5))

    @rule(name=st.sampled_from((A, B, C, D)))
    def write(self, name: tuple[str, str]) -> None:
        # Another value each time, so that what has not arrived shows.
        self.api.write(name, self.api.version)

    @rule(name=st.sampled_from((A, B, C, D)))
    def delete(self, name: tuple[str, str]) -> None:
        self.api.delete(name)

    @rule()
    def compact(self) -> None:
        self.api.elsewhere()
        self.api.compact()

    @rule(cut=st.none() | st.integers(0, 3))
    def turn(self, cut: int | None) -> None:
        self.mesh.turn(cut_after=cut)

    @rule(fault=st.sampled_from((AWAY, GONE, ApiError(500, "", "no"), error(410), error(500), bookmark(0))))
    def fail(self, fault: ApiError | bytes) -> None:
        self.mesh.turn(fault=bookmark(self.api.version) if fault == bookmark(0) else fault)

    @invariant()
    def ends_up_right(self) -> None:
        if not hasattr(self, "api"):
            return
        assert len(self.mesh.reflector) == len(self.mesh.known)

    def teardown(self) -> None:
        if hasattr(self, "mesh"):
            self.mesh.settle()
            self.mesh.deltas.clear()
            self.mesh.turn(fault=GONE)
            self.mesh.settle()
            assert self.mesh.deltas == []


TestFollowing = Following.TestCase
TestFollowing.settings = settings(max_examples=150, stateful_step_count=30, deadline=None)


@given(st.lists(st.tuples(st.sampled_from((A, B, C, D)), st.integers(0, 2)), max_size=20), st.integers(1, 4))
def test_pages_of_any_size_give_the_same(writes: list[tuple[tuple[str, str], int]], limit: int) -> None:
    api = ModelApi()
    for name, value in writes:
        api.write(name, value)
    mesh = Watcher(api, Reflector(streaming=False, chance=lambda: 0.5), limit=limit)
    mesh.settle()
    assert mesh.known == mesh.truth

"""Pushes that streams share, and which of them are kept."""

import weakref

from dragoman.codec import CLUSTER, ROUTE, Encoded
from xds.push import PushCache
from xds.resource import Resource
from xds.view import View


def resource(name: str, revision: int, size: int = 1000) -> Resource:
    return Resource.of(Encoded.of_payload(ROUTE, name, f"{revision}".encode() * size))


def test_streams_that_need_the_same_get_one_push() -> None:
    pushes, one = PushCache(), resource("a", 1)
    assert pushes.get(ROUTE, (one,)) is pushes.get(ROUTE, (one,))
    assert pushes.get(ROUTE, (one,)) is not pushes.get(ROUTE, (one,), ("b",))
    assert pushes.get(CLUSTER, (one,)) is not pushes.get(ROUTE, (one,))


def test_what_carries_a_version_that_is_served_no_more_goes_and_nothing_else() -> None:
    pushes = PushCache()
    old, other = resource("a", 1), resource("b", 1)
    before, beside = pushes.get(ROUTE, (old,)), pushes.get(ROUTE, (other,))
    both, some = pushes.get(ROUTE, (old, other)), pushes.get_state(ROUTE, (old,), (old,), (), "v")
    state = pushes.get_state(ROUTE, (old,), (old,))
    pushes.superseded(old)
    assert pushes.get(ROUTE, (other,)) is beside
    assert pushes.get(ROUTE, (old, other)) is not both
    assert pushes.get_state(ROUTE, (old,), (old,), (), "v") is not some
    assert pushes.get_state(ROUTE, (old,), (old,)) is state, "a client may name it when it comes back"
    assert pushes.get(ROUTE, (old,)) is not before
    pushes.superseded(other)
    pushes.superseded(other)


def test_a_view_lets_go_of_the_pushes_of_what_it_replaces() -> None:
    view, former = View("v"), Encoded.of_payload(ROUTE, "a", b"1")
    view.apply({(ROUTE, "a"): former})
    push = weakref.ref(view.push(ROUTE, tuple(view.table(ROUTE).values())))
    assert push() is not None
    view.apply({(ROUTE, "a"): Encoded.of_payload(ROUTE, "a", b"2")})
    assert push() is None


def test_pushes_are_bounded_by_their_bytes() -> None:
    pushes = PushCache(limit=30_000)
    listed = [resource(f"{number}", 1) for number in range(20)]
    first = [pushes.get(ROUTE, (one,)) for one in listed]
    again = [pushes.get(ROUTE, (one,)) for one in reversed(listed)]
    kept = sum(push in first for push in again)
    assert 5 <= kept <= 10

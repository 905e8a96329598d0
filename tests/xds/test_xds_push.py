"""Pushes that streams share, and which of them are kept."""

from dragoman.codec import CLUSTER, ROUTE, Encoded
from xds.push import PushCache
from xds.resource import Resource


def resource(name: str, revision: int, size: int = 1000) -> Resource:
    return Resource.of(Encoded.of_payload(ROUTE, name, f"{revision}".encode() * size))


def test_streams_that_need_the_same_get_one_push() -> None:
    pushes, one = PushCache(), resource("a", 1)
    assert pushes.get(ROUTE, (one,)) is pushes.get(ROUTE, (one,))
    assert pushes.get(ROUTE, (one,)) is not pushes.get(ROUTE, (one,), ("b",))
    assert pushes.get(CLUSTER, (one,)) is not pushes.get(ROUTE, (one,))


def test_a_new_version_takes_the_place_of_the_one_before_and_of_nothing_else() -> None:
    pushes = PushCache()
    old, new, other = resource("a", 1), resource("a", 2), resource("b", 1)
    before, beside = pushes.get(ROUTE, (old,)), pushes.get(ROUTE, (other,))
    both, state = pushes.get(ROUTE, (old, other)), pushes.get_state(ROUTE, (old,), (old,))
    pushes.get(ROUTE, (new,))
    assert pushes.get(ROUTE, (other,)) is beside
    assert pushes.get(ROUTE, (old, other)) is both
    assert pushes.get_state(ROUTE, (old,), (old,)) is state, "a client may name it when it comes back"
    assert pushes.get(ROUTE, (old,)) is not before


def test_pushes_are_bounded_by_their_bytes() -> None:
    pushes = PushCache(limit=10_000)
    listed = [resource(f"{number}", 1) for number in range(20)]
    first = [pushes.get(ROUTE, (one,)) for one in listed]
    again = [pushes.get(ROUTE, (one,)) for one in reversed(listed)]
    kept = sum(push in first for push in again)
    assert 5 <= kept <= 10

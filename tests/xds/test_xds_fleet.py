"""What many streams of one view share, and what a view forgets so that they may be many."""

import gc
import weakref

import pytest
from xds_samples import blob, changes

from dragoman.codec import CLUSTER, ENDPOINT, ROUTE, decode
from xds import DeltaRequest, DeltaStream, View
from xds.fresh import WORTHWHILE
from xds.resource import Resource

RESPONSE = "type.googleapis.com/envoy.service.discovery.v3.DeltaDiscoveryResponse"
NAMES = [f"c{number:03}" for number in range(3 * WORTHWHILE)]


def mesh(revision: int = 1) -> dict:
    clusters = (blob(CLUSTER, name, revision, (ENDPOINT, name)) for name in NAMES)
    return changes(*clusters, *(blob(ENDPOINT, name, revision) for name in NAMES))


def view_of_mesh() -> View:
    view = View("v")
    view.apply(mesh())
    return view


class Fleet:
    """One stream of the view, and what it was sent."""

    def __init__(self, view: View, *, chunk: int = 1 << 20) -> None:
        self.stream = DeltaStream((view,), chunk=chunk)
        self.pushes: list[bytes] = []
        self.held: dict[tuple[str, str], bytes] = {}

    def ask(self, type_url: str, *names: str) -> None:
        self.stream.receive(DeltaRequest(type_url, subscribe=names), 0.0)

    def take(self) -> None:
        while (response := self.stream.next_response(0.0)) is not None:
            self.pushes.append(response.data)
            message = decode(RESPONSE, response.data)
            for resource in message.resources:
                self.held[response.type_url, resource.name] = resource.resource.value
            for name in message.removed_resources:
                self.held.pop((response.type_url, name), None)
            self.stream.receive(DeltaRequest(response.type_url, nonce=response.nonce), 0.0)

    def start(self) -> "Fleet":
        self.ask(CLUSTER)
        self.take()
        self.ask(ENDPOINT, *NAMES)
        self.take()
        return self


def held_of(view: View) -> dict[tuple[str, str], bytes]:
    return {(r.type_url, r.name): bytes(r.payload) for r in view.dump()}


@pytest.mark.parametrize("chunk", [1 << 20, 1000])
def test_streams_that_ask_alike_are_sent_the_same_bytes_objects(chunk: int) -> None:
    view = view_of_mesh()
    first, second = Fleet(view, chunk=chunk).start(), Fleet(view, chunk=chunk).start()
    assert first.held == second.held == held_of(view)
    assert len(first.pushes) == len(second.pushes)
    assert all(one is other for one, other in zip(first.pushes, second.pushes, strict=True))


def test_what_changed_since_the_first_stream_began_is_what_the_second_gets() -> None:
    view = view_of_mesh()
    Fleet(view).start()
    view.apply(changes(blob(CLUSTER, NAMES[3], 2, (ENDPOINT, NAMES[3])), blob(ENDPOINT, NAMES[4], 2)))
    view.apply({(CLUSTER, NAMES[5]): None, (ENDPOINT, NAMES[5]): None})
    second = Fleet(view).start()
    assert second.held == held_of(view)


def test_a_stream_that_asks_for_other_names_gets_those() -> None:
    view = view_of_mesh()
    Fleet(view).start()
    other = Fleet(view)
    names = [NAMES[0], *NAMES[2:]]
    other.ask(ENDPOINT, *names)
    other.take()
    assert sorted(name for _, name in other.held) == names


def test_what_changes_while_a_large_response_is_in_flight_follows_its_ack() -> None:
    view = view_of_mesh()
    client = Fleet(view)
    client.ask(CLUSTER)
    response = client.stream.next_response(0.0)
    assert response is not None
    view.apply(changes(blob(CLUSTER, NAMES[7], 2, (ENDPOINT, NAMES[7]))))
    client.stream.receive(DeltaRequest(CLUSTER, nonce=response.nonce), 0.0)
    client.take()
    assert client.held == {(CLUSTER, NAMES[7]): b"2"}
    assert client.stream.idle()


@pytest.mark.parametrize(("limit", "value"), [("COMPACT_BYTES", 10_000), ("COMPACT_AT", 10)])
def test_former_versions_are_let_go(monkeypatch: pytest.MonkeyPatch, limit: str, value: int) -> None:
    """A log keeps what was before: neither a thousand versions of a route configuration that changes all the time, nor
    more small ones than are read of at once."""
    monkeypatch.setattr(f"xds.table.{limit}", value)
    view = View("v")
    client = Fleet(view)
    client.ask(ROUTE, "r")
    former = []
    for revision in range(200):
        encoded = blob(ROUTE, "r", f"{revision:05}" * 200)
        view.apply(changes(encoded))
        former.append(weakref.ref(Resource.of(encoded)))
        client.take()
    view._pushes = type(view._pushes)()  # what encoded responses keep has a limit of its own
    gc.collect()
    alive = sum(reference() is not None for reference in former)
    assert alive <= 20
    assert client.held == held_of(view)

"""What a stream in sync is sent when a log grows is looked for once, and is what looking for it again would find."""

import gc
import weakref
from collections import deque

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from xds_samples import blob, changes

import xds.stream
from dragoman.codec import CLUSTER, ENDPOINT, LISTENER, ROUTE, Encoded, Ref, decode
from xds import DeltaRequest, DeltaStream, Patience, View
from xds.event import Acked
from xds.step import Place, Step

RESPONSE = "type.googleapis.com/envoy.service.discovery.v3.DeltaDiscoveryResponse"
NAMES = ("a", "b", "c")


class ForgetfulView(View):
    """A view whose streams look for themselves."""

    def remember(self, type_url: str, place: Place, step: Step) -> None:
        pass


class Client:
    """A stream, and what was said on it but for nonces; it answers when told to."""

    def __init__(self, view: View, limit: int) -> None:
        self.stream = DeltaStream((view,), chunk=limit, patience=Patience(linger={}))
        self.said: list[object] = []
        self._unanswered: deque[tuple[str, str]] = deque()

    def ask(self, type_url: str, subscribe: tuple[str, ...] = (), unsubscribe: tuple[str, ...] = ()) -> None:
        self.stream.receive(DeltaRequest(type_url, subscribe=subscribe, unsubscribe=unsubscribe), 0.0)

    def take(self) -> None:
        while (response := self.stream.next_response(0.0)) is not None:
            message = decode(RESPONSE, response.data)
            carried = [(resource.name, resource.version) for resource in message.resources]
            self.said.append((response.type_url, carried, list(message.removed_resources)))
            self._unanswered.append((response.type_url, response.nonce))

    def answer(self, error: str | None = None) -> None:
        if self._unanswered:
            type_url, nonce = self._unanswered.popleft()
            events = self.stream.receive(DeltaRequest(type_url, nonce=nonce, error=error), 0.0)
            self.said.append([type(event) for event in events])

    def answer_last(self) -> None:
        self._unanswered.rotate(1)
        self.answer()

    def settle(self) -> None:
        self.take()
        while self._unanswered:
            self.answer()
            self.take()

    def told(self) -> list[tuple[str, ...]]:
        """What it is sent now: types, each with the names."""
        begin = len(self.said)
        self.settle()
        responses = [said for said in self.said[begin:] if isinstance(said, tuple)]
        return [(type_url, *(name for name, _ in carried)) for type_url, carried, _ in responses]


def started(view: View, names: tuple[str, ...] = NAMES, limit: int = 1 << 20) -> Client:
    client = Client(view, limit)
    client.ask(CLUSTER)
    client.settle()
    client.ask(ENDPOINT, names)
    client.ask(ROUTE, names)
    client.settle()
    return client


def mesh(kind: type[View] = View) -> View:
    view = kind("v")
    view.apply(changes(*(made(type_url, name, 0) for type_url in (ENDPOINT, CLUSTER, ROUTE) for name in NAMES)))
    return view


def made(type_url: str, name: str, revision: int) -> Encoded:
    refs: dict[str, tuple[Ref, ...]] = {CLUSTER: ((ENDPOINT, name),), ROUTE: ((CLUSTER, name),)}
    return blob(type_url, name, revision, *refs.get(type_url, ()))


def test_only_the_first_stream_in_sync_looks_for_what_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    view = mesh()
    clients = [started(view) for _ in range(5)]
    looks = []
    due = xds.stream.due
    monkeypatch.setattr(xds.stream, "due", lambda *arguments: looks.append(arguments) or due(*arguments))
    for revision in range(1, 4):
        view.apply(changes(made(ENDPOINT, "a", revision)))
        for client in clients:
            client.take()
            assert not client.stream.idle()
            client.answer()
            assert client.stream.idle()
        assert len(looks) == revision
        assert {tuple(map(str, client.said[-2:])) for client in clients} == {tuple(map(str, clients[0].said[-2:]))}


def test_a_stream_that_takes_less_at_once_is_sent_less_at_once() -> None:
    view = mesh()
    large, *small = started(view), started(view, limit=60), started(view, limit=60)
    view.apply(changes(made(ENDPOINT, "a", 1), made(ENDPOINT, "b", 1)))
    assert large.told() == [(ENDPOINT, "a", "b")]
    small[0].take()
    small[0].answer()
    assert not small[0].stream.idle()
    assert [small[0].told(), small[1].told()] == [[(ENDPOINT, "b")], [(ENDPOINT, "a"), (ENDPOINT, "b")]]


def test_a_stream_with_other_names_is_sent_those() -> None:
    view = mesh()
    everything, some = started(view), started(view, ("b",))
    view.apply(changes(made(ENDPOINT, "a", 1), made(ENDPOINT, "b", 1)))
    assert [everything.told(), some.told()] == [[(ENDPOINT, "a", "b")], [(ENDPOINT, "b")]]


def test_a_wildcard_is_other_than_the_same_names() -> None:
    view = mesh()
    everything, named = started(view), Client(view, 1 << 20)
    named.ask(CLUSTER, ())
    named.ask(CLUSTER, (), ("*",))
    named.settle()
    view.apply(changes(made(CLUSTER, "a", 1)))
    assert (CLUSTER, "a") in everything.told()
    assert named.told() == []


def test_a_stream_that_was_slower_is_sent_what_it_missed_too() -> None:
    view = mesh()
    quick, slow = started(view), started(view)
    view.apply(changes(made(ENDPOINT, "a", 1)))
    quick.settle()
    view.apply(changes(made(ENDPOINT, "b", 1)))
    assert [quick.told(), slow.told()] == [[(ENDPOINT, "b")], [(ENDPOINT, "a", "b")]]


def test_who_rejected_what_others_took_is_not_sent_it_again() -> None:
    view = mesh()
    lenient, strict = started(view), started(view)
    view.apply(changes(made(ENDPOINT, "a", 1)))
    assert lenient.told() == [(ENDPOINT, "a")]
    strict.take()
    strict.answer("bad")
    view.apply(changes(made(ENDPOINT, "a", 0), made(ENDPOINT, "b", 1)))
    assert [lenient.told(), strict.told()] == [[(ENDPOINT, "a", "b")], [(ENDPOINT, "b")]]
    view.apply(changes(made(ENDPOINT, "a", 1)))
    assert [lenient.told(), strict.told()] == [[(ENDPOINT, "a")], []]


def test_news_that_come_with_a_new_subscription_do_not_displace_it() -> None:
    view = mesh()
    first, second = started(view, ("a",)), started(view, ("a",))
    for client in (first, second):
        client.ask(ENDPOINT, ("b",))
        assert not client.stream.idle()
    view.apply(changes(made(ENDPOINT, "a", 1)))
    assert [first.told(), second.told()] == [[(ENDPOINT, "a", "b")]] * 2


def test_a_response_waits_for_the_answer_to_the_one_before() -> None:
    view = View("v")
    view.apply(changes(made(CLUSTER, "a", 0)))
    quick, slow = started(view), started(view)
    for client in (quick, slow):
        client.ask(LISTENER)
        client.take()
        client.ask(ENDPOINT, ("a",))
        client.take()
    quick.settle()
    slow.answer_last()
    view.apply(changes(blob(LISTENER, "l", 1)))
    assert quick.told() == [(LISTENER, "l")]
    slow.take()
    assert slow.said[-1] == [Acked]
    assert slow.told() == [(LISTENER, "l")]


def test_a_route_waits_for_the_clusters_of_a_client_that_has_not_asked_for_them_yet() -> None:
    """Envoy asks for none while one of them warms (ClusterManagerImpl pauses CDS)."""
    view = mesh()
    other, warming = started(view), Client(view, 1 << 20)
    for type_url in (ENDPOINT, ROUTE):
        versions = {name: resource.version for name, resource in view.table(type_url).items()}
        warming.stream.receive(DeltaRequest(type_url, subscribe=NAMES, initial_versions=versions), 0.0)
    warming.settle()
    view.apply(changes(made(ENDPOINT, "a", 1)))
    assert [other.told(), warming.told()] == [[(ENDPOINT, "a")]] * 2
    view.apply(changes(blob(ROUTE, "a", 1, (CLUSTER, "b"))))
    assert [other.told(), warming.told()] == [[(ROUTE, "a")], []]


def test_what_was_looked_at_from_outside_is_still_sent() -> None:
    view = mesh()
    client = started(view)
    view.apply(changes(made(ENDPOINT, "a", 1)))
    assert [status.in_sync for status in client.stream.status()].count(False) == 1
    assert not client.stream.idle()
    assert client.told() == [(ENDPOINT, "a")]


def test_a_view_that_nobody_has_any_more_goes_at_once() -> None:
    """What came while views grow is never looked at by the collector of cycles."""
    view = mesh()
    client = started(view)
    view.apply(changes(made(ENDPOINT, "a", 1)))
    client.settle()
    client.stream.close()
    alive = weakref.ref(view)
    gc.disable()
    try:
        del view, client
        assert alive() is None
    finally:
        gc.enable()


CLIENTS = st.integers(0, 1)
ANY = st.sampled_from(("a", "b"))
SOME = st.sampled_from((ENDPOINT, ROUTE))
REVISION = st.sampled_from((0, 1, 2, None))
ACTIONS = st.one_of(
    st.tuples(st.just("apply"), st.just(ENDPOINT), ANY, REVISION),
    st.tuples(st.just("settle"), CLIENTS),
    st.tuples(st.just("apply"), st.sampled_from((CLUSTER, ENDPOINT, ROUTE)), ANY, REVISION),
    st.tuples(st.just("take"), CLIENTS),
    st.tuples(st.just("answer"), CLIENTS, st.sampled_from((None, None, "Error adding/updating cluster a: bad", "bad"))),
    st.tuples(st.just("subscribe"), CLIENTS, SOME, ANY),
    st.tuples(st.just("unsubscribe"), CLIENTS, SOME, ANY),
    st.tuples(st.just("status"), CLIENTS),
)


@settings(max_examples=500)
@given(actions=st.lists(ACTIONS, max_size=30))
def test_a_view_that_remembers_steps_says_what_one_that_does_not_says(actions: list[tuple]) -> None:
    worlds = []
    for kind in (View, ForgetfulView):
        view = mesh(kind)
        clients = [started(view) for _ in range(2)]
        for action in actions:
            perform(action, view, clients)
            for client in clients:
                client.said.append(client.stream.idle())
        for client in clients:
            client.settle()
            client.said.append(list(client.stream.resources(0.0, 0.0)))
        worlds.append([client.said for client in clients])
    assert worlds[0] == worlds[1]


def perform(action: tuple, view: View, clients: list[Client]) -> None:
    match action:
        case "apply", kind, name, revision:
            view.apply({(kind, name): None if revision is None else made(kind, name, revision)})
        case "take", client:
            clients[client].take()
        case "settle", client:
            clients[client].settle()
        case "answer", client, error:
            clients[client].answer(error)
        case "subscribe", client, type_url, name:
            clients[client].ask(type_url, subscribe=(name,))
        case "unsubscribe", client, type_url, name:
            clients[client].ask(type_url, unsubscribe=(name,))
        case "status", client:
            clients[client].said.append(list(clients[client].stream.resources(0.0, 0.0)))

"""Our own client, wired to the server's stream machines without a network: it asks as Envoy does."""

import pytest
from envoy_data_plane.envoy.config.core.v3 import Node
from xds_samples import changes, cluster, endpoints, listener, route, secret, self_signed, tls

from dragoman.codec import CLUSTER, ENDPOINT, LISTENER, ROUTE, SECRET
from xds import DeltaRequest, DeltaStream, Nacked, Patience, SotwRequest, SotwStream, View
from xds.watcher import Update, Watcher

both = pytest.mark.parametrize("sotw", [False, True], ids=["delta", "sotw"])
PATIENT = Patience(linger={}, wait=1e9)


class Wire:
    """A watcher and the stream that serves it."""

    def __init__(self, view: View, watcher: Watcher, *, sotw: bool) -> None:
        self.view, self.watcher, self.sotw = view, watcher, sotw
        self.nacks: list[Nacked] = []
        self.asked: list[DeltaRequest | SotwRequest] = []
        self.connect()

    def connect(self) -> list[Update]:
        self.stream = (SotwStream if self.sotw else DeltaStream)((self.view,), proxy="me", patience=PATIENT)
        return self.run(self.watcher.connect())

    def run(self, requests: list[bytes] | None = None) -> list[Update]:
        """Carry messages both ways until there are none."""
        updates: list[Update] = []
        waiting = list(requests or ())
        while True:
            for data in waiting:
                request = (SotwRequest if self.sotw else DeltaRequest).parse(data)
                self.asked.append(request)
                self.nacks += [event for event in self.stream.receive(request, 0) if isinstance(event, Nacked)]
            response = self.stream.next_response(0)
            if response is None:
                return updates
            update, waiting = self.watcher.receive(response.data)
            updates.append(update)

    def names(self, type_url: str) -> set[str]:
        return set(self.watcher.held(type_url))


def wired(view: View, *, sotw: bool, **options) -> Wire:
    return Wire(view, Watcher(Node(id="me"), state_of_the_world=sotw, **options), sotw=sotw)


def mesh() -> View:
    view = View("mesh")
    pem = self_signed()
    view.apply(
        changes(
            cluster("a", **tls("cert")), endpoints("a", 1), listener("l", "r"), route("r", "a"), secret("cert", pem)
        )
    )
    return view


@both
def test_follows_references_and_is_in_sync_when_all_is_answered(sotw):
    wire = wired(mesh(), sotw=sotw)
    assert wire.watcher.in_sync
    held = {url: wire.names(url) for url in (CLUSTER, ENDPOINT, LISTENER, ROUTE, SECRET)}
    assert held == {CLUSTER: {"a"}, ENDPOINT: {"a"}, LISTENER: {"l"}, ROUTE: {"r"}, SECRET: {"cert"}}
    order = list(dict.fromkeys(request.type_url for request in wire.asked))
    assert order.index(CLUSTER) < order.index(ENDPOINT) < order.index(LISTENER) < order.index(ROUTE)
    assert [request.node is not None for request in wire.asked] == [True] + [False] * (len(wire.asked) - 1)


@both
def test_says_what_is_added_changed_and_removed(sotw):
    view = mesh()
    wire = wired(view, sotw=sotw)
    view.apply(changes(cluster("b"), endpoints("b", 2)))
    update = next(update for update in wire.run() if update.type_url == CLUSTER)
    assert [seen.name for seen in update.added] == ["b"]
    assert (update.changed, update.removed) == ((), ())
    view.apply(changes(endpoints("a", 1, 7)))
    (update,) = (update for update in wire.run() if update.type_url == ENDPOINT)
    ((before, after),) = update.changed
    assert (len(before.content["endpoints"][0]["lbEndpoints"]), len(after.content["endpoints"][0]["lbEndpoints"])) == (
        1,
        2,
    )
    view.apply({(CLUSTER, "b"): None, (ENDPOINT, "b"): None})
    updates = wire.run()
    assert any("b" in update.removed for update in updates if update.type_url == CLUSTER)
    assert wire.names(CLUSTER) == {"a"}
    assert wire.names(ENDPOINT) == {"a"}, "nothing refers to the other assignment any more"
    assert wire.watcher.in_sync


@both
def test_what_is_missing_is_absent_and_does_not_keep_it_from_being_in_sync(sotw):
    view = View("mesh")
    view.apply(changes(cluster("a")))
    wire = wired(view, sotw=sotw)
    assert wire.watcher.in_sync
    assert wire.names(ENDPOINT) == set()


@both
@pytest.mark.parametrize("bad", [(CLUSTER, "b"), (ENDPOINT, "b"), (LISTENER, "b"), (ROUTE, "b")])
def test_rejects_by_name_and_the_server_finds_the_culprit(sotw, bad):
    type_url, name = bad
    view = mesh()
    wire = wired(view, sotw=sotw, rejects=lambda url, found: (url, found) == bad, message="no good")
    more = {
        CLUSTER: [cluster("b"), endpoints("b", 2)],
        ENDPOINT: [cluster("b"), endpoints("b", 2)],
        LISTENER: [listener("b", "r")],
        ROUTE: [listener("b", "b"), route("b", "a")],
    }[type_url]
    view.apply(changes(*more))
    updates = wire.run()
    rejected = [update for update in updates if update.rejected]
    assert rejected
    assert all("no good" in update.error for update in rejected)
    assert [culprits for nack in wire.nacks if (culprits := nack.culprits)]
    assert name not in wire.names(type_url)
    assert view.blocked().keys() >= {bad}
    assert wire.names(CLUSTER) >= {"a"}


def test_reconnect_says_what_is_held_and_nothing_comes_again():
    wire = wired(mesh(), sotw=False)
    assert wire.connect() == []
    assert wire.watcher.in_sync


def test_reconnect_of_the_state_of_the_world_changes_nothing():
    wire = wired(mesh(), sotw=True)
    updates = wire.connect()
    assert not any(update.added or update.changed or update.removed for update in updates)


@both
def test_type_without_its_referrer_is_asked_for_as_a_whole(sotw):
    wire = wired(mesh(), sotw=sotw, types=(ENDPOINT,))
    assert wire.names(ENDPOINT) == {"a"}
    assert wire.names(CLUSTER) == set()
    assert wire.watcher.in_sync


@both
def test_secrets_are_not_kept(sotw):
    wire = wired(mesh(), sotw=sotw)
    seen = wire.watcher.held(SECRET)["cert"]
    assert seen.content == {"name": "cert", "tlsCertificate": "[redacted]"}
    assert "PRIVATE" not in repr(seen)


@both
def test_what_an_onlooker_accepts_is_no_proof(sotw):
    """An Envoy that rejects it afterwards has it quarantined for all, as if nobody had accepted it."""
    view = mesh()
    onlooker = (SotwStream if sotw else DeltaStream)((view,), patience=PATIENT, onlooker=True)
    watcher = Watcher(Node(id="onlooker"), state_of_the_world=sotw)
    envoy = wired(view, sotw=sotw, rejects=lambda _, name: name == "b")
    view.apply(changes(cluster("b"), endpoints("b", 2)))
    waiting = watcher.connect()
    while waiting:
        for data in waiting:
            onlooker.receive((SotwRequest if sotw else DeltaRequest).parse(data), 0)
        response = onlooker.next_response(0)
        waiting = [] if response is None else watcher.receive(response.data)[1]
    assert "b" in watcher.held(CLUSTER)
    envoy.run()
    assert (CLUSTER, "b") in view.blocked()


@both
def test_what_an_onlooker_rejects_is_kept_from_nobody_else(sotw):
    view = mesh()
    stream = (SotwStream if sotw else DeltaStream)((view,), patience=PATIENT, onlooker=True)
    watcher = Watcher(Node(id="onlooker"), state_of_the_world=sotw, rejects=lambda _, name: name == "a")
    for data in watcher.connect():
        stream.receive((SotwRequest if sotw else DeltaRequest).parse(data), 0)
    update, answers = watcher.receive(stream.next_response(0).data)
    assert [seen.name for seen in update.rejected] == ["a"]
    for data in answers:
        stream.receive((SotwRequest if sotw else DeltaRequest).parse(data), 0)
    assert not view.blocked()

"""Each rule of the state-of-the-world protocol by itself; what it shares with the other is tested there."""

import pytest
from model_envoy import STATE, content, read_any
from xds_samples import blob, changes

from dragoman.codec import CLUSTER, ENDPOINT, LISTENER, ROUTE, SECRET, Encoded, decode
from xds import Acked, Nacked, Patience, SotwRequest, SotwStream, Stale, View
from xds.holding import UNKNOWN, lane
from xds.sotw import MANY
from xds.stream import CHUNK

PATIENCE = Patience(linger={CLUSTER: 10.0}, wait=15.0)


class Client:
    """Drives a stream by hand."""

    def __init__(self, *views: View, chunk: int = CHUNK, aggregated: bool = True) -> None:
        self.stream = SotwStream(views, proxy="p", patience=PATIENCE, chunk=chunk, aggregated=aggregated)
        self.now = 0.0
        self.names: dict[str, tuple[str, ...]] = {}
        self.nonces: dict[str, str] = {}
        self.versions: dict[str, str] = {}

    def ask(self, type_url: str, *names: str, version: str = ""):
        self.names[type_url] = names
        version, nonce = version or self.versions.get(type_url, ""), self.nonces.get(type_url, "")
        return self.stream.receive(SotwRequest(type_url, names=names, version=version, nonce=nonce), self.now)

    def next(self):
        """Return the next response as (type, resource names), or None; "-" before a name that stands for nothing."""
        response = self.stream.next_response(self.now)
        if response is None:
            return None
        message = decode(STATE, response.data)
        assert message.nonce == response.nonce
        assert {resource.type_url for resource in message.resources} <= {response.type_url}
        self.nonces[response.type_url] = response.nonce
        self.last, self.version = response, message.version_info
        found = [read_any(response.type_url, resource.value) for resource in message.resources]
        self.content = {name: held.version for name, held in found}
        return response.type_url, sorted(name if held.version else f"-{name}" for name, held in found)

    def ack(self, type_url: str, error: str | None = None):
        if error is None:
            self.versions[type_url] = self.version
        request = SotwRequest(
            type_url,
            names=self.names.get(type_url, ()),
            version=self.versions.get(type_url, ""),
            nonce=self.nonces[type_url],
            error=error,
        )
        return self.stream.receive(request, self.now)

    def take(self):
        came = []
        while (response := self.next()) is not None:
            came.append(response)
            self.ack(response[0])
        return came

    def in_sync(self) -> bool:
        return all(status.in_sync for status in self.stream.status())


def cluster(name: str, revision: int = 1, *secrets: str) -> Encoded:
    return content(CLUSTER, name, revision, ((ENDPOINT, name), *((SECRET, secret) for secret in secrets)))


def endpoints(name: str, revision: int = 1) -> Encoded:
    return content(ENDPOINT, name, revision)


def route(name: str, *clusters: str, revision: int = 1) -> Encoded:
    return content(ROUTE, name, revision, tuple((CLUSTER, cluster) for cluster in clusters))


def listener(name: str, *routes: str, revision: int = 1) -> Encoded:
    return content(LISTENER, name, revision, tuple((ROUTE, route) for route in routes))


def tcp(name: str, *clusters: str, revision: int = 1) -> Encoded:
    return content(LISTENER, name, revision, tuple((CLUSTER, cluster) for cluster in clusters))


def view_of(*resources: Encoded) -> View:
    view = View("v")
    view.apply(changes(*resources))
    return view


def connected(view: View, *types: str) -> Client:
    client = Client(view)
    for type_url in types or (CLUSTER, ENDPOINT, LISTENER, ROUTE):
        client.ask(type_url, *(view.table(type_url) if type_url in (ENDPOINT, ROUTE) else ()))
        client.take()
    assert client.in_sync()
    return client


class TestSubscriptions:
    @pytest.mark.parametrize("type_url", [CLUSTER, LISTENER])
    @pytest.mark.parametrize("names", [(), ("*",)])
    def test_wildcard_old_and_new(self, type_url, names):
        client = Client(view_of(content(type_url, "a", 1), content(type_url, "b", 1)))
        client.ask(type_url, *names)
        assert client.take() == [(type_url, ["a", "b"])]
        assert client.in_sync()

    def test_wildcard_with_nothing_behind_it_is_answered(self):
        client = Client(View("empty"))
        client.ask(CLUSTER)
        assert client.take() == [(CLUSTER, [])]
        assert client.next() is None

    @pytest.mark.parametrize("type_url", [CLUSTER, ENDPOINT])
    def test_naming_nothing_after_names_unsubscribes(self, type_url):
        """xDS protocol: the old wildcard is no longer to be had once anything was named."""
        view = view_of(content(type_url, "a", 1), content(type_url, "b", 1))
        client = Client(view)
        client.ask(type_url, "a")
        assert client.take() == [(type_url, ["a"])]
        client.ask(type_url)
        # Of types that come in parts the version has to tell what is wanted no more.
        assert client.take() == ([] if type_url == CLUSTER else [(type_url, [])])
        view.apply(changes(content(type_url, "a", 2)))
        assert client.take() == []

    def test_names_without_a_star_leave_the_wildcard(self):
        view = view_of(cluster("a"), cluster("b"))
        client = Client(view)
        client.ask(CLUSTER)
        client.take()
        client.ask(CLUSTER, "a")
        client.take()
        view.apply(changes(cluster("a", 2), cluster("b", 2)))
        assert client.take() == [(CLUSTER, ["a"])]

    def test_only_names_that_are_new_are_sent(self):
        client = Client(view_of(endpoints("a"), endpoints("b")))
        client.ask(ENDPOINT, "a")
        client.take()
        client.ask(ENDPOINT, "a", "b")
        assert client.take() == [(ENDPOINT, ["b"])]

    def test_name_that_came_back_is_sent_again(self):
        client = Client(view_of(endpoints("a"), endpoints("b")))
        client.ask(ENDPOINT, "a", "b")
        client.take()
        client.ask(ENDPOINT, "b")
        client.ask(ENDPOINT, "a", "b")
        assert client.take() == [(ENDPOINT, ["a"])]

    def test_ack_and_new_names_in_one_request(self):
        client = Client(view_of(endpoints("a"), endpoints("b")))
        client.ask(ENDPOINT, "a")
        client.next()
        client.names[ENDPOINT] = ("a", "b")
        acked, _ = client.ack(ENDPOINT)
        assert isinstance(acked, Acked)
        assert client.take() == [(ENDPOINT, ["b"])]

    def test_request_without_a_nonce_begins_anew(self):
        client = connected(view_of(cluster("a"), endpoints("a")), CLUSTER, ENDPOINT)
        client.nonces.clear()
        client.ask(CLUSTER)
        client.ask(ENDPOINT, "a")
        assert client.take() == [(CLUSTER, ["a"]), (ENDPOINT, ["a"])]

    def test_requests_before_the_first_response_add_up(self):
        """They have no nonce to carry: the client did not begin anew."""
        client = Client(view_of(endpoints("a"), endpoints("b")))
        client.ask(ENDPOINT, "a")
        client.ask(ENDPOINT, "a", "b")
        assert client.take() == [(ENDPOINT, ["a", "b"])]
        assert client.next() is None

    def test_name_that_appears_later_is_sent_then(self):
        view = view_of(endpoints("a"))
        client = Client(view)
        client.ask(ENDPOINT, "later")
        client.take()
        view.apply(changes(endpoints("later"), endpoints("unasked")))
        assert client.take() == [(ENDPOINT, ["later"])]


class TestAbsence:
    @pytest.mark.parametrize("type_url", [ENDPOINT, ROUTE])
    def test_missing_name_is_answered_by_an_empty_resource(self, type_url):
        client = Client(view_of(content(type_url, "a", 1)))
        client.ask(type_url, "a", "missing")
        assert client.take() == [(type_url, ["-missing", "a"])]
        assert client.in_sync()

    def test_missing_secret_is_answered_by_nothing(self):
        client = Client(View("empty"))
        client.ask(SECRET, "missing")
        assert client.take() == [(SECRET, [])]

    def test_what_was_removed_is_not_emptied(self):
        """Requests under way still use it, and the client lets go of it with what refers to it."""
        view = view_of(cluster("a"), endpoints("a"))
        client = connected(view, CLUSTER, ENDPOINT)
        view.apply(changes(gone=((ENDPOINT, "a"),)))
        assert client.take() == []
        view.apply(changes(endpoints("a", 2)))
        assert client.take() == [(ENDPOINT, ["a"])]

    def test_rejected_route_is_not_emptied(self):
        """The listener that asks for it would take over with an empty one."""
        view = view_of(route("r"))
        client = Client(view)
        client.ask(ROUTE, "r")
        client.next()
        client.ack(ROUTE, "bad in route r")
        assert view.withheld((ROUTE, "r"))
        later = Client(view)
        later.ask(ROUTE, "r")
        assert later.take() == [(ROUTE, [])]

    @pytest.mark.parametrize("type_url", [CLUSTER, LISTENER])
    def test_what_needs_a_missing_secret_comes_with_it(self, type_url):
        view = view_of(content(type_url, "a", 1), content(type_url, "tls", 1, ((SECRET, "s"),)))
        client = Client(view)
        client.ask(type_url)
        assert client.take() == [(type_url, ["a"])]
        view.apply(changes(content(SECRET, "s", 1)))
        assert client.take() == [(type_url, ["a", "tls"])]

    def test_what_lacks_a_secret_is_in_sync_until_that_is_there(self):
        view = view_of(cluster("a", 1, "s"), endpoints("a"))
        client = Client(view)
        client.ask(CLUSTER)
        client.take()
        assert client.in_sync()
        view.apply(changes(content(SECRET, "s", 1)))
        assert not client.in_sync()
        assert client.take() == [(CLUSTER, ["a"])]
        assert client.in_sync()

    def test_what_comes_to_need_a_missing_secret_stays_as_it_was(self):
        view = view_of(cluster("a"), endpoints("a"))
        client = connected(view, CLUSTER, ENDPOINT)
        before = view.get((CLUSTER, "a")).version
        view.apply(changes(cluster("a", 2, "missing"), cluster("b")))
        assert client.next() == (CLUSTER, ["a", "b"])
        assert client.content["a"] == before

    def test_route_does_not_wait_for_a_cluster_that_waits_for_a_secret(self):
        view = view_of(cluster("a", 1, "missing"), route("r", "a"))
        client = Client(view)
        client.ask(CLUSTER)
        client.take()
        client.ask(ROUTE, "r")
        assert client.take() == [(ROUTE, ["r"])]


class TestReconnect:
    @pytest.mark.parametrize("same_process", [True, False])
    def test_the_first_request_is_answered_though_nothing_changed(self, same_process):
        view = view_of(cluster("a"), endpoints("a"))
        former = connected(view, CLUSTER, ENDPOINT)
        if not same_process:
            view = view_of(cluster("a"), endpoints("a"))
        client = Client(view)
        client.ask(CLUSTER, version=former.versions[CLUSTER])
        client.ask(ENDPOINT, "a", version=former.versions[ENDPOINT])
        assert client.take() == [(CLUSTER, ["a"]), (ENDPOINT, [])]
        assert client.versions == former.versions
        assert client.in_sync()

    MANY = "abcdefgh"

    def many(self, **revisions: int) -> View:
        return view_of(*(endpoints(name, revisions.get(name, 1)) for name in self.MANY))

    def come_back(self, view: View, former: Client, *names: str) -> list[str]:
        """Names that a client gets which comes to this view with what it held, whether of this process or another."""
        client = Client(view)
        client.ask(ENDPOINT, *names, version=former.versions[ENDPOINT])
        came = [name for _, group in client.take() for name in group]
        assert client.in_sync()
        return came

    def test_the_version_tells_what_came_in_parts(self):
        """Whatever the way that led there: a change of one, or all anew."""
        former = connected(self.many(), ENDPOINT)
        former.stream._client.views[0].apply(changes(endpoints("c", 2)))
        assert former.take() == [(ENDPOINT, ["c"])]
        assert self.come_back(self.many(c=2), former, *self.MANY) == []
        assert connected(self.many(c=2), ENDPOINT).versions == former.versions

    def test_the_last_of_many_responses_tells_all(self):
        view = view_of(*(endpoints(f"e{number}") for number in range(MANY + 200)))
        client = Client(view, chunk=20_000)
        client.ask(ENDPOINT, *view.table(ENDPOINT))
        client.next()
        assert client.version == UNKNOWN
        client.ack(ENDPOINT)
        assert len(client.take()) > 1
        assert client.versions == connected(view, ENDPOINT).versions

    def test_what_differs_comes_and_casts_no_doubt_on_all(self):
        former = connected(self.many(), ENDPOINT)
        came = self.come_back(self.many(c=2), former, *self.MANY)
        assert "c" in came
        assert set(came) == {name for name in self.MANY if lane(name) == lane("c")} < set(self.MANY)

    def test_what_is_asked_for_newly_comes(self):
        view = self.many()
        former = Client(view)
        former.ask(ENDPOINT, "a")
        former.take()
        assert "b" in self.come_back(view, former, "a", "b")

    def test_subscriptions_are_told_apart(self):
        view = self.many()
        first, second = Client(view), Client(view)
        first.ask(ENDPOINT, "a", "b")
        second.ask(ENDPOINT, "b", "c")
        assert first.take() != second.take()
        view.apply(changes(endpoints("b", 2)))
        assert first.take() == second.take() == [(ENDPOINT, ["b"])]
        assert first.versions != second.versions
        assert self.come_back(self.many(b=2), first, "a", "b") == []
        assert self.come_back(self.many(b=2), second, "b", "c") == []

    def test_what_is_wanted_no_more_is_not_told(self):
        view = self.many()
        former = connected(view, ENDPOINT)
        former.ask(ENDPOINT, "a", "b")
        assert former.take() == [(ENDPOINT, [])]
        assert self.come_back(view, former, "a", "b") == []

    def test_the_version_is_corrected_before_what_was_dropped_can_be_asked_for_again(self):
        """Else a client that lost its stream then would tell that it holds what it has dropped."""
        view = view_of(listener("l", "r"), route("r"), route("s"))
        client = connected(view, LISTENER, ROUTE)
        view.apply(changes(listener("l", "s", revision=2)))
        client.take()
        client.ask(ROUTE, "s")
        view.apply(changes(listener("l", "r")))
        assert client.take() == [(ROUTE, []), (LISTENER, ["l"])]

    def test_the_version_is_corrected_of_a_client_that_let_go_of_all_as_its_stream_was_lost(self):
        view = view_of(listener("l", "r"), route("r"))
        former = connected(view, LISTENER, ROUTE)
        client = Client(view)
        client.ask(LISTENER, version="without l")
        client.ask(ROUTE, version=former.versions[ROUTE])
        assert client.take()[:2] == [(ROUTE, []), (LISTENER, ["l"])]

    def test_nothing_is_certain_after_a_response_that_was_rejected(self):
        view = view_of(route("r"), route("s"))
        former = connected(view, ROUTE)
        view.apply(changes(route("r", revision=2), route("s", revision=2)))
        former.next()
        former.ack(ROUTE, error="one of them is bad")
        former.next()
        assert former.version == UNKNOWN

    def test_what_the_client_has_of_a_former_process_goes_though_the_first_response_is_rejected(self):
        view = view_of(cluster("bad"))
        client = Client(view)
        client.ask(CLUSTER, version="of another process")
        client.now = client.stream.deadline() if client.next() is None else client.now
        assert client.next() == (CLUSTER, ["bad"])
        client.ack(CLUSTER, error="bad: it is bad")
        assert client.take() == [(CLUSTER, [])]

    def test_what_the_client_holds_lingers_as_if_it_had_not_gone(self):
        view = view_of(cluster("old"), cluster("same"))
        former = connected(view, CLUSTER)
        view.apply(changes(cluster("new"), gone=((CLUSTER, "old"),)))
        client = Client(view)
        client.ask(CLUSTER, version=former.versions[CLUSTER])
        assert client.take() == [(CLUSTER, ["new", "old", "same"])]
        client.now = client.stream.deadline()
        assert client.take() == [(CLUSTER, ["new", "same"])]
        assert client.in_sync()

    def test_nothing_is_left_out_while_it_is_not_known_what_the_client_holds(self):
        """A listener that has to wait for a cluster would be removed by a response without it."""
        view = view_of(cluster("a", 2), endpoints("a"), tcp("l", "a"), listener("m"))
        client = Client(view)
        client.ask(CLUSTER, version="of another process")
        client.ask(LISTENER, version="of another process")
        assert client.next() is None
        client.now = client.stream.deadline()
        assert client.next() == (CLUSTER, ["a"])
        assert client.next() is None
        client.ack(CLUSTER)
        assert client.take() == [(LISTENER, ["l", "m"])]

    def restarted(self, view: View) -> Client:
        """A client of a former process, which had the clusters "old" and "same"."""
        client = Client(view)
        client.ask(CLUSTER, version="of another process")
        client.ask(ENDPOINT, "old", "same", version="of another process")
        client.ask(LISTENER, version="of another process")
        client.ask(ROUTE, "r", version="of another process")
        return client

    def test_after_a_restart_clusters_that_went_go_after_the_routes_that_name_them(self):
        """Leaving them out removes them, and their bytes are gone with the former process."""
        view = view_of(cluster("same"), endpoints("same"), listener("l", "r"), route("r", "same", revision=2))
        client = self.restarted(view)
        assert client.take() == [(ENDPOINT, ["same"]), (ROUTE, ["r"]), (LISTENER, ["l"])]
        assert client.stream.deadline() == PATIENCE.lingers(CLUSTER)
        client.now = client.stream.deadline()
        assert client.take() == [(CLUSTER, ["same"]), (ENDPOINT, ["same"])]
        assert client.in_sync()

    def test_after_a_restart_nothing_waits_if_no_cluster_went(self):
        view = view_of(cluster("old"), cluster("same", 2), endpoints("old"), endpoints("same"), listener("l"))
        assert self.restarted(view).next() == (CLUSTER, ["old", "same"])

    def test_after_a_restart_what_needs_a_new_cluster_cannot_come_before_it(self):
        view = view_of(cluster("new"), cluster("same"), endpoints("same"), listener("l", "r"), route("r", "new"))
        client = self.restarted(view)
        came = client.take()
        assert [type_url for type_url, _ in came if type_url != ENDPOINT] == [CLUSTER, ROUTE, LISTENER]

    def test_removed_endpoints_that_may_be_held_are_not_emptied(self):
        client = Client(view_of(cluster("warms")))
        client.ask(CLUSTER, version="former")
        client.now = client.stream.deadline() if client.next() is None else client.now
        client.take()
        client.ask(ENDPOINT, "lingers", "warms", version="former")
        assert client.take() == [(ENDPOINT, ["-warms"])]

    def test_route_that_may_be_held_is_not_emptied(self):
        """Also if more is asked for before the first response: the names are no news."""
        client = Client(view_of(route("s")))
        client.ask(ROUTE, "r", version="former")
        client.ask(ROUTE, "r", "s", version="former")
        assert client.take() == [(ROUTE, ["s"])]

    def test_who_wants_nothing_more_is_heard_though_its_last_word_is_late(self):
        """Envoy answers no response of a type of which it wants nothing."""
        client = Client(view_of(route("r"), route("s")))
        client.ask(ROUTE, "r", "s")
        client.take()
        client.ask(ROUTE, "s")
        late = client.nonces[ROUTE]
        assert client.next() == (ROUTE, [])
        client.nonces[ROUTE] = late
        client.ask(ROUTE)
        client.take()
        assert client.in_sync()

    def test_nonce_of_a_former_stream_is_void(self):
        client = Client(view_of(cluster("a")))
        client.nonces[CLUSTER] = "former"
        client.ask(CLUSTER)
        assert client.take() == [(CLUSTER, ["a"])]


class TestDelivery:
    def test_stale_nonce_is_void_with_its_names(self):
        client = Client(view_of(endpoints("a"), endpoints("b")))
        client.ask(ENDPOINT, "a")
        client.next()
        (event,) = client.stream.receive(SotwRequest(ENDPOINT, names=("a", "b"), nonce="old"), 0.0)
        assert isinstance(event, Stale)
        assert client.next() is None
        client.ack(ENDPOINT)
        assert client.in_sync()

    def test_what_is_said_again_is_not_acked_by_a_request_for_more_that_crosses_it(self):
        client = Client(view_of(route("r"), route("s")))
        client.ask(ROUTE, "r")
        client.take()
        before = client.nonces[ROUTE]
        client.stream.receive(SotwRequest(ROUTE, names=("r",)), 0.0)
        assert client.next() == (ROUTE, ["r"])
        (event,) = client.stream.receive(SotwRequest(ROUTE, names=("r", "s"), nonce=before), 0.0)
        assert isinstance(event, Stale)

    def test_repeated_ack_sends_nothing(self):
        client = connected(view_of(cluster("a")), CLUSTER)
        assert client.ack(CLUSTER) == []
        assert client.take() == []

    def test_a_change_of_one_cluster_says_all_and_of_one_assignment_only_that(self):
        view = view_of(cluster("a"), cluster("b"), endpoints("a"), endpoints("b"))
        client = connected(view, CLUSTER, ENDPOINT)
        view.apply(changes(endpoints("b", 2)))
        assert client.take() == [(ENDPOINT, ["b"])]
        view.apply(changes(cluster("b", 2)))
        # Its endpoints follow: it warms anew, and Envoy does not ask for them (envoyproxy/envoy issue 13009).
        assert client.take() == [(CLUSTER, ["a", "b"]), (ENDPOINT, ["b"])]

    def test_equal_states_are_one_object_over_several_views(self):
        outbound, inbound = view_of(cluster("a")), view_of(cluster("in"))
        clients = [Client(outbound, inbound) for _ in range(3)]
        for client in clients:
            client.ask(CLUSTER)
            assert client.next() == (CLUSTER, ["a", "in"])
        assert len({id(client.last.data) for client in clients}) == 1

    def test_ack_is_good_for_every_view_of_the_response(self):
        views = view_of(cluster("a")), view_of(cluster("in"))
        client = Client(*views)
        client.ask(CLUSTER)
        client.take()
        for view, name in zip(views, ("a", "in"), strict=True):
            good = view.get((CLUSTER, name))
            view.apply(changes(cluster(name, 2)))
            client.next()
            client.ack(CLUSTER, f"Error adding/updating cluster(s) {name}: bad")
            assert view.get((CLUSTER, name)) is good


class TestOrder:
    def test_old_and_new_then_new(self):
        view = view_of(cluster("a"), endpoints("a"), listener("l", "r"), route("r", "a"))
        client = connected(view)
        view.apply(changes(cluster("b"), endpoints("b"), route("r", "b"), gone=((CLUSTER, "a"), (ENDPOINT, "a"))))
        assert client.next() == (CLUSTER, ["a", "b"])
        assert client.next() is None
        client.ack(CLUSTER)
        assert client.take() == [(ROUTE, ["r"])]
        client.now = client.stream.deadline()
        assert client.take() == [(CLUSTER, ["b"])]

    def test_cluster_goes_as_soon_as_a_route_that_cannot_be_said_to_be_gone_is_let_go_of(self):
        client = connected(view := view_of(cluster("a"), endpoints("a"), route("r", "a")))
        view.apply(changes(gone=((ROUTE, "r"), (CLUSTER, "a"), (ENDPOINT, "a"))))
        assert client.next() is None
        assert client.stream.deadline() == client.now
        assert client.next() is None
        assert client.stream.deadline() == 10.0
        client.now = 10.0
        assert client.next() == (CLUSTER, [])

    def test_listener_that_waits_is_said_as_it_was(self):
        view = view_of(cluster("a"), endpoints("a"), tcp("l", "a"), listener("m"))
        client = connected(view)
        before = view.get((LISTENER, "l")).version
        view.apply(changes(cluster("b"), tcp("l", "b", revision=2), listener("m", revision=2)))
        assert client.next() == (CLUSTER, ["a", "b"])
        assert client.next() == (LISTENER, ["l", "m"])
        assert client.content["l"] == before
        assert client.content["m"] == view.get((LISTENER, "m")).version


class TestRejection:
    def test_named_culprit_is_replaced_by_the_last_good_and_the_rest_goes_on(self):
        view = view_of(cluster("a"), cluster("b"))
        client = connected(view, CLUSTER)
        good = view.get((CLUSTER, "a")).version
        view.apply(changes(cluster("a", 2), cluster("b", 2), cluster("c")))
        client.next()
        (event,) = client.ack(CLUSTER, "Error adding/updating cluster(s) a: bad")
        assert isinstance(event, Nacked)
        assert [name for name, _ in event.culprits] == ["a"]
        assert client.take() == [(CLUSTER, ["a", "b", "c"])]
        assert client.content["a"] == good
        assert client.content["b"] == view.get((CLUSTER, "b")).version
        assert client.in_sync()

    def test_unnamed_culprit_is_found_by_halves_while_the_rest_is_said_as_it_was(self):
        names = ["a", "b", "c", "d"]
        view = view_of(*(cluster(name) for name in names))
        client = connected(view, CLUSTER)
        view.apply(changes(*(cluster(name, 2) for name in names)))
        bad = view.get((CLUSTER, "c")).version
        said = 0
        while (response := client.next()) is not None:
            assert response == (CLUSTER, names)
            said += 1
            client.ack(CLUSTER, "something is wrong" if client.content["c"] == bad else None)
        assert [rejection.name for rejection in view.rejections()] == ["c"]
        assert said <= 7
        assert client.in_sync()

    def test_removal_beside_a_rejected_change_is_said_again(self):
        view = view_of(cluster("a"), cluster("b"))
        client = connected(view, CLUSTER)
        view.apply(changes(gone=((CLUSTER, "b"),)))
        assert client.take() == []
        client.now = 11.0
        view.apply(changes(cluster("a", 2)))
        assert client.next() == (CLUSTER, ["a"])
        client.ack(CLUSTER, "Error adding/updating cluster(s) a: bad")
        assert client.take() == [(CLUSTER, ["a"])]
        assert client.in_sync()


def test_large_states_are_not_cut():
    client = Client(view_of(*(cluster(f"c{n}") for n in range(10_000))))
    client.ask(CLUSTER)
    ((_, names),) = client.take()
    assert len(names) == 10_000


def test_large_updates_of_other_types_are_cut_into_chunks():
    view = view_of(*(blob(ENDPOINT, f"e{n}", "{" + "x" * 100_000) for n in range(10)))
    stream = SotwStream((view,), chunk=300_000)
    stream.receive(SotwRequest(ENDPOINT, names=tuple(view.table(ENDPOINT))), 0.0)
    response = stream.next_response(0.0)
    assert response is not None
    assert 0 < response.count < 10


class TestEndpointsBeforeClusters:
    """Envoy pauses CDS while a cluster warms: on a new stream it asks for clusters only once it has the endpoints."""

    @staticmethod
    def again(*gone: str, aggregated: bool = True) -> Client:
        """A client that comes back with two clusters, of which some have gone meanwhile, and asks for endpoints."""
        view = view_of(cluster("a"), endpoints("a"), cluster("b"), endpoints("b"))
        version = connected(view, CLUSTER, ENDPOINT).versions[ENDPOINT]
        view.apply(changes(gone=tuple((kind, name) for name in gone for kind in (CLUSTER, ENDPOINT))))
        client = Client(view, aggregated=aggregated)
        client.ask(ENDPOINT, "a", "b", version=version)
        return client

    def test_it_gets_them_though_it_has_them(self):
        assert self.again().take() == [(ENDPOINT, ["a", "b"])]

    def test_a_cluster_that_has_gone_warms_too(self):
        assert self.again("b").take() == [(ENDPOINT, ["-b", "a"])]

    def test_of_endpoints_alone_nothing_is_said_twice_nor_taken_away(self):
        assert self.again("b", aggregated=False).take() == [(ENDPOINT, [])]

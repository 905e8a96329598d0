"""Each rule of the incremental protocol, and each thing seen on a real Envoy, by itself."""

import pytest
from model_envoy import RESPONSE, content
from xds_samples import blob, changes

from dragoman.codec import CLUSTER, ENDPOINT, LISTENER, ROUTE, SECRET, Encoded, decode
from xds import Acked, DeltaRequest, DeltaStream, Nacked, Patience, Resource, Stale, View
from xds.subscription import MAX_LENGTH, MAX_NAMES, MAX_TYPES, LimitExceededError

PATIENCE = Patience(linger={CLUSTER: 10.0}, wait=15.0)


class Client:
    """Drives a stream by hand."""

    def __init__(self, *views: View, chunk: int = 1 << 20) -> None:
        self.stream = DeltaStream(views, proxy="p", patience=PATIENCE, chunk=chunk)
        self.now = 0.0
        self.nonces: dict[str, str] = {}

    def ask(self, type_url: str, *names: str, drop: tuple[str, ...] = (), known: dict[str, str] | None = None):
        request = DeltaRequest(type_url, subscribe=names, unsubscribe=drop, initial_versions=known or {})
        return self.stream.receive(request, self.now)

    def next(self):
        """Return the next response as (type, resource names, removed names), or None."""
        response = self.stream.next_response(self.now)
        if response is None:
            return None
        message = decode(RESPONSE, response.data)
        self.nonces[response.type_url] = response.nonce
        self.last = response
        names = [resource.name for resource in message.resources]
        return response.type_url, names, list(message.removed_resources)

    def ack(self, type_url: str, error: str | None = None):
        return self.stream.receive(DeltaRequest(type_url, nonce=self.nonces[type_url], error=error), self.now)

    def take(self):
        """Take everything there is, ACKing each; return what came."""
        came = []
        while (response := self.next()) is not None:
            came.append(response)
            self.ack(response[0])
        return came

    def in_sync(self) -> bool:
        return all(status.in_sync for status in self.stream.status())


def cluster(name: str, revision: int = 1, **bad: str) -> Encoded:
    return content(CLUSTER, name, revision, ((ENDPOINT, name),), **bad)


def endpoints(name: str, revision: int = 1) -> Encoded:
    return content(ENDPOINT, name, revision)


def route(name: str, *clusters: str, revision: int = 1) -> Encoded:
    return content(ROUTE, name, revision, tuple((CLUSTER, cluster) for cluster in clusters))


def listener(name: str, *routes: str, revision: int = 1) -> Encoded:
    return content(LISTENER, name, revision, tuple((ROUTE, route) for route in routes))


def view_of(*resources: Encoded) -> View:
    view = View("v")
    view.apply(changes(*resources))
    return view


def connected(view: View) -> Client:
    """A client in sync with clusters, endpoints, listeners and routes of a view."""
    client = Client(view)
    client.ask(CLUSTER)
    client.take()
    client.ask(ENDPOINT, *view.table(ENDPOINT))
    client.take()
    client.ask(LISTENER)
    client.take()
    client.ask(ROUTE, *view.table(ROUTE))
    client.take()
    assert client.in_sync()
    return client


class TestSubscriptions:
    @pytest.mark.parametrize("type_url", [CLUSTER, LISTENER])
    def test_first_empty_subscription_means_everything(self, type_url):
        """xDS protocol, "How the client specifies what resources to return": legacy wildcard of LDS and CDS."""
        client = Client(view_of(blob(type_url, "a", 1), blob(type_url, "b", 1)))
        client.ask(type_url)
        assert client.next() == (type_url, ["a", "b"], [])

    def test_explicit_wildcard_means_everything(self):
        client = Client(view_of(endpoints("a"), endpoints("b")))
        client.ask(ENDPOINT, "*")
        assert client.next() == (ENDPOINT, ["a", "b"], [])

    def test_empty_subscription_of_another_type_means_nothing(self):
        client = Client(view_of(endpoints("a")))
        client.ask(ENDPOINT)
        assert client.next() is None

    def test_wildcard_with_nothing_behind_it_is_answered_by_an_empty_response(self):
        """Else Envoy waits for initial_fetch_timeout before it goes on."""
        client = Client(View("empty"))
        client.ask(CLUSTER)
        assert client.take() == [(CLUSTER, [], [])]
        assert client.next() is None

    def test_every_subscribed_name_is_answered(self):
        """An unanswered name withholds the ACK of all later cluster updates."""
        client = Client(view_of(endpoints("a")))
        client.ask(ENDPOINT, "a", "missing")
        assert client.take() == [(ENDPOINT, ["a"], ["missing"])]

    def test_name_that_appears_later_is_sent_then(self):
        view = view_of(endpoints("a"))
        client = Client(view)
        client.ask(ENDPOINT, "later")
        client.take()
        view.apply(changes(endpoints("later"), endpoints("unasked")))
        assert client.take() == [(ENDPOINT, ["later"], [])]

    def test_subscribing_again_sends_again(self):
        """xDS protocol: the client may have dropped the resource before it asked anew."""
        client = Client(view_of(endpoints("a"), endpoints("b")))
        client.ask(ENDPOINT, "a", "b")
        client.take()
        client.ask(ENDPOINT, "a")
        assert client.take() == [(ENDPOINT, ["a"], [])]

    def test_subscribing_a_missing_name_again_is_answered_again(self):
        client = Client(View("empty"))
        client.ask(ENDPOINT, "a")
        client.take()
        client.ask(ENDPOINT, "a")
        assert client.take() == [(ENDPOINT, [], ["a"])]

    def test_unsubscribed_name_is_not_updated(self):
        view = view_of(endpoints("a"), endpoints("b"))
        client = Client(view)
        client.ask(ENDPOINT, "a", "b")
        client.take()
        client.ask(ENDPOINT, drop=("a",))
        view.apply(changes(endpoints("a", 2), endpoints("b", 2)))
        assert client.take() == [(ENDPOINT, ["b"], [])]

    def test_unsubscribing_during_flight_forgets_the_name(self):
        view = view_of(endpoints("a"))
        client = Client(view)
        client.ask(ENDPOINT, "a")
        client.next()
        client.ask(ENDPOINT, drop=("a",))
        client.ack(ENDPOINT)
        view.apply(changes(endpoints("a", 2)))
        assert client.next() is None
        assert client.in_sync()

    def test_unsubscribing_a_name_under_a_wildcard_tells_whether_it_stays(self):
        """xDS protocol: after the unsubscription the client cannot know whether the wildcard covers the name."""
        client = Client(view_of(cluster("a")))
        client.ask(CLUSTER, "*", "a", "ondemand")
        client.take()
        client.ask(CLUSTER, drop=("a", "ondemand"))
        assert client.take() == [(CLUSTER, ["a"], [])]

    def test_leaving_the_wildcard_keeps_the_names(self):
        view = view_of(cluster("a"), cluster("b"))
        client = Client(view)
        client.ask(CLUSTER, "*", "a")
        client.take()
        client.ask(CLUSTER, drop=("*",))
        view.apply(changes(cluster("a", 2), cluster("b", 2)))
        assert client.take() == [(CLUSTER, ["a"], [])]

    def test_on_demand_name_beside_the_wildcard_is_answered(self):
        client = Client(view_of(cluster("a")))
        client.ask(CLUSTER)
        client.take()
        client.ask(CLUSTER, "nowhere")
        assert client.take() == [(CLUSTER, [], ["nowhere"])]


class TestReconnect:
    def test_only_differences_are_sent(self):
        view = view_of(cluster("same"), cluster("changed", 2), cluster("new"))
        known = {"same": view.get((CLUSTER, "same")).version, "changed": "old", "gone": "old"}
        client = Client(view)
        client.ask(CLUSTER, known=known)
        assert client.take() == [(CLUSTER, ["changed", "new"], [])]
        client.now = client.stream.deadline()
        assert client.take() == [(CLUSTER, [], ["gone"])]
        assert client.in_sync()

    def test_nothing_is_sent_when_nothing_changed(self):
        view = view_of(cluster("a"), endpoints("a"))
        client = Client(view)
        client.ask(CLUSTER, known={"a": view.get((CLUSTER, "a")).version})
        client.ask(ENDPOINT, "a", known={"a": view.get((ENDPOINT, "a")).version})
        assert client.take() == []
        assert client.in_sync()

    def test_endpoints_of_a_changed_cluster_are_sent_though_known(self):
        """The cluster's update arrives before the client's request for endpoints does."""
        view = view_of(cluster("a", 2), endpoints("a"))
        client = Client(view)
        client.ask(CLUSTER, known={"a": "old"})
        assert client.next() == (CLUSTER, ["a"], [])
        client.ask(ENDPOINT, "a", known={"a": view.get((ENDPOINT, "a")).version})
        assert client.next() == (ENDPOINT, ["a"], [])


class TestDelivery:
    def test_one_response_in_flight_and_the_latest_wins(self):
        view = view_of(endpoints("a"))
        client = Client(view)
        client.ask(ENDPOINT, "a")
        client.next()
        for revision in (2, 3, 4):
            view.apply(changes(endpoints("a", revision)))
            assert client.next() is None
        client.ack(ENDPOINT)
        assert client.next() == (ENDPOINT, ["a"], [])
        assert view.get((ENDPOINT, "a")).version.encode() in client.last.data
        client.ack(ENDPOINT)
        assert client.next() is None

    def test_going_back_to_what_the_client_holds_sends_nothing(self):
        view = view_of(endpoints("a"))
        client = Client(view)
        client.ask(ENDPOINT, "a")
        client.take()
        view.apply(changes(endpoints("a", 2)))
        view.apply(changes(endpoints("a", 1)))
        assert client.next() is None

    def test_types_do_not_wait_for_each_other(self):
        """A cluster's ACK is withheld until its endpoints come: they must not wait for that ACK."""
        client = Client(view_of(cluster("a"), endpoints("a")))
        client.ask(CLUSTER)
        assert client.next() == (CLUSTER, ["a"], [])
        client.ask(ENDPOINT, "a")
        assert client.next() == (ENDPOINT, ["a"], [])

    def test_stale_nonce_changes_nothing(self):
        client = Client(view_of(endpoints("a")))
        client.ask(ENDPOINT, "a")
        client.next()
        (event,) = client.stream.receive(DeltaRequest(ENDPOINT, nonce="other"), 0.0)
        assert isinstance(event, Stale)
        assert not client.in_sync()
        (event,) = client.ack(ENDPOINT)
        assert isinstance(event, Acked)
        assert client.in_sync()

    def test_ack_and_subscription_in_one_request(self):
        client = Client(view_of(endpoints("a"), endpoints("b")))
        client.ask(ENDPOINT, "a")
        client.next()
        client.stream.receive(DeltaRequest(ENDPOINT, subscribe=("b",), nonce=client.last.nonce), 0.0)
        assert client.take() == [(ENDPOINT, ["b"], [])]

    def test_large_updates_are_cut_into_chunks(self):
        client = Client(view_of(*(blob(ENDPOINT, f"e{n}", "x" * 100) for n in range(10))), chunk=500)
        client.ask(ENDPOINT, "*")
        came = client.take()
        assert len(came) > 2
        assert sorted(name for _, names, _ in came for name in names) == sorted(f"e{n}" for n in range(10))

    def test_equal_pushes_are_one_object(self):
        view = view_of(cluster("a"), cluster("b"))
        clients = [Client(view) for _ in range(3)]
        for client in clients:
            client.ask(CLUSTER)
            client.take()
        view.apply(changes(cluster("b", 2)))
        for client in clients:
            assert client.next() == (CLUSTER, ["b"], [])
        assert len({id(client.last.data) for client in clients}) == 1

    def test_slow_stream_survives_the_compaction_of_the_log(self):
        view = view_of(endpoints("a"))
        client = Client(view)
        client.ask(ENDPOINT, "*")
        client.take()
        for revision in range(5000):
            view.apply(changes(endpoints("a", revision), endpoints(f"b{revision % 3}", revision)))
        assert client.take() == [(ENDPOINT, ["a", "b0", "b1", "b2"], [])]

    def test_change_of_views_sends_the_difference(self):
        shared, mine, other = (
            view_of(cluster("s")),
            view_of(cluster("m"), cluster("x")),
            view_of(cluster("o"), cluster("x")),
        )
        client = Client(shared, mine)
        client.ask(CLUSTER)
        client.take()
        client.stream.set_views((shared, other))
        assert client.take() == [(CLUSTER, ["o"], [])]
        client.now = 11.0
        assert client.take() == [(CLUSTER, [], ["m"])]
        assert mine.followers == 0

    def test_closed_stream_lets_go_of_its_views(self):
        view = view_of(cluster("a"))
        client = Client(view)
        assert view.followers == 1
        client.stream.close()
        assert view.followers == 0


class TestOrder:
    def test_endpoints_of_a_changed_cluster_are_sent_again(self):
        """Envoy warms it anew without asking, and withholds the ACK (envoyproxy/envoy issue 13009)."""
        view = view_of(cluster("a"), endpoints("a"))
        client = connected(view)
        view.apply(changes(cluster("a", 2)))
        assert client.next() == (CLUSTER, ["a"], [])
        assert client.next() == (ENDPOINT, ["a"], [])

    def test_endpoints_in_flight_are_sent_again_after_the_cluster(self):
        view = view_of(cluster("a"), endpoints("a"))
        client = connected(view)
        view.apply(changes(endpoints("a", 2)))
        assert client.next() == (ENDPOINT, ["a"], [])
        view.apply(changes(cluster("a", 2)))
        assert client.next() == (CLUSTER, ["a"], [])
        client.ack(ENDPOINT)
        assert client.next() == (ENDPOINT, ["a"], [])

    def test_route_waits_for_the_cluster_it_names(self):
        view = view_of(cluster("a"), endpoints("a"), listener("l", "r"), route("r", "a"))
        client = connected(view)
        view.apply(changes(cluster("b"), endpoints("b"), route("r", "b", revision=2)))
        assert client.next() == (CLUSTER, ["b"], [])
        assert client.next() is None
        (status,) = [status for status in client.stream.status() if status.type_url == ROUTE]
        assert status.waits_for == (CLUSTER, "b")
        client.ack(CLUSTER)
        assert client.next() == (ROUTE, ["r"], [])

    def test_route_that_names_nothing_new_does_not_wait(self):
        view = view_of(cluster("a"), endpoints("a"), route("r", "a"), route("q", "a"))
        client = connected(view)
        view.apply(changes(cluster("b"), route("r", "b", revision=2), route("q", "a", revision=2)))
        assert client.next() == (CLUSTER, ["b"], [])
        assert client.next() == (ROUTE, ["q"], [])

    def test_wait_has_a_deadline_that_is_counted(self):
        view = view_of(cluster("a"), endpoints("a"), route("r", "a"))
        client = connected(view)
        view.apply(changes(cluster("b"), route("r", "b", revision=2)))
        client.next()
        assert client.next() is None
        assert client.stream.deadline() == 15.0
        client.now = 15.0
        assert client.next() == (ROUTE, ["r"], [])
        assert client.last.overdue == ("r",)
        assert sum(status.overdue for status in client.stream.status()) == 1

    def test_cluster_goes_after_the_route_and_lingers(self):
        """A request that is delayed or retried still holds the old cluster after the ACK of the new route."""
        view = view_of(cluster("a"), endpoints("a"), cluster("b"), endpoints("b"), route("r", "a"))
        client = connected(view)
        view.apply(changes(route("r", "b", revision=2), gone=((CLUSTER, "a"), (ENDPOINT, "a"))))
        assert client.next() == (ROUTE, ["r"], [])
        assert client.next() is None
        client.now = 12.0
        assert client.next() is None
        client.ack(ROUTE)
        assert client.next() is None
        assert client.stream.deadline() == 22.0
        client.now = 22.0
        assert client.next() == (CLUSTER, [], ["a"])
        assert client.next() is None
        client.ask(ENDPOINT, drop=("a",))
        client.ack(CLUSTER)
        assert client.next() is None
        assert client.in_sync()

    def test_cluster_waits_for_the_routes_of_a_listener_that_is_acked_but_warms(self):
        """Envoy ACKs the listener at once; until its new routes are there the one before serves on."""
        view = view_of(cluster("a"), endpoints("a"), cluster("b"), endpoints("b"), listener("l", "r"), route("r", "a"))
        client = connected(view)
        gone = ((ROUTE, "r"), (CLUSTER, "a"), (ENDPOINT, "a"))
        view.apply(changes(listener("l", "q", revision=2), route("q", "b"), gone=gone))
        assert client.next() == (LISTENER, ["l"], [])
        client.ack(LISTENER)
        client.now = 11.0
        assert client.next() is None
        client.ask(ROUTE, "q")
        assert client.next() == (ROUTE, ["q"], [])
        assert client.next() is None
        client.ack(ROUTE)
        assert client.next() == (ROUTE, [], ["r"])
        assert client.next() is None
        client.now = 21.0
        assert client.next() == (CLUSTER, [], ["a"])

    def test_cluster_waits_for_the_routes_of_a_listener_that_a_client_came_with_while_they_were_withheld(self):
        """It was ACKed once, to wait for routes that were rejected: the one before it may serve on."""
        parts = [cluster("a"), endpoints("a"), cluster("b"), endpoints("b"), listener("l", "q"), route("q", "a")]
        view = view_of(*parts)
        other = Client(view)
        other.ask(ROUTE, "q")
        other.next()
        other.ack(ROUTE, "it is bad")
        assert view.withheld((LISTENER, "l"))
        client = Client(view)
        versions = {(part.type_url, part.name): part.version for part in parts}
        for kind, names in ((CLUSTER, ()), (ENDPOINT, ("a", "b")), (LISTENER, ())):
            client.ask(kind, *names, known={name: v for (of, name), v in versions.items() if of == kind})
        client.ask(ROUTE, "q", "r", known={"r": "of the listener before"})
        client.take()
        view.apply(changes(route("q", "b", revision=2), gone=((CLUSTER, "a"), (ENDPOINT, "a"))))
        assert client.next() == (ROUTE, ["q"], [])
        assert client.next() is None
        client.now = 11.0
        assert client.next() is None
        client.ack(ROUTE)
        client.take()
        client.now = 22.0
        assert client.next() == (CLUSTER, [], ["a"])

    def test_what_is_on_its_way_is_in_use(self):
        """The client may have taken the listener before its ACK is seen."""
        view = view_of(cluster("a"), endpoints("a"), route("r", "a"), listener("l", "r"))
        client = Client(view)
        client.ask(CLUSTER)
        client.take()
        client.ask(ROUTE, "r")
        client.take()
        client.ask(LISTENER)
        assert client.next() == (LISTENER, ["l"], [])
        view.apply(changes(gone=((LISTENER, "l"), (ROUTE, "r"), (CLUSTER, "a"), (ENDPOINT, "a"))))
        client.now = 11.0
        assert client.next() is None
        client.ack(LISTENER)
        assert client.take() == [(LISTENER, [], ["l"]), (ROUTE, [], ["r"])]
        client.now = 21.0
        assert client.next() == (CLUSTER, [], ["a"])

    def test_cluster_that_comes_back_while_it_lingers_is_not_sent(self):
        view = view_of(cluster("a"), endpoints("a"))
        client = connected(view)
        view.apply(changes(gone=((CLUSTER, "a"),)))
        assert client.next() is None
        assert client.stream.status()[0].lingering[0].name == "a"
        view.apply(changes(cluster("a")))
        assert client.next() is None
        assert client.stream.deadline() is None
        assert client.in_sync()


class TestRejection:
    def test_named_culprit_is_quarantined_and_the_rest_sent_again(self):
        """A NACK is not atomic: what became of the others is unknown, so their versions are forgotten."""
        view = View("v")
        client = Client(view)
        client.ask(CLUSTER)
        client.take()
        view.apply(changes(cluster("a"), cluster("bad"), cluster("c")))
        client.next()
        (event,) = client.ack(CLUSTER, "Error adding/updating cluster(s) bad: no such thing")
        assert isinstance(event, Nacked)
        assert [name for name, _ in event.culprits] == ["bad"]
        assert client.take() == [(CLUSTER, ["a", "c"], [])]
        assert client.in_sync()
        assert [rejection.name for rejection in view.rejections()] == ["bad"]

    def test_unnamed_culprit_is_found_by_halves(self):
        view = View("v")
        client = Client(view)
        names = [f"r{n}" for n in range(8)]
        client.ask(ROUTE, *names)
        client.take()
        view.apply(changes(*(route(name) for name in names)))
        sent = []
        while (response := client.next()) is not None:
            sent.append(response[1])
            client.ack(ROUTE, "missing ): ((" if "r5" in response[1] else None)
        assert [rejection.name for rejection in view.rejections()] == ["r5"]
        assert sent[-1] == []  # the last word on r5: there is nothing of it
        assert client.in_sync()

    def test_last_good_goes_to_new_clients(self):
        view = view_of(cluster("a", 1))
        first = Client(view)
        first.ask(CLUSTER)
        first.take()
        good = view.get((CLUSTER, "a"))
        view.apply(changes(cluster("a", 2)))
        first.next()
        first.ack(CLUSTER, "it is bad")
        assert view.get((CLUSTER, "a")) is good
        second = Client(view)
        second.ask(CLUSTER)
        assert second.next() == (CLUSTER, ["a"], [])
        assert good.version.encode() in second.last.data

    def test_rejected_content_stays_rejected_until_it_changes(self):
        view = view_of(cluster("a", 1))
        client = connected(view)
        view.apply(changes(cluster("a", 2)))
        client.next()
        client.ack(CLUSTER, "it is bad")
        view.apply(changes(cluster("a", 1)))
        view.apply(changes(cluster("a", 2)))
        assert client.take() == []
        view.apply(changes(cluster("a", 3)))
        assert client.next() == (CLUSTER, ["a"], [])

    def test_what_refers_to_a_rejected_resource_is_held_back(self):
        view = view_of(cluster("a"), endpoints("a"), listener("l", "r"), route("r", "a"))
        client = connected(view)
        view.apply(changes(cluster("bad"), route("r", "bad", revision=2), cluster("c")))
        assert client.next() == (CLUSTER, ["bad", "c"], [])
        client.ack(CLUSTER, "Error adding/updating cluster(s) bad: no")
        assert client.take() == [(CLUSTER, ["c"], [])]
        assert client.in_sync()
        assert view.blocked()[ROUTE, "r"].reason == (CLUSTER, "bad")
        view.apply(changes(cluster("bad", 2)))
        assert client.take() == [(CLUSTER, ["bad"], []), (ROUTE, ["r"], [])]

    def test_what_the_last_good_needs_comes_back(self):
        """The cluster was removed in the same change as the route that was then rejected."""
        view = view_of(cluster("a"), endpoints("a"), cluster("b"), endpoints("b"), route("r", "a"))
        client = connected(view)
        view.apply(changes(route("r", "b", revision=2), gone=((CLUSTER, "a"), (ENDPOINT, "a"))))
        assert client.next() == (ROUTE, ["r"], [])
        client.ack(ROUTE, "regex")
        client.now = 100.0
        assert client.take() == []
        assert set(view.table(CLUSTER)) == {"a", "b"}
        assert set(view.table(ENDPOINT)) == {"a", "b"}
        view.apply(changes(route("r", "b", revision=3)))
        assert client.take() == [(ROUTE, ["r"], [])]
        client.now = 120.0
        assert client.take() == [(CLUSTER, [], ["a"]), (ENDPOINT, [], ["a"])]
        assert set(view.table(CLUSTER)) == {"b"}

    def test_rejected_version_does_not_come_back_by_its_removal(self):
        """What the last good route needs is the last good cluster, not the bad one that was being tried."""
        view = view_of(cluster("a"), endpoints("a"), cluster("b"), endpoints("b"), route("r", "a"))
        good = view.get((CLUSTER, "a"))
        client = connected(view)
        view.apply(changes(cluster("a", 2)))
        client.next()
        view.apply(changes(route("r", "b", revision=2), gone=((CLUSTER, "a"), (ENDPOINT, "a"))))
        client.ack(CLUSTER, "it is bad")
        while (response := client.next()) is not None:
            client.ack(response[0], "it is bad" if response[0] == ROUTE else None)
        assert view.get((CLUSTER, "a")) is good
        assert client.in_sync()

    def test_rejected_secret_without_a_good_version_is_answered(self):
        """Else the cluster that waits for it withholds all later ACKs."""
        view = view_of(blob(SECRET, "s", 1))
        client = Client(view)
        client.ask(SECRET, "s")
        assert client.next() == (SECRET, ["s"], [])
        client.ack(SECRET, "Failed to load certificate chain from <inline>")
        assert client.take() == [(SECRET, [], ["s"])]

    def test_secrets_are_sent_one_by_one(self):
        """Envoy ACKs a rejected secret when it is sent again: the culprit must be known at once."""
        client = Client(view_of(blob(SECRET, "s", 1), blob(SECRET, "t", 1)))
        client.ask(SECRET, "s", "t")
        assert client.take() == [(SECRET, ["s"], []), (SECRET, ["t"], [])]

    def test_version_that_works_elsewhere_is_refused_by_one_client_only(self):
        view = view_of(cluster("a"))
        good, odd = Client(view), Client(view)
        for client in (good, odd):
            client.ask(CLUSTER)
        good.take()
        odd.next()
        odd.ack(CLUSTER, "cannot bind")
        assert view.rejections() == ()
        assert odd.take() == []
        (status,) = odd.stream.status()
        assert status.refused == (("a", "cannot bind"),)
        view.apply(changes(cluster("a", 2)))
        assert odd.next() == (CLUSTER, ["a"], [])

    def test_ack_of_an_older_version_makes_that_the_last_good(self):
        view = view_of(endpoints("a", 1))
        client, other = Client(view), Client(view)
        client.ask(ENDPOINT, "a")
        client.next()
        first = view.get((ENDPOINT, "a"))
        view.apply(changes(endpoints("a", 2)))
        other.ask(ENDPOINT, "a")
        other.next()
        client.ack(ENDPOINT)
        other.ack(ENDPOINT, "it is bad")
        assert view.get((ENDPOINT, "a")) is first


class TestWhatClientsKeep:
    def test_a_cluster_that_a_client_came_with_cold_is_warm_before_a_route_leads_to_it(self):
        """Its stream was lost before the endpoints came."""
        view = view_of(cluster("a"), endpoints("a"), route("r", "a"))
        client = Client(view)
        client.ask(CLUSTER, known={"a": view.get((CLUSTER, "a")).version})
        client.ask(ENDPOINT, "a")
        client.ask(ROUTE, "r", known={"r": "to another"})
        assert client.next() == (CLUSTER, ["a"], [])
        assert client.next() == (ENDPOINT, ["a"], [])
        client.ack(ENDPOINT)
        assert client.next() is None
        client.ack(CLUSTER)
        assert client.next() == (ROUTE, ["r"], [])

    def test_a_route_that_was_removed_is_updated_before_a_listener_begins_with_it(self):
        """Envoy ignores the removal while it subscribes the name: a draining listener still does."""
        view = view_of(cluster("a"), endpoints("a"), listener("l", "r"), route("r", "a"), route("s", "a"))
        client = connected(view)
        view.apply(changes(listener("l", "s", revision=2), gone=((ROUTE, "r"),)))
        assert client.take() == [(LISTENER, ["l"], []), (ROUTE, [], ["r"])]
        view.apply(changes(listener("l", "r", revision=3), route("r", "a", revision=2)))
        assert client.next() == (ROUTE, ["r"], [])
        assert client.next() is None
        client.ack(ROUTE)
        assert client.take() == [(LISTENER, ["l"], [])]

    @pytest.mark.parametrize("reconnected", [False, True])
    def test_no_listener_begins_with_a_kept_route_whose_clusters_went_though_the_new_one_is_refused(self, reconnected):
        """A route that was removed and comes back, and that this client alone rejects."""
        view = view_of(cluster("a"), cluster("b"), endpoints("a"), endpoints("b"), route("r", "a"))
        client, other = connected(view), connected(view)
        known = {name: view.get((CLUSTER, name)).version for name in ("a", "b")}
        view.apply(changes(gone=((ROUTE, "r"), (CLUSTER, "a"))))
        for each in (client, other):
            each.take()
            each.now = 11.0
            assert each.take() == [(CLUSTER, [], ["a"])]
        if reconnected:
            client = Client(view)
            client.now = 11.0
            client.ask(CLUSTER, known={"b": known["b"]})
            client.ask(ROUTE, "r", known={"r": "as it was"})
            client.ask(LISTENER)
            client.take()
        view.apply(changes(route("r", "b", revision=2)))
        other.take()
        assert client.next() == (ROUTE, ["r"], [])
        client.ack(ROUTE, "r: it is bad")
        view.apply(changes(listener("l", "r")))
        assert client.next() is None
        client.now += PATIENCE.wait
        assert client.next() == (LISTENER, ["l"], [])

    def test_what_comes_back_while_its_removal_is_on_the_way_is_not_there_yet(self):
        view = view_of(cluster("a"), cluster("b"), route("r", "b"))
        client = connected(view)
        view.apply(changes(gone=((CLUSTER, "a"),)))
        client.next()
        client.now += 11.0
        assert client.next() == (CLUSTER, [], ["a"])
        view.apply(changes(cluster("a"), route("r", "a", revision=2)))
        assert client.next() is None
        client.ack(CLUSTER)
        assert client.next() == (CLUSTER, ["a"], [])
        client.ack(CLUSTER)
        assert client.next() == (ROUTE, ["r"], [])

    def test_a_rejected_response_may_have_removed_or_not(self):
        view = view_of(cluster("a"), cluster("b"))
        client = connected(view)
        view.apply(changes(gone=((CLUSTER, "a"),)))
        client.next()
        client.now += 11.0
        view.apply(changes(cluster("b", 2, bad="named")))
        assert client.next() == (CLUSTER, ["b"], ["a"])
        client.ack(CLUSTER, error="Error adding/updating cluster(s) b: it is bad")
        view.apply(changes(cluster("a")))
        assert client.next() == (CLUSTER, ["a"], [])

    def test_a_refused_answer_that_there_is_nothing_is_given_again(self):
        client = connected(view_of(endpoints("a")))
        client.stream._client.views[0].apply(changes(endpoints("a", 2)))
        client.ask(ENDPOINT, "missing")
        assert client.next() == (ENDPOINT, ["a"], ["missing"])
        client.ack(ENDPOINT, error="a: it is bad")
        assert client.take() == [(ENDPOINT, [], ["missing"])]

    def test_a_cluster_in_use_that_is_asked_for_once_more_stays_until_it_may_go(self):
        view = view_of(cluster("a"), cluster("b"), endpoints("a"), endpoints("b"), listener("l", "r"), route("r", "a"))
        client = connected(view)
        view.apply(changes(route("r", "b", revision=2), gone=((CLUSTER, "a"),)))
        client.ask(CLUSTER, "a")
        assert client.take() == [(ROUTE, ["r"], [])]
        client.now += 11.0
        assert client.take() == [(CLUSTER, [], ["a"])]

    def test_what_is_used_by_what_this_client_alone_rejects_stays(self):
        view = view_of(cluster("a"), cluster("b"), endpoints("a"), endpoints("b"), listener("l", "r"), route("r", "a"))
        client, other = connected(view), connected(view)
        view.apply(changes(route("r", "b", revision=2), gone=((CLUSTER, "a"),)))
        other.take()
        client.next()
        client.ack(ROUTE, error="an address is taken here")
        client.now += 1000.0
        assert client.take() == []

    def test_an_ack_for_a_name_that_was_let_go_of_says_nothing(self):
        view = view_of(endpoints("a"))
        client = connected(view)
        view.apply(changes(endpoints("a", 2)))
        assert client.next() == (ENDPOINT, ["a"], [])
        client.ask(ENDPOINT, drop=("a",))
        client.ack(ENDPOINT)
        assert view.reject(Resource.of(endpoints("a", 2)), "it is bad", "another")


class TestLimits:
    def test_types(self):
        client = Client(view_of())
        for number in range(MAX_TYPES):
            client.ask(f"type{number}", "name")
        with pytest.raises(LimitExceededError):
            client.ask("one more", "name")

    def test_names(self):
        client = Client(view_of())
        client.ask(ENDPOINT, *map(str, range(MAX_NAMES)))
        with pytest.raises(LimitExceededError):
            client.ask(ROUTE, "one more")

    def test_length_of_names(self):
        client = Client(view_of())
        with pytest.raises(LimitExceededError):
            client.ask(ROUTE, "n" * (MAX_LENGTH + 1))


def test_payload_is_held_once_and_never_shown():
    encoded = blob(SECRET, "s", "private")
    resource = Resource.of(encoded)
    assert resource.parts is encoded.parts
    assert Resource.of(blob(SECRET, "s", "private")) is resource
    assert "private" not in repr(resource)
    view = View("secrets", secret=True)
    view.apply(changes(encoded))
    assert list(view.dump()) == []


def test_wire_is_what_protobuf_reads():
    resource = Resource.of(cluster("a"))
    message = decode(RESPONSE, resource.wire)
    assert message.resources[0].name == "a"
    assert message.resources[0].version == resource.version
    assert message.resources[0].resource.type_url == CLUSTER
    assert message.resources[0].resource.value == resource.payload


@pytest.mark.parametrize("clusters_first", [True, False])
def test_who_asks_for_endpoints_before_clusters_has_one_that_waits_for_them(clusters_first):
    """Envoy pauses CDS while a cluster warms: on a new stream it asks for clusters only once it has the endpoints."""
    view = view_of(cluster("a"), endpoints("a"))
    held = {
        kind: {name: resource.version for name, resource in view.table(kind).items()} for kind in (CLUSTER, ENDPOINT)
    }
    client = Client(view)
    if clusters_first:
        client.ask(CLUSTER, "*", known=held[CLUSTER])
    client.ask(ENDPOINT, "a", known=held[ENDPOINT])
    assert client.take() == ([] if clusters_first else [(ENDPOINT, ["a"], [])])
    if not clusters_first:
        client.ask(CLUSTER, "*", known=held[CLUSTER])
    assert client.in_sync()

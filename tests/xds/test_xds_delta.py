"""Each rule of the incremental protocol, and each thing seen on a real Envoy, by itself."""

import pytest
from delta_client import Client
from linked_samples import cluster, endpoints, view_of
from model_envoy import RESPONSE
from xds_samples import blob, changes

from dragoman.codec import CLUSTER, ENDPOINT, LISTENER, ROUTE, SECRET, decode
from xds import Acked, DeltaRequest, Resource, Stale, View
from xds.subscription import MAX_LENGTH, MAX_NAMES, MAX_TYPES, LimitExceededError


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

"""What comes before what, and what clients keep against its removal."""

import pytest
from delta_client import Client, connected
from linked_samples import PATIENCE, cluster, endpoints, listener, route, view_of
from xds_samples import changes

from dragoman.codec import CLUSTER, ENDPOINT, LISTENER, ROUTE
from xds import Resource


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

"""Clients of the state-of-the-world protocol that come back, with what they hold."""

import pytest
from linked_samples import PATIENCE, cluster, endpoints, listener, route, tcp, view_of
from sotw_client import Client, connected
from xds_samples import changes

from dragoman.codec import CLUSTER, ENDPOINT, LISTENER, ROUTE
from xds import View
from xds.holding import UNKNOWN, lane
from xds.sotw import MANY


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

"""What a NACK says of whom, and what is sent in its place."""

from delta_client import Client, connected
from linked_samples import cluster, endpoints, listener, route, view_of
from xds_samples import blob, changes

from dragoman.codec import CLUSTER, ENDPOINT, ROUTE, SECRET
from xds import Nacked, View


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

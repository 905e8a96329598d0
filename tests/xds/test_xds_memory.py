"""What a view remembers of its quarantine, and what a view begins with that is told."""

from model_envoy import content
from xds_samples import changes

from dragoman.codec import CLUSTER, ENDPOINT, LISTENER, ROUTE, SECRET, Encoded
from xds import Memory, Resource, View


def cluster(name: str, revision: int = 1) -> Encoded:
    return content(CLUSTER, name, revision, ((ENDPOINT, name),))


def endpoints(name: str, revision: int = 1) -> Encoded:
    return content(ENDPOINT, name, revision)


def route(name: str, *clusters: str, revision: int = 1) -> Encoded:
    return content(ROUTE, name, revision, tuple((CLUSTER, cluster) for cluster in clusters))


def proven(*resources: Encoded) -> View:
    view = View("v")
    view.apply(changes(*resources))
    for resource in resources:
        view.vouch(Resource.of(resource))
    return view


def reject(view: View, encoded: Encoded) -> None:
    assert view.reject(Resource.of(encoded), "it is bad", "envoy")


def restarted(memory: Memory, *resources: Encoded, parts: bool = False) -> View:
    view = View("v")
    view.recall(memory)
    for part in [[resource] for resource in resources] if parts else [resources]:
        view.apply(changes(*part))
    view.filled()
    return view


def served(view: View) -> dict[str, dict[str, str]]:
    kinds = {"cluster": CLUSTER, "endpoint": ENDPOINT, "route": ROUTE, "listener": LISTENER}
    return {
        word: {n: r.version for n, r in view.table(kind).items()} for word, kind in kinds.items() if view.table(kind)
    }


def test_a_view_without_rejections_has_nothing_to_remember():
    assert not proven(cluster("a"), route("r", "a")).memory()


def test_the_last_good_is_served_from_the_start():
    view = proven(route("r", revision=1))
    view.apply(changes(route("r", revision=2)))
    reject(view, route("r", revision=2))
    again = restarted(view.memory(), route("r", revision=2))
    assert served(again) == {"route": {"r": route("r", revision=1).version}}
    assert [rejection.message for rejection in again.rejections()] == ["it is bad"]
    assert again.memory() == view.memory()


def test_what_the_last_good_needs_comes_back_though_it_was_removed():
    """Whatever order the parts of a view that is filled come in."""
    old = (cluster("old"), endpoints("old"), route("r", "old"))
    view = proven(*old)
    new = (cluster("new"), route("r", "new", revision=2))
    view.apply(changes(*new, gone=((CLUSTER, "old"), (ENDPOINT, "old"))))
    reject(view, new[1])
    for order in (new, new[::-1]):
        for parts in (False, True):
            assert served(restarted(view.memory(), *order, parts=parts)) == served(view)
    assert set(served(view)["cluster"]) == {"old", "new"}


def test_a_change_lifts_it():
    view = proven(cluster("old"), route("r", "old"))
    view.apply(changes(route("r", revision=2), gone=((CLUSTER, "old"),)))
    reject(view, route("r", revision=2))
    again = restarted(view.memory(), route("r", revision=3))
    assert served(again) == {"route": {"r": route("r", revision=3).version}}
    assert not again.memory()


def test_a_version_that_is_rejected_after_the_restart_falls_back_to_the_remembered_one():
    view = proven(route("r", revision=1))
    view.apply(changes(route("r", revision=2)))
    reject(view, route("r", revision=2))
    again = restarted(view.memory(), route("r", revision=3))
    reject(again, route("r", revision=3))
    assert served(again) == {"route": {"r": route("r", revision=1).version}}


def test_whoever_keeps_it_is_told_of_changes_only():
    told = []
    view = View("v", on_memory=told.append)
    view.apply(changes(route("r", revision=1)))
    view.vouch(Resource.of(route("r", revision=1)))
    view.apply(changes(route("r", revision=2)))
    reject(view, route("r", revision=2))
    view.apply(changes(cluster("unrelated")))
    view.apply(changes(route("r", revision=3)))
    assert [bool(memory) for memory in told] == [True, False]


def test_a_recalled_memory_is_told_of_when_it_does_not_hold_any_more():
    view = proven(route("r", revision=1))
    view.apply(changes(route("r", revision=2)))
    reject(view, route("r", revision=2))
    told = []
    again = View("v", on_memory=told.append)
    again.recall(view.memory())
    again.apply(changes(cluster("part of it")))
    assert told == []
    again.filled()
    assert told == [Memory()]


def test_secrets_are_not_remembered():
    view = View("v", secret=True)
    view.apply(changes(content(SECRET, "s", 1)))
    reject(view, content(SECRET, "s", 1))
    assert not view.memory()


def test_an_ack_lifts_what_another_proxy_rejected():
    """Whoever comes first: content that works elsewhere is not bad in itself."""
    view = proven(route("r", revision=1))
    view.apply(changes(route("r", revision=2)))
    reject(view, route("r", revision=2))
    view.vouch(Resource.of(route("r", revision=2)))
    assert served(view) == {"route": {"r": route("r", revision=2).version}}
    assert not view.rejections()
    assert not view.reject(Resource.of(route("r", revision=2)), "again", "envoy")


def test_a_last_good_that_lost_what_it_needs_is_of_no_use():
    """Its cluster went and was never good: nothing could take its place, so proxies keep what they have."""
    view = View("v")
    view.apply(changes(cluster("c"), route("r", "c")))
    view.vouch(Resource.of(route("r", "c")))
    view.apply(changes(route("r", revision=2), gone=((CLUSTER, "c"),)))
    reject(view, route("r", revision=2))
    assert served(view) == {}
    assert view.withheld((ROUTE, "r"))
    view.apply(changes(cluster("c")))
    assert served(view)["route"] == {"r": route("r", "c").version}


def test_what_was_good_before_what_nobody_judged_yet_is_remembered_for_a_view_that_ends():
    view = proven(cluster("c"), route("r", "c"))
    view.apply(changes(route("r", revision=2), gone=((CLUSTER, "c"),)))
    assert not view.memory()
    again = restarted(view.memory(unjudged=True), route("r", revision=2))
    assert served(again) == {"route": {"r": route("r", revision=2).version}}
    reject(again, route("r", revision=2))
    assert served(again) == served(proven(cluster("c"), route("r", "c")))


def test_what_was_judged_well_is_remembered_no_more():
    told: list[Memory] = []
    view = proven(route("r", revision=1))
    view.apply(changes(route("r", revision=2)))
    again = View("v", on_memory=told.append)
    again.recall(view.memory(unjudged=True))
    again.apply(changes(route("r", revision=2)))
    again.filled()
    again.vouch(Resource.of(route("r", revision=2)))
    again.apply(changes(route("s")))
    assert not told[-1]
    assert not again.memory(unjudged=True)


def test_who_waits_for_what_was_rejected_hears_that_it_is_wanted_no_more():
    view = View("v")
    view.apply(changes(route("r")))
    reject(view, route("r"))
    head = view.head(ROUTE)
    view.apply({(ROUTE, "r"): None})
    assert view.since(ROUTE, head) == [("r", None)]

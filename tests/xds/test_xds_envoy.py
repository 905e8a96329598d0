"""The server against a real Envoy 1.40: what the unit tests assume about clients is true."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from xds_envoy import real_envoy
from xds_recorder import Recorder, Runtime
from xds_samples import changes, cluster, endpoints, listener, route, secret, self_signed, tls

from dragoman.codec import CLUSTER, ENDPOINT, LISTENER, ROUTE, SECRET
from xds import Limits, Patience, View, XdsServer

pytestmark = pytest.mark.envoy
both = pytest.mark.parametrize("protocol", ["DELTA_GRPC", "GRPC"], ids=["delta", "sotw"])

QUICK = Limits(patience=Patience(linger={CLUSTER: 0.05, ROUTE: 0.05}, wait=60.0))


@asynccontextmanager
async def served(
    *views: View, port: int = 0, limits: Limits = QUICK
) -> AsyncIterator[tuple[Recorder, Runtime, int, XdsServer]]:
    recorder, runtime = Recorder(), Runtime(views)
    server = XdsServer(runtime.connect, observer=recorder, limits=limits)
    bound = server.listen(f"127.0.0.1:{port}")
    await server.start()
    try:
        yield recorder, runtime, bound, server
    finally:
        await server.stop(2)


def small_mesh() -> View:
    view = View("outbound")
    view.apply(changes(cluster("a"), endpoints("a", 1), listener("l", "r"), route("r", "a")))
    return view


def in_sync(server: XdsServer) -> bool:
    connections = list(server.connections())
    types = {status.type_url for connection in connections for status in connection.types}
    return {CLUSTER, ENDPOINT, LISTENER, ROUTE} <= types and all(
        status.in_sync for connection in connections for status in connection.types
    )


@both
async def test_cold_start_is_acked_whole(tmp_path, protocol):
    async with served(small_mesh()) as (recorder, runtime, port, server), real_envoy(port, tmp_path, protocol) as envoy:
        await recorder.until(lambda: in_sync(server))
        assert not recorder.of("nacked")
        assert await envoy.cluster_names() == {"a"}
        assert await envoy.warming() == 0
        assert runtime.peers[0].local
        (status,) = server.connections()
        assert status.node == "envoy"
        assert status.user_agent.startswith("envoy 1.40")


@both
async def test_changed_eds_cluster_is_acked_at_once(tmp_path, protocol):
    """Envoy warms it anew without asking for its endpoints, and withholds the ACK until they come."""
    view = small_mesh()
    async with served(view) as (recorder, _, port, server), real_envoy(port, tmp_path, protocol):
        await recorder.until(lambda: in_sync(server))
        before = len(recorder.of("acked", CLUSTER))
        view.apply(changes(cluster("a", connectTimeout="2s")))
        await recorder.until_seen("acked", CLUSTER, before + 1)
        assert recorder.of("acked", CLUSTER)[-1][2] < 10.0, "before Envoy gives up waiting for them, after 15 s"


async def test_missing_endpoints_and_secret_do_not_withhold_acks(tmp_path):
    """Every subscribed name is answered: by `removed_resources` when there is nothing."""
    view = small_mesh()
    async with served(view) as (recorder, _, port, server), real_envoy(port, tmp_path):
        await recorder.until(lambda: in_sync(server))
        before = len(recorder.of("acked", CLUSTER))
        view.apply(changes(cluster("lost", **tls("missing"))))
        await recorder.until_seen("acked", CLUSTER, before + 1)
        await recorder.until_seen("acked", SECRET)
        await recorder.until(lambda: in_sync(server))


async def test_sotw_missing_endpoints_are_answered_by_an_empty_assignment(tmp_path):
    view = small_mesh()
    async with served(view) as (recorder, _, port, server), real_envoy(port, tmp_path, "GRPC") as envoy:
        await recorder.until(lambda: in_sync(server))
        view.apply(changes(cluster("lost")))
        await recorder.until(lambda: in_sync(server))
        assert await envoy.cluster_names() == {"a", "lost"}
        assert await envoy.warming() == 0


async def test_sotw_what_needs_a_missing_secret_comes_with_it(tmp_path):
    """Envoy cannot be told that there is none: the cluster would warm for ever and withhold all later ACKs."""
    view = small_mesh()
    view.apply(changes(cluster("lost", **tls("missing")), endpoints("lost", 1)))
    async with served(view) as (recorder, _, port, server), real_envoy(port, tmp_path, "GRPC") as envoy:
        await recorder.until_seen("acked", ROUTE)
        view.apply(changes(cluster("b"), endpoints("b", 2)))
        await recorder.until_seen("acked", CLUSTER, 2)
        assert await envoy.cluster_names() == {"a", "b"}
        assert await envoy.warming() == 0
        view.apply(changes(secret("missing", self_signed())))
        await recorder.until(lambda: in_sync(server))
        assert await envoy.cluster_names() == {"a", "b", "lost"}
        assert await envoy.warming() == 0
        assert not recorder.of("nacked")


@both
async def test_removal_beside_a_rejected_change_arrives(tmp_path, protocol):
    """Validation fails before anything of a response is applied, what it removes included."""
    view = small_mesh()
    view.apply(changes(cluster("b"), endpoints("b", 2)))
    at_once = Limits(patience=Patience(linger={}))
    async with (
        served(view, limits=at_once) as (recorder, _, port, server),
        real_envoy(port, tmp_path, protocol) as envoy,
    ):
        await recorder.until(lambda: in_sync(server))
        view.apply(changes(cluster("bad", connectTimeout="0s"), gone=((CLUSTER, "b"), (ENDPOINT, "b"))))
        await recorder.until_seen("nacked", CLUSTER)
        await recorder.until(lambda: in_sync(server))
        assert await envoy.cluster_names() == {"a"}


@both
@pytest.mark.parametrize(
    ("bad", "type_url"),
    [
        pytest.param(cluster("bad", connectTimeout="0s"), CLUSTER, id="cluster-pgv"),
        pytest.param(cluster("bad", lbPolicy="LOAD_BALANCING_POLICY_CONFIG"), CLUSTER, id="cluster-factory"),
        pytest.param(listener("bad", "r", perConnectionBufferLimitBytes=1, filterChains=[{}, {}]), LISTENER, id="lds"),
        pytest.param(listener("bad", "r", statPrefix="x", listenerFilters=[{"name": ""}]), LISTENER, id="lds-pgv"),
    ],
)
async def test_culprit_is_named_and_the_good_rest_arrives(tmp_path, protocol, bad, type_url):
    view = small_mesh()
    async with served(view) as (recorder, _, port, server), real_envoy(port, tmp_path, protocol) as envoy:
        await recorder.until(lambda: in_sync(server))
        view.apply(changes(bad, cluster("b"), endpoints("b", 2), cluster("c"), endpoints("c", 2), listener("m", "r")))
        await recorder.until_seen("nacked", type_url)
        await recorder.until(lambda: in_sync(server))
        assert {names for _, _, names, _ in recorder.of("nacked")} == {("bad",)}
        assert await envoy.cluster_names() == {"a", "b", "c"}
        assert [rejection.name for rejection in view.rejections()] == ["bad"]


BAD_REGEX = {"match": {"safeRegex": {"regex": "(("}}, "route": {"cluster": "a"}}


@both
@pytest.mark.parametrize(
    "bad",
    [
        pytest.param({"virtualHosts": [{"name": "h", "domains": ["*"], "routes": [BAD_REGEX]}]}, id="unnamed"),
        pytest.param(
            {"virtualHosts": [{"name": "h", "domains": ["x"]}, {"name": "i", "domains": ["x"]}]}, id="duplicate-domain"
        ),
        pytest.param({"virtualHosts": [{"name": "", "domains": ["*"]}]}, id="pgv"),
    ],
)
async def test_bad_route_is_found_among_good_ones(tmp_path, protocol, bad):
    """Envoy does not name the route in most of these errors: the culprit is found by sending fewer at a time."""
    view = small_mesh()
    view.apply(changes(listener("m", "r2"), route("r2", "a"), listener("n", "r3"), route("r3", "a")))
    async with served(view) as (recorder, _, port, server), real_envoy(port, tmp_path, protocol):
        await recorder.until(lambda: in_sync(server))
        good = view.get((ROUTE, "r2"))
        view.apply(changes(route("r", "a", ignorePortInHostMatching=True), route("r2", "a", **bad)))
        view.apply(changes(route("r3", "a", ignorePortInHostMatching=True)))
        await recorder.until(lambda: [r.name for r in view.rejections()] == ["r2"] and in_sync(server))
        assert view.get((ROUTE, "r2")) is good


@both
async def test_rejected_secrets_are_named_and_do_not_withhold_acks(tmp_path, protocol):
    view = small_mesh()
    view.apply(changes(cluster("s", **tls("one")), endpoints("s", 1), cluster("t", **tls("two")), endpoints("t", 1)))
    async with served(view) as (recorder, _, port, server), real_envoy(port, tmp_path, protocol):
        await recorder.until_seen("acked", ROUTE)
        view.apply(changes(secret("one", "junk"), secret("two", "junk")))
        await recorder.until(lambda: {r.name for r in view.rejections()} == {"one", "two"} and in_sync(server))
        before = len(recorder.of("acked", CLUSTER))
        view.apply(changes(cluster("b"), endpoints("b", 2)))
        await recorder.until_seen("acked", CLUSTER, before + 1)


@both
async def test_restarted_envoy_gets_the_last_good(tmp_path, protocol):
    view = small_mesh()
    async with served(view) as (recorder, _, port, server):
        async with real_envoy(port, tmp_path, protocol) as envoy:
            await recorder.until(lambda: in_sync(server))
            view.apply(changes(cluster("a", connectTimeout="0s"), listener("l", "r", filterChains=[{}, {}])))
            await recorder.until(lambda: len(view.rejections()) == 2 and in_sync(server))
        await recorder.until_seen("disconnected")
        rejected = len(recorder.of("nacked"))
        async with real_envoy(port, tmp_path, protocol) as envoy:
            await recorder.until(lambda: in_sync(server))
            assert await envoy.cluster_names() == {"a"}
            assert len(await envoy.dump("dynamic_listeners")) == 1
        assert len(recorder.of("nacked")) == rejected


@both
async def test_reconnect_to_a_restarted_control_plane_changes_nothing(tmp_path, protocol):
    async with served(small_mesh()) as (recorder, _, port, server):
        connecting = real_envoy(port, tmp_path, protocol)
        envoy = await connecting.__aenter__()
        await recorder.until(lambda: in_sync(server))
        before = await envoy.updates()
    try:
        # Another process: nothing is left of the first one's state, but the content hashes are the same.
        async with served(small_mesh(), port=port) as (recorder, _, _, server):
            await recorder.until(lambda: in_sync(server))
            if protocol == "DELTA_GRPC":
                assert recorder.of("pushed") == []
            # In the state of the world there is always an answer, but it is no news to Envoy.
            assert await envoy.updates() == before
            assert not recorder.of("nacked")
    finally:
        await connecting.__aexit__(None, None, None)


@both
async def test_cluster_is_removed_after_the_route_that_named_it(tmp_path, protocol):
    view = small_mesh()
    async with served(view) as (recorder, _, port, server), real_envoy(port, tmp_path, protocol) as envoy:
        await recorder.until(lambda: in_sync(server))
        view.apply(changes(cluster("b"), endpoints("b", 2), route("r", "b"), gone=((CLUSTER, "a"), (ENDPOINT, "a"))))
        await recorder.until(lambda: in_sync(server))
        # By state of the world an empty response follows, with the version of what Envoy holds then.
        pushed = [(kind, count) for _, kind, count in recorder.of("pushed") if count][-4:]
        assert pushed[0][0] == CLUSTER
        assert pushed[-1] == (CLUSTER, 1)
        assert ROUTE in {kind for kind, _ in pushed[1:-1]}
        assert await envoy.cluster_names() == {"b"}
        assert not recorder.of("waited")


@both
async def test_what_nothing_of_a_type_is_left_of_comes_back_as_it_was(tmp_path, protocol):
    """Envoy says nothing to responses of a type of which it wants nothing, and drops what it held."""
    view = small_mesh()
    async with served(view) as (recorder, _, port, server), real_envoy(port, tmp_path, protocol) as envoy:
        await recorder.until(lambda: in_sync(server))
        view.apply(changes(gone=((LISTENER, "l"), (ROUTE, "r"))))
        await recorder.until(lambda: not routes_wanted(server) and in_sync(server))
        view.apply(changes(listener("l", "r"), route("r", "a")))
        await recorder.until(lambda: routes_wanted(server) == 1 and in_sync(server))
        assert await envoy.warming() == 0
        assert len(await envoy.dump("dynamic_route_configs")) == 1
        assert not recorder.of("nacked")


def routes_wanted(server: XdsServer) -> int:
    (connection,) = server.connections()
    return sum(status.names for status in connection.types if status.type_url == ROUTE)

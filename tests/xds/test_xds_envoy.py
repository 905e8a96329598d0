"""The server against a real Envoy 1.40: what the unit tests assume about clients is true."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from xds_envoy import real_envoy
from xds_recorder import Recorder, Runtime
from xds_samples import changes, cluster, endpoints, listener, route, secret, tls

from dragoman.codec import CLUSTER, ENDPOINT, LISTENER, ROUTE, SECRET
from xds import Limits, Patience, View, XdsServer

pytestmark = pytest.mark.envoy

QUICK = Limits(patience=Patience(linger={CLUSTER: 0.05, ROUTE: 0.05}, wait=5.0))


@asynccontextmanager
async def served(*views: View, port: int = 0) -> AsyncIterator[tuple[Recorder, Runtime, int, XdsServer]]:
    recorder, runtime = Recorder(), Runtime(views)
    server = XdsServer(runtime.connect, observer=recorder, limits=QUICK)
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
    connections = server.connections()
    types = {status.type_url for connection in connections for status in connection.types}
    return {CLUSTER, ENDPOINT, LISTENER, ROUTE} <= types and all(
        status.in_sync for connection in connections for status in connection.types
    )


async def test_cold_start_is_acked_whole(tmp_path):
    async with served(small_mesh()) as (recorder, runtime, port, server), real_envoy(port, tmp_path) as envoy:
        await recorder.until(lambda: in_sync(server))
        assert not recorder.of("nacked")
        assert await envoy.cluster_names() == {"a"}
        assert runtime.peers[0].local
        (status,) = server.connections()
        assert status.node == "envoy"
        assert status.user_agent.startswith("envoy 1.40")


async def test_changed_eds_cluster_is_acked_at_once(tmp_path):
    """Envoy warms it anew without asking for its endpoints, and withholds the ACK until they come."""
    view = small_mesh()
    async with served(view) as (recorder, _, port, server), real_envoy(port, tmp_path):
        await recorder.until(lambda: in_sync(server))
        before = len(recorder.of("acked", CLUSTER))
        view.apply(changes(cluster("a", connectTimeout="2s")))
        await recorder.until_seen("acked", CLUSTER, before + 1)
        assert recorder.of("acked", CLUSTER)[-1][2] < 1.0


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


@pytest.mark.parametrize(
    ("bad", "type_url"),
    [
        pytest.param(cluster("bad", connectTimeout="0s"), CLUSTER, id="cluster-pgv"),
        pytest.param(cluster("bad", lbPolicy="LOAD_BALANCING_POLICY_CONFIG"), CLUSTER, id="cluster-factory"),
        pytest.param(listener("bad", "r", perConnectionBufferLimitBytes=1, filterChains=[{}, {}]), LISTENER, id="lds"),
        pytest.param(listener("bad", "r", statPrefix="x", listenerFilters=[{"name": ""}]), LISTENER, id="lds-pgv"),
    ],
)
async def test_culprit_is_named_and_the_good_rest_arrives(tmp_path, bad, type_url):
    view = small_mesh()
    async with served(view) as (recorder, _, port, server), real_envoy(port, tmp_path) as envoy:
        await recorder.until(lambda: in_sync(server))
        view.apply(changes(bad, cluster("b"), endpoints("b", 2), cluster("c"), endpoints("c", 2), listener("m", "r")))
        await recorder.until_seen("nacked", type_url)
        await recorder.until(lambda: in_sync(server))
        assert {names for _, _, names, _ in recorder.of("nacked")} == {("bad",)}
        assert await envoy.cluster_names() == {"a", "b", "c"}
        assert [rejection.name for rejection in view.rejections()] == ["bad"]


BAD_REGEX = {"match": {"safeRegex": {"regex": "(("}}, "route": {"cluster": "a"}}


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
async def test_bad_route_is_found_among_good_ones(tmp_path, bad):
    """Envoy does not name the route in most of these errors: the culprit is found by sending fewer at a time."""
    view = small_mesh()
    view.apply(changes(listener("m", "r2"), route("r2", "a"), listener("n", "r3"), route("r3", "a")))
    async with served(view) as (recorder, _, port, server), real_envoy(port, tmp_path):
        await recorder.until(lambda: in_sync(server))
        good = view.get((ROUTE, "r2"))
        view.apply(changes(route("r", "a", ignorePortInHostMatching=True), route("r2", "a", **bad)))
        view.apply(changes(route("r3", "a", ignorePortInHostMatching=True)))
        await recorder.until(lambda: [r.name for r in view.rejections()] == ["r2"] and in_sync(server))
        assert view.get((ROUTE, "r2")) is good


async def test_rejected_secrets_are_named_and_do_not_withhold_acks(tmp_path):
    view = small_mesh()
    view.apply(changes(cluster("s", **tls("one")), endpoints("s", 1), cluster("t", **tls("two")), endpoints("t", 1)))
    async with served(view) as (recorder, _, port, server), real_envoy(port, tmp_path):
        await recorder.until(lambda: in_sync(server))
        view.apply(changes(secret("one", "junk"), secret("two", "junk")))
        await recorder.until(lambda: {r.name for r in view.rejections()} == {"one", "two"} and in_sync(server))
        before = len(recorder.of("acked", CLUSTER))
        view.apply(changes(cluster("b"), endpoints("b", 2)))
        await recorder.until_seen("acked", CLUSTER, before + 1)


async def test_restarted_envoy_gets_the_last_good(tmp_path):
    view = small_mesh()
    async with served(view) as (recorder, _, port, server):
        async with real_envoy(port, tmp_path) as envoy:
            await recorder.until(lambda: in_sync(server))
            view.apply(changes(cluster("a", connectTimeout="0s"), listener("l", "r", filterChains=[{}, {}])))
            await recorder.until(lambda: len(view.rejections()) == 2 and in_sync(server))
        await recorder.until_seen("disconnected")
        rejected = len(recorder.of("nacked"))
        async with real_envoy(port, tmp_path) as envoy:
            await recorder.until(lambda: in_sync(server))
            assert await envoy.cluster_names() == {"a"}
            assert len(await envoy.dump("dynamic_listeners")) == 1
        assert len(recorder.of("nacked")) == rejected


async def test_reconnect_to_a_restarted_control_plane_resends_nothing(tmp_path):
    async with served(small_mesh()) as (recorder, _, port, server):
        envoy = real_envoy(port, tmp_path)
        await envoy.__aenter__()
        await recorder.until(lambda: in_sync(server))
    try:
        # Another process: nothing is left of the first one's state, but the content hashes are the same.
        async with served(small_mesh(), port=port) as (recorder, _, _, server):
            await recorder.until(lambda: in_sync(server))
            assert recorder.of("pushed") == []
    finally:
        await envoy.__aexit__(None, None, None)


async def test_cluster_is_removed_after_the_route_that_named_it(tmp_path):
    view = small_mesh()
    async with served(view) as (recorder, _, port, server), real_envoy(port, tmp_path) as envoy:
        await recorder.until(lambda: in_sync(server))
        view.apply(changes(cluster("b"), endpoints("b", 2), route("r", "b"), gone=((CLUSTER, "a"), (ENDPOINT, "a"))))
        await recorder.until(lambda: in_sync(server))
        pushed = [(kind, count) for _, kind, count in recorder.of("pushed")][-4:]
        assert pushed[0][0] == CLUSTER
        assert pushed[-1] == (CLUSTER, 1)
        assert ROUTE in {kind for kind, _ in pushed[1:-1]}
        assert await envoy.cluster_names() == {"b"}
        assert not recorder.of("waited")

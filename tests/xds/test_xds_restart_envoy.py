"""A control plane that is started again before a real Envoy: nothing anew, and make before break all the same."""

import pytest
from test_xds_envoy import in_sync, served
from xds_envoy import real_envoy
from xds_samples import changes, cluster, endpoints, listener, route

from dragoman.codec import CLUSTER, ENDPOINT, LISTENER, ROUTE
from xds import Limits, Patience, View
from xds.push import states

pytestmark = pytest.mark.envoy
LIMITS = Limits(patience=Patience(linger={CLUSTER: 0.3, ROUTE: 0.3}, wait=60.0))


def view_of(*resources) -> View:
    view = View("outbound")
    view.apply(changes(*resources))
    return view


@pytest.mark.parametrize("protocol", ["DELTA_GRPC", "GRPC"], ids=["delta", "sotw"])
async def test_what_did_not_change_is_not_changed(tmp_path, protocol):
    same = (cluster("a"), endpoints("a", 1), listener("l", "r"), route("r", "a"))
    async with served(view_of(*same), limits=LIMITS) as (recorder, _, port, server):
        envoy = real_envoy(port, tmp_path, protocol)
        running = await envoy.__aenter__()
        try:
            await recorder.until(lambda: in_sync(server))
            before = await running.updates()
            await server.stop(0.1)
            states.clear()
            async with served(view_of(*same), port=port, limits=LIMITS) as (again, _, _, restarted):
                await again.until(lambda: in_sync(restarted))
                assert not again.of("nacked")
                assert await running.updates() == before
                if protocol == "DELTA_GRPC":
                    assert sum(count for _, _, count in again.of("pushed")) == 0
        finally:
            await envoy.__aexit__(None, None, None)


@pytest.mark.parametrize("protocol", ["DELTA_GRPC", "GRPC"], ids=["delta", "sotw"])
async def test_a_cluster_that_went_meanwhile_goes_after_the_route_that_names_it(tmp_path, protocol):
    same = (cluster("same"), endpoints("same", 1), listener("l", "r"))
    old = view_of(*same, cluster("old"), endpoints("old", 1), route("r", "old", "same"))
    async with served(old, limits=LIMITS) as (recorder, _, port, server):
        envoy = real_envoy(port, tmp_path, protocol)
        running = await envoy.__aenter__()
        try:
            await recorder.until(lambda: in_sync(server))
            await server.stop(0.1)
            states.clear()
            async with served(view_of(*same, route("r", "same")), port=port, limits=LIMITS) as (again, _, _, restarted):
                await again.until(lambda: in_sync(restarted))
                assert not again.of("nacked")
                assert not again.of("waited")
                routes = again.events.index(again.of("acked", ROUTE)[0])
                removal = next(n for n, event in enumerate(again.events) if event[:2] == ("pushed", CLUSTER))
                assert routes < removal
                assert await running.cluster_names() == {"same"}
        finally:
            await envoy.__aexit__(None, None, None)
        assert {ENDPOINT, LISTENER} <= {event[1] for event in recorder.of("acked")}

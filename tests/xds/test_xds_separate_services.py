"""A real Envoy that gets each type from a service of its own, over streams of their own."""

from collections import Counter

import pytest
import xds_samples
from test_xds_envoy import both, served
from xds_envoy import own_stream, real_envoy
from xds_samples import changes, cluster, endpoints, listener, route, secret, self_signed, tls

from dragoman.codec import CLUSTER, ENDPOINT, LISTENER, ROUTE, SECRET
from xds import View

pytestmark = pytest.mark.envoy
TYPES = {CLUSTER, ENDPOINT, LISTENER, ROUTE, SECRET}


@both
async def test_envoy_gets_everything_without_ads(tmp_path, monkeypatch, protocol):
    source = own_stream(protocol)
    monkeypatch.setattr(xds_samples, "ADS", source)
    view = View("mesh")
    view.apply(
        changes(
            cluster("a", **tls("cert")),
            endpoints("a", 1),
            listener("l", "r"),
            route("r", "a"),
            secret("cert", self_signed()),
        )
    )
    async with (
        served(view) as (recorder, _, port, server),
        real_envoy(port, tmp_path, protocol, source) as envoy,
    ):

        def in_sync() -> bool:
            types = [status for connection in server.connections() for status in connection.types]
            return {status.type_url for status in types} == TYPES and all(status.in_sync for status in types)

        await recorder.until(in_sync)
        assert await envoy.cluster_names() == {"a"}
        assert await envoy.warming() == 0
        variant = "Delta" if protocol == "DELTA_GRPC" else "Stream"
        methods = Counter(connection.method for connection in server.connections())
        assert methods.keys() == {
            f"{variant}{noun}" for noun in ("Clusters", "Endpoints", "Listeners", "Routes", "Secrets")
        }
        # Each stream says who it is, and has one type.
        assert {connection.node for connection in server.connections()} == {"envoy"}
        before = len(recorder.of("acked", ENDPOINT))
        view.apply(changes(endpoints("a", 1, 2)))
        await recorder.until_seen("acked", ENDPOINT, before + 1)
        view.apply(changes(cluster("b"), endpoints("b", 3)))
        await recorder.until(
            lambda: len([1 for c in server.connections() for t in c.types if t.type_url == ENDPOINT]) > 1
        )
        await recorder.until(in_sync)
        assert await envoy.cluster_names() == {"a", "b"}
        assert not recorder.of("nacked")

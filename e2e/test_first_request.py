"""The whole way once: YAML, control plane, two captured Envoys, one request under mutual TLS."""

import pytest

from dragoman.demo.callers import verified_caller
from e2e.harness import EchoApp, Mesh

pytestmark = [pytest.mark.netns, pytest.mark.envoy]


async def test_a_request_between_two_pods_is_under_mutual_tls(mesh: Mesh) -> None:
    await mesh.service("server", {"http": 8080})
    async with (
        mesh.pod("server", app=EchoApp(http=(8080,)), sidecar=True),
        mesh.pod("client", sidecar=True) as client,
    ):
        echo = (await client.http("http://server:8080/")).echo
    assert echo.workload == "server"
    caller = verified_caller(echo.headers["x-forwarded-client-cert"])
    assert caller == "spiffe://cluster.local/ns/default/sa/client"

"""Applications that see their clients' own addresses: capture by TPROXY around real Envoys, with both backends.

What the rules capture and what they leave alone is asked in `test_capture`; probes in `test_injected_pods`.
"""

from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest
import pytest_asyncio

from dragoman.demo.callers import verified_caller
from e2e.harness import EchoApp, Mesh, Pod, eventually
from e2e.harness.apps import APPLICATION_ID

pytestmark = [
    pytest.mark.netns,
    pytest.mark.envoy,
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.usefixtures("settled"),
]

TRANSPARENT = {"sidecar.istio.io/interceptionMode": "TPROXY"}
APP = EchoApp(http=(8080, 8081), tcp=(9000,))
INGRESS = """
apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: {name: client, namespace: default}
spec:
  workloadSelector: {labels: {app: client}}
  ingress:
  - {port: {number: 8000, protocol: HTTP, name: http}, defaultEndpoint: "127.0.0.1:8080"}
  - {port: {number: 8001, protocol: HTTP, name: http-own}, defaultEndpoint: "0.0.0.0:8081"}
"""


@dataclass(frozen=True, slots=True)
class Cast:
    """A server captured by nftables and a client by iptables, both transparently; one that is not meshed."""

    mesh: Mesh
    server: Pod
    client: Pod
    stranger: Pod

    @property
    def six(self) -> str:
        return f"[{self.server.spec.more_addresses[0]}]"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def cast(shared_mesh: Mesh) -> AsyncIterator[Cast]:
    await shared_mesh.service("server", {"http": 8080, "tcp-echo": 9000})
    shared_mesh.configuration.apply(INGRESS)
    shared_mesh.capture_backend = "nftables"
    async with (
        shared_mesh.pod("server", app=APP, sidecar=True, annotations=TRANSPARENT, ipv6="also") as server,
        shared_mesh.pod("stranger", ipv6="also") as stranger,
    ):
        shared_mesh.capture_backend = "iptables"
        async with shared_mesh.pod("client", app=APP, sidecar=True, annotations=TRANSPARENT, ipv6="also") as client:
            yield Cast(shared_mesh, server, client, stranger)


async def test_by_mutual_tls(cast: Cast) -> None:
    echo = (await cast.client.http("http://server:8080/")).echo
    assert (echo.workload, echo.peer) == ("server", cast.client.address)
    assert verified_caller(echo.headers["x-forwarded-client-cert"]) == "spiffe://cluster.local/ns/default/sa/client"
    async with cast.client.tcp("server", 9000) as connection:
        await connection.send(b"salaam")
        assert await connection.receive(6) == b"salaam"
    assert (await cast.client.http(f"http://{cast.six}:8080/")).echo.peer == cast.client.spec.more_addresses[0]


async def test_in_plaintext_on_ports_of_a_service_and_on_others(cast: Cast) -> None:
    (six,) = cast.stranger.spec.more_addresses
    for port in (8080, 8081):
        assert (await cast.stranger.http(f"http://{cast.server.address}:{port}/")).echo.peer == cast.stranger.address
        assert (await cast.stranger.http(f"http://{cast.six}:{port}/")).echo.peer == six
    # The application is not there, and Envoy says so: the answer of the kernel came back to it.
    assert (await cast.stranger.http(f"http://{cast.server.address}:8099/")).status == 503


async def test_a_pod_to_itself(cast: Cast) -> None:
    application = cast.server.as_user(APPLICATION_ID)
    by_service = (await application.http("http://server:8080/")).echo
    assert by_service.peer == cast.server.address
    assert (
        verified_caller(by_service.headers["x-forwarded-client-cert"]) == "spiffe://cluster.local/ns/default/sa/server"
    )
    for itself in (cast.server.address, cast.six, "127.0.0.1"):
        echo = (await application.http(f"http://{itself}:8080/")).echo
        assert "x-forwarded-client-cert" not in echo.headers
        assert echo.peer == itself.strip("[]")


async def test_where_the_application_is_at_a_loopback_address(cast: Cast) -> None:
    """From there it could not answer a client's own address."""
    local = await eventually(
        lambda: cast.stranger.http(f"http://{cast.client.address}:8000/"), lambda answer: answer.status == 200
    )
    assert local.echo.peer == "127.0.0.1"
    assert (await cast.stranger.http(f"http://{cast.client.address}:8001/")).echo.peer == cast.stranger.address

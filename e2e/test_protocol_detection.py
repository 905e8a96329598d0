"""Ports whose protocol is not declared, applications that speak TLS themselves, and servers that speak first.

A proxy that has to tell protocols apart waits for the client's first bytes. A server that speaks first is stuck then,
unless its port is declared `tcp` or MeshConfig has a protocolDetectionTimeout (0, for ever, by default). Which way it
is in each mode of the server is stated here, as Istio's documentation has it ("Protocol Selection", "Server First
Protocols"). The inspectors see no end to a first line that could still become HTTP, and none to fewer than five bytes
that could still become TLS: hence whole lines.
"""

import ssl
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from functools import partial

import pytest
import pytest_asyncio

from dragoman.demo.callers import verified_caller
from e2e.harness import EchoApp, Mesh, Pod, eventually, failing, mesh_settings
from e2e.harness.capture import INBOUND_SOURCE

pytestmark = [
    pytest.mark.netns,
    pytest.mark.envoy,
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.usefixtures("settled"),
]

UNDECLARED = {"web": 8080, "secure": 8443, "rpc": 9090, "echo": 9000, "hello": 9001}
DECLARED = {"https": 8444, "tcp-hello": 9002}
APP = EchoApp(http=(8080,), https=(8443, 8444), grpc=(9090,), tcp=(9000,), greeting=(9001, 9002))
CLIENT = "spiffe://cluster.local/ns/default/sa/client"
GREETING = b"welcome to server v1\n"

ALL_MODES = pytest.mark.parametrize("mode", ["permissive", "strict", "disable"])
MUTUAL_TLS = pytest.mark.parametrize("mode", ["permissive", "strict"])
PLAINTEXT = pytest.mark.parametrize("mode", ["permissive", "disable"])


@dataclass(frozen=True, slots=True)
class Cast:
    """A meshed server in a namespace of each mode; a meshed client and one that is not."""

    mesh: Mesh
    client: Pod
    stranger: Pod


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def cast(shared_mesh: Mesh) -> AsyncIterator[Cast]:
    for mode in ("permissive", "strict", "disable"):
        await shared_mesh.service("server", UNDECLARED | DECLARED, namespace=mode)
        shared_mesh.configuration.apply(
            f"""
            apiVersion: security.istio.io/v1
            kind: PeerAuthentication
            metadata: {{name: default, namespace: {mode}}}
            spec: {{mtls: {{mode: {mode.upper()}}}}}
            """
        )
    async with (
        shared_mesh.pod("server", app=APP, namespace="permissive", sidecar=True),
        shared_mesh.pod("server", app=APP, namespace="strict", sidecar=True),
        shared_mesh.pod("server", app=APP, namespace="disable", sidecar=True),
        shared_mesh.pod("client", sidecar=True) as client,
        shared_mesh.pod("stranger") as stranger,
    ):
        yield Cast(shared_mesh, client, stranger)


@pytest.fixture
def trusting() -> ssl.SSLContext:
    """A client of the applications' own TLS, whose certificates nobody has signed."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


# HTTP and bytes on undeclared ports.


@MUTUAL_TLS
async def test_meshed_requests_are_found_to_be_http(cast: Cast, mode: str) -> None:
    answer = await cast.client.http(f"http://server.{mode}:8080/")
    assert (answer.echo.protocol, answer.echo.peer) == ("HTTP/1.1", INBOUND_SOURCE)
    assert verified_caller(answer.echo.headers["x-forwarded-client-cert"]) == CLIENT
    answer = await cast.client.h2c(f"http://server.{mode}:8080/")
    assert answer.echo.protocol == "HTTP/2", "the protocol of the client is kept all the way"
    assert verified_caller(answer.echo.headers["x-forwarded-client-cert"]) == CLIENT
    said = await cast.client.grpc_echo(f"server.{mode}:9090", b"salaam")
    assert verified_caller(said["metadata"]["x-forwarded-client-cert"]) == CLIENT


@PLAINTEXT
async def test_plaintext_requests_are_found_to_be_http(cast: Cast, mode: str) -> None:
    answer = await cast.stranger.http(f"http://server.{mode}:8080/")
    assert answer.headers["server"] == "istio-envoy", "the request was read, not passed on as bytes"
    assert "x-forwarded-client-cert" not in answer.echo.headers
    answer = await cast.stranger.h2c(f"http://server.{mode}:8080/")
    assert (answer.echo.protocol, answer.headers["server"]) == ("HTTP/2", "istio-envoy")


async def test_plaintext_requests_to_a_strict_server_are_refused(cast: Cast) -> None:
    for port in (8080, 9090):
        assert isinstance(await failing(cast.stranger.http(f"http://server.strict:{port}/")), ConnectionError)


@ALL_MODES
async def test_meshed_bytes_are_passed_on(cast: Cast, mode: str) -> None:
    async with cast.client.tcp(f"server.{mode}", 9000) as connection:
        await connection.send(b"salaam\n")
        assert await connection.receive(7) == b"salaam\n"


@PLAINTEXT
async def test_plaintext_bytes_are_passed_on(cast: Cast, mode: str) -> None:
    async with cast.stranger.tcp(f"server.{mode}", 9000) as connection:
        await connection.send(b"salaam\n")
        assert await connection.receive(7) == b"salaam\n"


# The application's own TLS.


@ALL_MODES
@pytest.mark.parametrize("port", [8443, 8444])
async def test_the_applications_own_tls_goes_through_the_mesh(
    cast: Cast, trusting: ssl.SSLContext, mode: str, port: int
) -> None:
    echo = (await cast.client.http(f"https://server.{mode}:{port}/", tls=trusting)).echo
    assert (echo.tls, echo.peer) == (True, INBOUND_SOURCE)


@PLAINTEXT
@pytest.mark.parametrize("port", [8443, 8444])
async def test_the_applications_own_tls_comes_from_outside_the_mesh(
    cast: Cast, trusting: ssl.SSLContext, mode: str, port: int
) -> None:
    echo = (await cast.stranger.http(f"https://server.{mode}:{port}/", tls=trusting)).echo
    assert (echo.tls, echo.peer) == (True, INBOUND_SOURCE)


async def test_another_tls_than_the_meshs_is_refused_by_a_strict_server(cast: Cast, trusting: ssl.SSLContext) -> None:
    for port in (8443, 8444):
        request = cast.stranger.http(f"https://server.strict:{port}/", tls=trusting)
        assert isinstance(await failing(request), ConnectionError)


# A server that speaks first.


async def greeted(pod: Pod, host: str, port: int, *, seconds: float = 10) -> bytes:
    """What the server says before the client has said anything."""
    async with pod.tcp(host, port) as connection:
        return await connection.receive(seconds=seconds)


async def unheard(pod: Pod, host: str, port: int) -> None:
    """The server is not heard before the client speaks, and is then."""
    async with pod.tcp(host, port) as connection:
        with pytest.raises(TimeoutError):
            await connection.receive(seconds=0.5)
        await connection.send(b"salaam\n")
        assert await connection.receive(len(GREETING) + 7) == GREETING + b"salaam\n"


@ALL_MODES
async def test_a_declared_server_first_port_greets_meshed_clients(cast: Cast, mode: str) -> None:
    assert await greeted(cast.client, f"server.{mode}", 9002) == GREETING


async def test_a_declared_server_first_port_without_mutual_tls_greets_everyone(cast: Cast) -> None:
    assert await greeted(cast.stranger, "server.disable", 9002) == GREETING


async def test_a_declared_permissive_server_first_port_waits_for_plaintext_clients(cast: Cast) -> None:
    await unheard(cast.stranger, "server.permissive", 9002)


async def test_a_strict_server_greets_no_plaintext_client(cast: Cast) -> None:
    for port in (9001, 9002):
        async with cast.stranger.tcp("server.strict", port) as connection:
            await connection.send(b"salaam\n")
            assert await connection.receive_until_closed() == b""


@ALL_MODES
async def test_an_undeclared_server_first_port_waits_for_meshed_clients(cast: Cast, mode: str) -> None:
    await unheard(cast.client, f"server.{mode}", 9001)


@PLAINTEXT
async def test_an_undeclared_server_first_port_waits_for_plaintext_clients(cast: Cast, mode: str) -> None:
    await unheard(cast.stranger, f"server.{mode}", 9001)


@pytest.fixture
def detection_timeout(cast: Cast) -> Iterator[None]:
    with cast.mesh.configuration.during(mesh_settings("protocolDetectionTimeout: 0.2s")):
        yield


@pytest.mark.usefixtures("detection_timeout")
async def test_with_a_detection_timeout_all_server_first_ports_greet(cast: Cast) -> None:
    expected = {
        (cast.client, "server.permissive", 9001),
        (cast.client, "server.permissive", 9002),
        (cast.client, "server.strict", 9001),
        (cast.client, "server.strict", 9002),
        (cast.client, "server.disable", 9001),
        (cast.client, "server.disable", 9002),
        (cast.stranger, "server.permissive", 9001),
        (cast.stranger, "server.permissive", 9002),
        (cast.stranger, "server.disable", 9001),
        (cast.stranger, "server.disable", 9002),
    }
    await cast.mesh.settled()
    for pod, host, port in expected:
        await eventually(partial(greeted, pod, host, port, seconds=5), lambda said: said == GREETING, steady=1)
    async with cast.stranger.tcp("server.strict", 9002) as connection:
        assert await connection.receive_until_closed() == b"", "no plaintext, however long one waits"

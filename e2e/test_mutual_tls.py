"""Who speaks mutual TLS with whom: every mode of a server, every kind of client, every protocol."""

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest
import pytest_asyncio

from dragoman.demo.callers import verified_caller
from e2e.harness import Echo, EchoApp, Mesh, Pod, eventually, failing
from e2e.harness.capture import INBOUND_SOURCE

pytestmark = [
    pytest.mark.netns,
    pytest.mark.envoy,
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.usefixtures("settled"),
]

PORTS = {"http": 8080, "http-more": 8081, "http2-api": 8082, "grpc": 9090, "tcp-echo": 9000}
APP = EchoApp(http=(8080, 8081, 8082), grpc=(9090,), tcp=(9000,))
CLIENT = "spiffe://cluster.local/ns/default/sa/client"
FORGED = {"x-forwarded-client-cert": "By=spiffe://cluster.local/ns/default/sa/server;URI=spiffe://cluster.local/king"}

MESHED_MODES = pytest.mark.parametrize("mode", ["permissive", "strict"])


@dataclass(frozen=True, slots=True)
class Cast:
    """Meshed servers in the namespaces permissive, strict and disable, which say it all; one that is not meshed in
    the namespace legacy; a meshed client and one that is not."""

    mesh: Mesh
    client: Pod
    stranger: Pod


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def cast(shared_mesh: Mesh) -> AsyncIterator[Cast]:
    for namespace in ("permissive", "strict", "disable", "legacy"):
        await shared_mesh.service("server", PORTS, namespace=namespace)
    shared_mesh.configuration.apply(in_namespace("strict", "STRICT"), in_namespace("disable", "DISABLE"))
    async with (
        shared_mesh.pod("server", app=APP, namespace="permissive", sidecar=True),
        shared_mesh.pod("server", app=APP, namespace="strict", sidecar=True),
        shared_mesh.pod("server", app=APP, namespace="disable", sidecar=True),
        shared_mesh.pod("server", app=APP, namespace="legacy"),
        shared_mesh.pod("client", sidecar=True) as client,
        shared_mesh.pod("stranger") as stranger,
    ):
        yield Cast(shared_mesh, client, stranger)


def in_namespace(namespace: str, mode: str, name: str = "default") -> str:
    return f"""
        apiVersion: security.istio.io/v1
        kind: PeerAuthentication
        metadata: {{name: {name}, namespace: {namespace}}}
        spec: {{mtls: {{mode: {mode}}}}}
    """


def of_workload(namespace: str, mode: str, ports: str = "{}") -> str:
    return f"""
        apiVersion: security.istio.io/v1
        kind: PeerAuthentication
        metadata: {{name: server, namespace: {namespace}}}
        spec:
          selector: {{matchLabels: {{app: server}}}}
          mtls: {{mode: {mode}}}
          portLevelMtls: {ports}
    """


def caller(echo: Echo) -> str | None:
    return verified_caller(echo.headers.get("x-forwarded-client-cert", ""))


# Meshed client, meshed server: the identity is verified, and under STRICT nothing else would have got through.


@MESHED_MODES
async def test_http1(cast: Cast, mode: str) -> None:
    echo = (await cast.client.http(f"http://server.{mode}:8080/hello", method="POST", body=b"salaam")).echo
    assert (echo.protocol, echo.path, echo.body, echo.peer) == ("HTTP/1.1", "/hello", "salaam", INBOUND_SOURCE)
    assert caller(echo) == CLIENT


@MESHED_MODES
async def test_http2_with_prior_knowledge(cast: Cast, mode: str) -> None:
    answer = await cast.client.h2c(f"http://server.{mode}:8082/", method="POST", body=b"salaam")
    assert (answer.protocol, answer.echo.protocol, answer.echo.body) == ("HTTP/2", "HTTP/2", "salaam")
    assert caller(answer.echo) == CLIENT


@MESHED_MODES
async def test_grpc(cast: Cast, mode: str) -> None:
    said = await cast.client.grpc_echo(f"server.{mode}:9090", b"salaam", metadata={"x-user": "amina"})
    assert (said["message"], said["metadata"]["x-user"]) == ("salaam", "amina")
    assert verified_caller(said["metadata"]["x-forwarded-client-cert"]) == CLIENT


@MESHED_MODES
async def test_websocket(cast: Cast, mode: str) -> None:
    async with cast.client.websocket(f"http://server.{mode}:8080/") as websocket:
        assert (await websocket.receive_json())["workload"] == "server"
        for message in ("one", "two"):
            await websocket.send_str(message)
            assert await websocket.receive_str() == message


@MESHED_MODES
async def test_tcp(cast: Cast, mode: str) -> None:
    async with cast.client.tcp(f"server.{mode}", 9000) as connection:
        for message in (b"one", b"two!"):
            await connection.send(message)
            assert await connection.receive(len(message)) == message
        connection.finish()
        assert await connection.receive() == b"", "the end of one direction ends the other, as the server answers it"


@MESHED_MODES
async def test_a_meshed_client_cannot_forge_its_identity(cast: Cast, mode: str) -> None:
    echo = (await cast.client.http(f"http://server.{mode}:8080/", headers=FORGED)).echo
    assert caller(echo) == CLIENT
    assert "king" not in json.dumps(dict(echo.headers))


# Plaintext.


async def test_a_permissive_server_takes_plaintext_and_believes_no_identity(cast: Cast) -> None:
    echo = (await cast.stranger.http("http://server.permissive:8080/", headers=FORGED)).echo
    assert "x-forwarded-client-cert" not in echo.headers
    assert echo.peer == INBOUND_SOURCE, "captured all the same"
    assert (await cast.stranger.h2c("http://server.permissive:8082/")).echo.protocol == "HTTP/2"
    async with cast.stranger.tcp("server.permissive", 9000) as connection:
        await connection.send(b"salaam")
        assert await connection.receive(6) == b"salaam"


async def test_a_strict_server_refuses_plaintext(cast: Cast) -> None:
    assert isinstance(await failing(cast.stranger.http("http://server.strict:8080/")), ConnectionError)
    assert isinstance(await failing(cast.stranger.h2c("http://server.strict:8082/")), ConnectionError)
    async with cast.stranger.tcp("server.strict", 9000) as connection:
        await connection.send(b"salaam")
        assert await connection.receive_until_closed() == b""


async def test_a_server_without_mutual_tls_gets_plaintext_from_everyone(cast: Cast) -> None:
    for client in (cast.client, cast.stranger):
        echo = (await client.http("http://server.disable:8080/", headers=FORGED)).echo
        assert (echo.peer, caller(echo)) == (INBOUND_SOURCE, None)
        assert "x-forwarded-client-cert" not in echo.headers
        async with client.tcp("server.disable", 9000) as connection:
            await connection.send(b"salaam")
            assert await connection.receive(6) == b"salaam"


async def test_a_server_without_a_sidecar_gets_plaintext_from_meshed_clients(cast: Cast) -> None:
    echo = (await cast.client.http("http://server.legacy:8080/")).echo
    assert (echo.peer, echo.tls) == (cast.client.address, False)
    assert "x-forwarded-client-cert" not in echo.headers
    assert (await cast.client.grpc_echo("server.legacy:9090", b"salaam"))["message"] == "salaam"
    async with cast.client.tcp("server.legacy", 9000) as connection:
        await connection.send(b"salaam")
        assert await connection.receive(6) == b"salaam"


# Which policy holds.


async def test_the_most_specific_policy_holds(cast: Cast) -> None:
    async def takes_plaintext() -> bool:
        return await failing(cast.stranger.http("http://server.permissive:8080/")) is None

    async def takes_meshed() -> str | None:
        return caller((await cast.client.http("http://server.permissive:8080/")).echo)

    configuration = cast.mesh.configuration
    with configuration.during(in_namespace("istio-system", "STRICT")):
        await eventually(takes_plaintext, lambda takes: not takes)
        assert await takes_meshed() == CLIENT
        with configuration.during(in_namespace("permissive", "PERMISSIVE")):
            await eventually(takes_plaintext, lambda takes: takes)
            with configuration.during(of_workload("permissive", "STRICT")):
                await eventually(takes_plaintext, lambda takes: not takes)
                assert await takes_meshed() == CLIENT
                configuration.apply(of_workload("permissive", "STRICT", "{8080: {mode: PERMISSIVE}}"))
                await eventually(takes_plaintext, lambda takes: takes)
                assert await failing(cast.stranger.http("http://server.permissive:8081/")) is not None
                configuration.apply(of_workload("permissive", "UNSET"))
                await eventually(takes_plaintext, lambda takes: takes)
            assert await takes_plaintext()
        await eventually(takes_plaintext, lambda takes: not takes)
    await eventually(takes_plaintext, lambda takes: takes)


async def test_a_port_without_mutual_tls_on_a_strict_server(cast: Cast) -> None:
    with cast.mesh.configuration.during(of_workload("strict", "STRICT", "{8080: {mode: DISABLE}}")):
        await eventually(
            lambda: cast.stranger.http("http://server.strict:8080/"), lambda answer: caller(answer.echo) is None
        )
        await eventually(
            lambda: cast.client.http("http://server.strict:8080/"),
            lambda answer: answer.status == 200 and caller(answer.echo) is None,
        )
        assert caller((await cast.client.http("http://server.strict:8081/")).echo) == CLIENT
        assert await failing(cast.stranger.http("http://server.strict:8081/")) is not None
    await eventually(
        lambda: cast.client.http("http://server.strict:8080/"),
        lambda answer: answer.status == 200 and caller(answer.echo) == CLIENT,
    )


@pytest.mark.parametrize("keep_alive", [True, False])
async def test_the_way_from_permissive_to_strict_and_back_fails_no_meshed_request(cast: Cast, keep_alive: bool) -> None:
    async def plaintext() -> Exception | None:
        return await failing(cast.stranger.http("http://server.permissive:8080/"))

    async with cast.client.traffic("http://server.permissive:8080/", keep_alive=keep_alive) as traffic:
        with cast.mesh.configuration.during(in_namespace("permissive", "STRICT")):
            await eventually(plaintext, lambda error: error is not None)
            await traffic.more(25)
        await eventually(plaintext, lambda error: error is None)
        await traffic.more(25)
    assert not traffic.errors
    assert traffic.statuses.keys() == {200}
    assert {caller(answer.echo) for answer in traffic.answers} == {CLIENT}

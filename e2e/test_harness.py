"""The harness itself: pods are apart, capture takes what it should and nothing else, clients tell what they see.

No control plane: the Envoys have bootstraps of their own.
"""

import asyncio
import ssl
import sys
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import grpc
import pytest
import pytest_asyncio

from e2e.harness import Command, EchoApp, Mesh, Pod, Port, ProcessError, ServiceSpec, namespaces
from e2e.harness.capture import INBOUND_SOURCE, PROXY_ID
from e2e.harness.commands import run
from e2e.static_sidecars import INBOUND_MARK, OUTBOUND_MARK, static_sidecar

pytestmark = [pytest.mark.netns, pytest.mark.envoy, pytest.mark.asyncio(loop_scope="module")]

APP = EchoApp(http=(8080, 15021), https=(8443,), grpc=(9090,), tcp=(9000,), greeting=(9001,))


@dataclass(frozen=True, slots=True)
class Pair:
    """A meshed client, a meshed server behind a service, and a pod without a sidecar."""

    mesh: Mesh
    service: ServiceSpec
    client: Pod
    server: Pod
    stranger: Pod


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def pair() -> AsyncIterator[Pair]:
    """The pair, for all tests that leave it as it is."""
    async with Mesh.running(static_sidecar) as mesh:
        ports = {"http": 8080, "grpc": 9090, "tcp": 9000, "greeting": 9001, "https": 8443}
        service = await mesh.service("server", [Port("http", 80, 8080)])
        await mesh.service("all", ports, selector={"app": "server"})
        async with (
            mesh.pod("server", app=APP, sidecar=True) as server,
            mesh.pod("client", sidecar=lambda spec: static_sidecar(spec, {service: server.spec})) as client,
            mesh.pod("stranger") as stranger,
        ):
            yield Pair(mesh, service, client, server, stranger)


async def test_a_request_to_a_service_passes_the_envoys_of_both_pods(pair: Pair) -> None:
    answer = await pair.client.http("http://server/hello?header=x-color:blue", headers={"x-user": "amina"})
    assert answer.status == 200
    assert answer.headers["x-color"] == "blue"
    echo = answer.echo
    assert echo.headers[OUTBOUND_MARK] == "client-v1-1"
    assert echo.headers[INBOUND_MARK] == "server-v1-1"
    assert (echo.workload, echo.host, echo.headers["x-user"]) == ("server", "server", "amina")
    assert echo.peer == INBOUND_SOURCE, "the application's peer is its own sidecar"


async def test_every_name_of_a_service_leads_to_it(pair: Pair) -> None:
    for name in ("server", "server.default", "server.default.svc", "server.default.svc.cluster.local"):
        assert (await pair.client.http(f"http://{name}/")).echo.host == name


async def test_envoys_own_user_is_not_captured_on_the_way_out(pair: Pair) -> None:
    echo = (await pair.client.as_user(PROXY_ID).http("http://server/")).echo
    assert OUTBOUND_MARK not in echo.headers, "a request of user 1337 went through its own Envoy: a loop"
    assert INBOUND_MARK in echo.headers


async def test_an_unmeshed_pod_reaches_the_service_and_is_captured_at_the_server(pair: Pair) -> None:
    echo = (await pair.stranger.http("http://server/")).echo
    assert OUTBOUND_MARK not in echo.headers
    assert INBOUND_MARK in echo.headers


async def test_an_application_reaches_itself_without_its_envoy(pair: Pair) -> None:
    for address in ("127.0.0.1", pair.server.address):
        echo = (await pair.server.http(f"http://{address}:8080/")).echo
        assert not {OUTBOUND_MARK, INBOUND_MARK} & echo.headers.keys()


async def test_a_pod_that_calls_its_own_service_passes_its_envoy_in_both_directions(pair: Pair) -> None:
    before = await pair.server.envoy.stats("^http.inbound.downstream_rq_total$")
    async with pair.mesh.pod("mirror", app=EchoApp(http=(8080,)), sidecar=True, labels={"app": "loop"}) as mirror:
        loop = await pair.mesh.service("loop", [Port("http", 80, 8080)])
        mirror.envoy.bootstrap = static_sidecar(mirror.spec, {loop: mirror.spec})
        await mirror.envoy.restart()
        echo = (await mirror.http("http://loop/")).echo
    assert (echo.headers[OUTBOUND_MARK], echo.headers[INBOUND_MARK]) == ("mirror-v1-1", "mirror-v1-1")
    assert await pair.server.envoy.stats("^http.inbound.downstream_rq_total$") == before


async def test_readiness_and_metrics_ports_are_not_captured(pair: Pair) -> None:
    echo = (await pair.stranger.http(f"http://{pair.server.address}:15021/")).echo
    assert INBOUND_MARK not in echo.headers
    assert echo.peer == pair.stranger.address


async def test_http2_with_prior_knowledge_stays_http2(pair: Pair) -> None:
    answer = await pair.client.h2c("http://server/?size=200000", method="POST", body=b"hello")
    assert (answer.status, answer.protocol, len(answer.body)) == (200, "HTTP/2", 200_000)
    echo = (await pair.client.h2c("http://server/", method="POST", body=b"hello")).echo
    assert (echo.protocol, echo.body, echo.headers[OUTBOUND_MARK]) == ("HTTP/2", "hello", "client-v1-1")
    assert (await pair.client.http("http://server/")).echo.protocol == "HTTP/1.1"


async def test_a_websocket_stays_open_through_both_envoys(pair: Pair) -> None:
    async with pair.client.websocket("http://server/") as websocket:
        assert (await websocket.receive_json())["workload"] == "server"
        for message in ("one", "two"):
            await websocket.send_str(message)
            assert await websocket.receive_str() == message


async def test_a_refused_websocket_tells_the_status(pair: Pair) -> None:
    forbidden = pair.client.websocket("http://server/?status=403")
    with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
        await forbidden.__aenter__()
    assert refused.value.status == 403


async def test_grpc_calls_of_the_real_library(pair: Pair) -> None:
    said = await pair.client.grpc_echo("all:9090", b"salaam", metadata={"x-user": "amina"})
    assert (said["workload"], said["message"], said["metadata"]["x-user"]) == ("server", "salaam", "amina")
    assert said["metadata"][INBOUND_MARK] == "server-v1-1"
    with pytest.raises(grpc.aio.AioRpcError) as failed:
        await pair.client.grpc_echo("all:9090", metadata={"fail": "7"})
    assert failed.value.code() is grpc.StatusCode.PERMISSION_DENIED
    async with pair.client.grpc("all:9090") as channel:
        call: Callable[[], grpc.aio.StreamStreamCall[bytes, bytes]]
        call = channel.stream_stream("/e2e.Echo/Stream", bytes, bytes)  # type: ignore[assignment]
        stream = call()
        await stream.write(b"one")
        assert await stream.read() == b"one"


async def test_tcp_in_either_order_of_speaking(pair: Pair) -> None:
    async with pair.client.tcp("all", 9000) as connection:
        await connection.send(b"ping")
        assert await connection.receive(4) == b"ping"
    async with pair.client.tcp("all", 9001) as connection:
        assert await connection.receive() == b"welcome to server v1\n"
        await connection.send(b"thanks")
        assert await connection.receive(6) == b"thanks"


async def test_tls_that_the_application_ends_itself(pair: Pair) -> None:
    trust_all = ssl.create_default_context()
    trust_all.check_hostname = False
    trust_all.verify_mode = ssl.CERT_NONE
    echo = (await pair.client.http("https://all:8443/", tls=trust_all)).echo
    assert (echo.tls, echo.protocol) == (True, "HTTP/1.1")
    with pytest.raises(ConnectionError, match="CERTIFICATE_VERIFY_FAILED"):
        await pair.client.http("https://all:8443/", tls=ssl.create_default_context())


async def test_chosen_statuses_and_slow_answers(pair: Pair) -> None:
    assert (await pair.client.http("http://server/?status=418")).status == 418
    with pytest.raises(TimeoutError):
        await pair.client.http("http://server/?delay=30", seconds=0.2)


async def test_no_answer_is_a_connection_error(pair: Pair) -> None:
    for url in ("http://nobody/", "http://10.96.77.77/", f"http://{pair.server.address}:15020/"):
        with pytest.raises(ConnectionError):
            await pair.stranger.http(url)
    with pytest.raises(ConnectionError):
        await pair.stranger.http("http://127.0.0.1:8080/")  # of its own, where nothing listens
    with pytest.raises(ConnectionError):
        await pair.server.http("http://127.0.0.1:8080/?close=reset")


async def test_connections_take_turns_at_the_ready_pods_of_a_service(pair: Pair) -> None:
    mesh = pair.mesh
    await mesh.service("turns", {"http": 8080})
    app = EchoApp(http=(8080,))
    async with mesh.pod("turns", app=app), mesh.pod("turns", app=app, version="v2") as second:
        versions = [(await pair.stranger.http("http://turns:8080/")).echo.version for _ in range(4)]
        assert sorted(versions) == ["v1", "v1", "v2", "v2"]
        async with mesh.pod("turns", app=app, version="v3", wait=False) as unready:
            versions = [(await pair.stranger.http("http://turns:8080/")).echo.version for _ in range(4)]
            assert "v3" not in versions
            assert (await pair.stranger.http(f"http://{unready.address}:8080/")).echo.version == "v3"
            await mesh.set_ready(unready, True)
            await mesh.set_ready(second, False)
            versions = [(await pair.stranger.http("http://turns:8080/")).echo.version for _ in range(4)]
            assert sorted(versions) == ["v1", "v1", "v3", "v3"]


async def test_a_host_beyond_the_cluster(pair: Pair) -> None:
    for _ in range(2):  # the second has the name and the address of the first, which is gone
        async with pair.mesh.host("api.example.com", "192.0.2.7", app=EchoApp(http=(80,))):
            # In less time than it takes the kernel to find out that a neighbour has gone.
            echo = (await pair.client.http("http://api.example.com/", seconds=5)).echo
            assert (echo.workload, echo.host) == ("api.example.com", "api.example.com")
            assert echo.peer == pair.client.address
            assert not list(pair.mesh.configuration.folder.glob("*.pod.api*"))
    with pytest.raises(ConnectionError):
        await pair.client.http("http://api.example.com/")


async def test_programs_of_pods_call_one_another_by_name(pair: Pair) -> None:
    mesh = pair.mesh
    for name in ("catalog", "prices"):
        await mesh.service(name, {"http": 8080}, namespace="shop")
    async with (
        mesh.pod("prices", app=shop("prices"), namespace="shop", sidecar=True),
        mesh.pod("catalog", app=shop("catalog"), namespace="shop", sidecar=True),
    ):
        page = (await pair.stranger.http("http://catalog.shop:8080/")).json
    assert page["upstreams"]["prices"]["version"] == "v1"


def shop(service: str) -> Command:
    """One of the demo's sample services."""
    module = (sys.executable, "-m", "dragoman.demo.shop")
    return Command((*module, "--service", service, "--address", "0.0.0.0:8080"), ports=(8080,))


async def test_steady_traffic_sees_an_envoy_restart(pair: Pair) -> None:
    mesh = pair.mesh
    app = EchoApp(http=(8080,))
    async with mesh.pod("restarted", app=app, sidecar=True) as server:
        url = f"http://{server.address}:8080/"
        async with pair.stranger.traffic(url, per_second=100, keep_alive=False) as traffic:
            await traffic.more(20)
            assert traffic.statuses == {200: len(traffic.outcomes)}
            await server.envoy.kill()
            await traffic.until(lambda outcome: outcome.error is not None)
            await server.envoy.start()
            await traffic.until(lambda outcome: outcome.answer is not None)
        assert traffic.errors
        assert set(traffic.statuses) == {200}
        assert not any(isinstance(error, TimeoutError) for error in traffic.errors), "no request waits for its limit"


async def test_the_envoy_tells_its_statistics_and_configuration(pair: Pair) -> None:
    assert (await pair.client.envoy.stats(r"^server\.live$")) == {"server.live": 1}
    dump = await pair.client.envoy.config_dump()
    assert any(config["@type"].endswith("ClustersConfigDump") for config in dump["configs"])


async def test_an_envoy_that_refuses_its_bootstrap_is_an_error_with_its_log(pair: Pair) -> None:
    broken = pair.mesh.pod("broken", sidecar=lambda spec: {**static_sidecar(spec), "no_such_field": 1})
    with pytest.raises(ProcessError, match="no_such_field"):
        await broken.__aenter__()


async def test_the_configuration_tells_of_pods_as_long_as_they_are_there(pair: Pair) -> None:
    folder = pair.mesh.configuration.folder
    async with pair.mesh.pod("told", namespace="other", service_account="teller"):
        assert "serviceAccountName: teller" in (folder / "other.pod.told-v1-1.yaml").read_text()
    assert not (folder / "other.pod.told-v1-1.yaml").exists()
    assert pair.server.address in (folder / "default.endpointslice.server-slice.yaml").read_text()
    assert list(folder.glob("*.draft")) == []


async def test_programs_in_a_pod_find_services_by_name_and_nothing_else(pair: Pair) -> None:
    from e2e.harness import processes

    log = pair.mesh.directory / "getent.log"
    for name, status in (("server.default.svc.cluster.local", 0), ("example.com", 2)):
        namespace = pair.client.namespace.name
        found = await processes.start(namespace, "getent", "hosts", name, name="getent", log=log, uid=1000)
        assert await found.wait() == status
    assert log.read_text().split()[0] == pair.service.address


class FailingError(Exception):
    """In the place of an assertion."""


async def test_nothing_is_left_of_a_mesh_whose_test_failed() -> None:
    left_behind: list[Path] = []

    async def fail() -> None:
        async with Mesh.running(static_sidecar) as mesh, mesh.pod("a", app=EchoApp(http=(80,)), sidecar=True) as pod:
            assert pod.application is not None
            for name in (pod.namespace.name, mesh.network.node.name):
                left_behind.extend((namespaces.NETNS / name, namespaces.ETC / name))
            left_behind.extend(Path(f"/proc/{pid}") for pid in (pod.application.pid, pod.envoy.process.pid))
            left_behind.append(mesh.directory)
            assert all(map(exists, left_behind))
            raise FailingError

    with pytest.raises(FailingError):
        await fail()
    assert not [path for path in left_behind if exists(path)]


async def test_leftovers_of_killed_runs_are_deleted_and_those_of_others_are_not() -> None:
    killed = await asyncio.create_subprocess_exec("true")
    await killed.wait()
    left = namespaces.Namespace(f"{namespaces.PREFIX}-{killed.pid}-abcdef-node", "10.244.0.1")
    async with namespaces.Network() as network:
        await run("ip", "netns", "add", left.name)
        assert left.name in await namespaces.delete_leftovers()
        assert not exists(left.path)
        assert exists(network.node.path), "a run that goes on lost its node"


def exists(path: Path) -> bool:
    """Whether there is such a file."""
    return path.exists()

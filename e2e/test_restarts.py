"""Programs end, with notice and without, and the traffic goes on."""

from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest
import pytest_asyncio

from dragoman.demo.callers import verified_caller
from e2e.harness import Client, EchoApp, Mesh, Pod, eventually, failing
from e2e.harness.control_plane import ControlPlane

pytestmark = [
    pytest.mark.netns,
    pytest.mark.envoy,
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.usefixtures("settled"),
]

URL = "http://server:8080/"
APP = EchoApp(http=(8080,), tcp=(9000,))
CLIENT = "spiffe://cluster.local/ns/default/sa/client"

RULES = """
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: server, namespace: default}
spec:
  hosts: [server]
  http: [{route: [{destination: {host: server}}], headers: {request: {set: {x-rules: "%s"}}}}]
"""


@dataclass(frozen=True, slots=True)
class Cast:
    """A service of two pods and two clients, all meshed."""

    mesh: Mesh
    first: Pod
    second: Pod
    client: Pod
    other: Pod

    @property
    def kubelet(self) -> Client:
        """Calls from the node."""
        return Client(self.mesh.network.node, resolve=lambda host: host)

    @property
    def control_plane(self) -> ControlPlane:
        assert self.mesh.control_plane is not None
        return self.mesh.control_plane


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def cast(shared_mesh: Mesh) -> AsyncIterator[Cast]:
    await shared_mesh.service("server", {"http": 8080, "tcp-echo": 9000})
    async with (
        shared_mesh.pod("server", app=APP, version="v1", sidecar=True) as first,
        shared_mesh.pod("server", app=APP, version="v2", sidecar=True) as second,
        shared_mesh.pod("client", sidecar=True) as client,
        shared_mesh.pod("other", sidecar=True) as other,
    ):
        yield Cast(shared_mesh, first, second, client, other)


# Envoys.


async def test_an_envoy_that_is_killed_comes_back_with_its_configuration(cast: Cast) -> None:
    with cast.mesh.configuration.during(RULES % "before"):
        await eventually(lambda: cast.client.http(URL), lambda answer: answer.echo.headers.get("x-rules") == "before")
        async with cast.other.traffic(URL) as others:
            await cast.client.envoy.kill()
            assert isinstance(await failing(cast.client.http(URL)), ConnectionError), "nothing leaves around the Envoy"
            await cast.client.envoy.start()
            await cast.client.envoy.ready()
            echo = (await cast.client.http(URL)).echo
            assert echo.headers["x-rules"] == "before"
            assert verified_caller(echo.headers["x-forwarded-client-cert"]) == CLIENT
            await others.more(20)
        assert not others.errors
        assert others.statuses.keys() == {200}


async def test_a_servers_envoy_that_is_killed_costs_no_request_that_may_be_retried(cast: Cast) -> None:
    """Its pod is an endpoint all the while, as Kubernetes has not noticed: connections are refused, and retried."""
    async with cast.client.traffic(URL, keep_alive=False) as traffic:
        await traffic.more(20)
        await cast.first.envoy.kill()
        # What was on its way may be lost with the Envoy; what begins later is not.
        await traffic.turn()
        during = await traffic.more(50)
        assert {outcome.answer.status for outcome in during if outcome.answer} == {200}
        await cast.first.envoy.start()
        await cast.first.envoy.ready()
        await traffic.until(lambda outcome: outcome.answer is not None and outcome.answer.echo.version == "v1")
    assert not traffic.errors


async def test_graceful_shutdown_without_an_agent_loses_no_request(cast: Cast) -> None:
    """Kubernetes' way: the pod is no endpoint any more; its preStop hook asks Envoy to drain; then SIGTERM."""
    async with (
        cast.client.traffic(URL, per_second=200) as meshed,
        cast.other.traffic(URL, per_second=50, keep_alive=False) as fresh,
        cast.mesh.pod("server", app=APP, version="leaving", sidecar=True) as leaving,
    ):
        await meshed.until(lambda outcome: outcome.answer is not None and outcome.answer.echo.version == "leaving")
        async with cast.client.tcp("server", 9000) as open_connection:
            await open_connection.send(b"salaam")
            assert await open_connection.receive(6) == b"salaam"
            await cast.mesh.set_ready(leaving, False)
            drain = await cast.kubelet.http(f"http://{leaving.address}:15020/drain")
            assert drain.status == 200
            assert (await leaving.envoy.admin("/ready")).status in (200, 503)

            await cast.mesh.forgotten(leaving, cast.client, cast.other)

            async def connections() -> int:
                stats = await leaving.envoy.stats(r"^listener\.0\.0\.0\.0_15006\.downstream_cx_active$")
                return sum(stats.values())

            await eventually(connections, lambda count: count <= 1, steady=0)
            await open_connection.send(b"still")
            assert await open_connection.receive(5) == b"still"
        assert await leaving.envoy.stop() == 0
        await meshed.more(50)
    assert not meshed.errors
    assert not fresh.errors
    assert meshed.statuses.keys() == fresh.statuses.keys() == {200}


# The control plane.


async def resources(pod: Pod) -> set[tuple[str, str]]:
    """Every dynamic resource of a pod's Envoy by name, with the time when it came."""
    found: set[tuple[str, str]] = set()

    def visit(node: object) -> None:
        if isinstance(node, dict):
            if "last_updated" in node and "version_info" in node:
                inner = next((value for value in node.values() if isinstance(value, dict)), node)
                found.add((str(inner.get("name") or inner.get("cluster_name")), str(node["last_updated"])))
            for value in node.values():
                visit(value)
        elif isinstance(node, list):
            for value in node:
                visit(value)

    visit(await pod.envoy.config_dump())
    return found


@pytest.mark.parametrize("how", ["killed", "stopped"])
async def test_the_control_plane_ends_and_comes_back(cast: Cast, how: str) -> None:
    await eventually(lambda: cast.client.http(URL), lambda answer: answer.status == 200)
    async with cast.client.traffic(URL, keep_alive=False) as traffic:
        await (cast.control_plane.kill() if how == "killed" else cast.control_plane.stop())
        await traffic.more(50)
        await cast.control_plane.start()

        with cast.mesh.configuration.during(RULES % how):
            await eventually(lambda: cast.client.http(URL), lambda answer: answer.echo.headers.get("x-rules") == how)
        await eventually(lambda: cast.client.http(URL), lambda answer: "x-rules" not in answer.echo.headers)
        await traffic.more(20)
    assert not traffic.errors
    assert traffic.statuses.keys() == {200}


async def test_what_has_not_changed_is_not_sent_again_by_a_control_plane_that_comes_back(cast: Cast) -> None:
    before = await resources(cast.other)
    await cast.control_plane.kill()
    await cast.control_plane.start()
    with cast.mesh.configuration.during(RULES % "again"):
        await eventually(lambda: cast.other.http(URL), lambda answer: answer.echo.headers.get("x-rules") == "again")
        await cast.mesh.settled()  # each type has a subscription of its own
        after = await resources(cast.other)
    # Private keys are kept nowhere: after a restart every workload gets a new one, and its certificate.
    assert {name for name, _ in after - before} == {"8080", "default"}


async def test_pods_that_start_without_a_control_plane_wait_for_it(cast: Cast) -> None:
    await cast.control_plane.kill()
    async with cast.mesh.pod("late", sidecar=True, wait=False) as late:
        assert isinstance(await failing(late.http(URL)), ConnectionError)
        await cast.control_plane.start()
        await late.envoy.ready()
        answer = await eventually(lambda: late.http(URL), lambda answer: answer.status == 200)
        assert verified_caller(answer.echo.headers["x-forwarded-client-cert"]) == (
            "spiffe://cluster.local/ns/default/sa/late"
        )

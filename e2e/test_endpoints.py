"""Pods come, go and move, and the traffic to their service notices nothing of it."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from functools import partial

import pytest
import pytest_asyncio

from e2e.harness import EchoApp, Mesh, Outcome, Pod, eventually

pytestmark = [
    pytest.mark.netns,
    pytest.mark.envoy,
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.usefixtures("settled"),
]

URL = "http://server:8080/"
APP = EchoApp(http=(8080,), tcp=(9000,))


@dataclass(frozen=True, slots=True)
class Cast:
    """A service with the pod v1, and a client; both meshed. The tests add pods."""

    mesh: Mesh
    first: Pod
    client: Pod


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def cast(shared_mesh: Mesh) -> AsyncIterator[Cast]:
    await shared_mesh.service("server", {"http": 8080, "tcp-echo": 9000})
    async with (
        shared_mesh.pod("server", app=APP, version="v1", sidecar=True) as first,
        shared_mesh.pod("client", sidecar=True) as client,
    ):
        yield Cast(shared_mesh, first, client)


def answered_by(version: str, outcome: Outcome) -> bool:
    return outcome.answer is not None and outcome.answer.status == 200 and outcome.answer.echo.version == version


async def test_a_service_grows_and_shrinks_under_traffic(cast: Cast) -> None:
    async with (
        cast.client.traffic(URL, per_second=100) as traffic,
        cast.mesh.pod("server", app=APP, version="v2", sidecar=True) as second,
    ):
        await traffic.until(lambda outcome: answered_by("v2", outcome))
        async with cast.mesh.pod("server", app=APP, version="v3") as third:
            await traffic.until(lambda outcome: answered_by("v3", outcome))
            seen = [outcome.answer.echo.version for outcome in await traffic.more(100) if outcome.answer]
            assert set(seen) == {"v1", "v2", "v3"}, "with and without a sidecar, side by side"
            await cast.mesh.withdraw(third)
            await traffic.turn()
        await cast.mesh.withdraw(second)
        await traffic.turn()
        seen = [outcome.answer.echo.version for outcome in await traffic.more(20) if outcome.answer]
        assert set(seen) == {"v1"}
    assert not traffic.errors
    assert traffic.statuses.keys() == {200}


async def test_a_pod_that_is_not_ready_gets_nothing_more(cast: Cast) -> None:
    async def versions() -> set[str]:
        return {(await cast.client.http(URL)).echo.version for _ in range(5)}

    async with (
        cast.mesh.pod("server", app=APP, version="v2", sidecar=True) as second,
        cast.client.traffic(URL, per_second=100) as traffic,
    ):
        for _ in range(3):
            await traffic.until(lambda outcome: answered_by("v2", outcome))
            await cast.mesh.set_ready(second, False)
            await eventually(versions, lambda seen: seen == {"v1"}, steady=4)
            await traffic.turn()
            assert all(answered_by("v1", outcome) for outcome in await traffic.more(30))
            await cast.mesh.set_ready(second, True)
        await traffic.until(lambda outcome: answered_by("v2", outcome))
    assert not traffic.errors
    assert traffic.statuses.keys() == {200}


async def test_the_last_pod_goes_and_comes_back(cast: Cast) -> None:
    await cast.mesh.set_ready(cast.first, False)
    answer = await eventually(lambda: cast.client.http(URL), lambda answer: answer.status == 503)
    assert answer.text == "no healthy upstream"
    await cast.mesh.set_ready(cast.first, True)
    await eventually(lambda: cast.client.http(URL), lambda answer: answer.status == 200)


async def test_a_pod_comes_back_at_another_address(cast: Cast) -> None:
    """As after the rollout of a Deployment, or a StatefulSet's pod on another node."""
    await cast.mesh.service("moving", {"http": 8080, "tcp-echo": 9000})

    async def bytes_come_back() -> bytes:
        async with cast.client.tcp("moving", 9000) as connection:
            await connection.send(b"salaam")
            return await connection.receive(6)

    addresses = []
    for version in ("v1", "v2"):
        async with cast.mesh.pod("moving", app=APP, version=version, sidecar=True) as pod:
            addresses.append(pod.address)
            answer = await eventually(
                lambda: cast.client.http("http://moving:8080/"), lambda answer: answer.status == 200
            )
            assert answer.echo.version == version
            assert "x-forwarded-client-cert" in answer.echo.headers
            await eventually(bytes_come_back, lambda said: said == b"salaam", steady=2)
    assert len(set(addresses)) == 2


async def test_an_open_connection_outlives_changes_of_endpoints(cast: Cast) -> None:
    async with cast.client.tcp("server", 9000) as connection:
        await connection.send(b"before")
        assert await connection.receive(6) == b"before"
        async with cast.mesh.pod("server", app=APP, version="v2", sidecar=True) as second:
            await eventually(lambda: cast.client.http(URL), lambda answer: answer.echo.version == "v2", steady=0)
            await connection.send(b"while")
            assert await connection.receive(5) == b"while"
            await cast.mesh.set_ready(second, False)
        await connection.send(b"after")
        assert await connection.receive(5) == b"after"


async def test_new_services_are_reached_as_soon_as_they_are_there(cast: Cast) -> None:
    """Each service is a new cluster, new routes and new listeners of a running client, several at a time."""
    names = [f"new-{number}" for number in range(8)]
    for name in names:
        await cast.mesh.service(name, {"http": 8080, "tcp-echo": 9000}, selector={"app": "server"})
    answers = [
        await eventually(
            partial(cast.client.http, f"http://{name}:8080/"), lambda answer: answer.status == 200, steady=2
        )
        for name in names
    ]
    assert {answer.echo.workload for answer in answers} == {"server"}
    await cast.mesh.settled()  # the port of TCP is another listener
    async with cast.client.tcp(names[-1], 9000) as connection:
        await connection.send(b"salaam")
        assert await connection.receive(6) == b"salaam"

"""Changes and restarts under load, and no request fails that neither the configuration before nor after would fail.

Five hundred random changes of two seeds; then the control plane and the Envoys end and come back. One mesh for each
variant of ADS sees all of it. `CHURN_SEED=N` in the environment makes the random changes those of a seed that a failure
has named.
"""

import asyncio
import os
import secrets
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from e2e.churn import report
from e2e.churn.cast import DRAIN_SECONDS, Cast, cast
from e2e.churn.load import Load
from e2e.churn.run import UNDERWAY, churn, followed
from e2e.churn.state import SERVICES, Service
from e2e.churn.verdict import wrong
from e2e.harness import Pod

pytestmark = [pytest.mark.netns, pytest.mark.envoy, pytest.mark.asyncio(loop_scope="module")]

CHANGES = 500
FIXED_SEED = 20261121
LEAST_PER_SECOND = 200
"""Requests. Fewer are a failure of the machine, and are called that: then nothing was shown."""

DOWN_SECONDS = 1.0
UNTIL_PAUSED = 0.5
"""Until every caller of a workload that is paused has seen it and let go of its connections: longer than the longest
interval of one that keeps them (see `Load`)."""

BOTH = pytest.mark.parametrize("players", ["delta", "sotw"], indirect=True, scope="module")
DELTA = pytest.mark.parametrize("players", ["delta"], indirect=True, scope="module")

TYPES = ("cds", "eds", "lds", "rds", "sds")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def players(request: pytest.FixtureRequest) -> AsyncIterator[Cast]:
    async with cast(request.param) as made:
        yield made


async def no_request_fails(players: Cast, load: Load, seed: int) -> None:
    failed = list(wrong(load.requests, players.timeline, DRAIN_SECONDS))
    assert not failed, await report.describe(players, seed, failed)


@BOTH
@pytest.mark.parametrize("seed", ["fixed", "random"])
async def test_changes(players: Cast, seed: str, capsys: pytest.CaptureFixture[str]) -> None:
    number = FIXED_SEED if seed == "fixed" else int(os.environ.get("CHURN_SEED") or secrets.randbelow(2**31))
    load = await churn(players, number, CHANGES)
    with capsys.disabled():
        print(f"\nseed {number}: {report.summary(load, players.timeline)}")  # noqa: T201 - asked for
    await no_request_fails(players, load, number)
    assert load.per_second >= LEAST_PER_SECOND, f"the machine was too slow: {load.per_second:.0f} requests/s"
    assert await players.control_plane.metric("pilot_total_xds_rejects") == 0
    assert await players.control_plane.metric("dragoman_xds_waits_given_up_total") == 0


async def sent(players: Cast) -> dict[str, float]:
    """Resources and removals that the control plane has sent since its start, by type."""
    return {kind: await players.control_plane.metric("dragoman_xds_resources_total", type=kind) for kind in TYPES}


@BOTH
async def test_a_control_plane_that_is_killed_and_started(players: Cast, capsys: pytest.CaptureFixture[str]) -> None:
    await players.in_sync()
    loop = asyncio.get_running_loop()
    async with players.load() as load:
        await asyncio.sleep(1)
        await players.control_plane.kill()
        await asyncio.sleep(DOWN_SECONDS)
        began = loop.time()
        await players.control_plane.start()
        ready = loop.time() - began
        await players.in_sync()
        seconds = loop.time() - began
        await asyncio.sleep(2)
    with capsys.disabled():
        storm = f"ready {ready:.2f} s after its start, {len(players.pods)} Envoys in sync after {seconds:.2f} s"
        print(f"\nthe control plane is {storm}")  # noqa: T201 - asked for
    await no_request_fails(players, load, FIXED_SEED)
    # Private keys are kept nowhere: every workload gets a new one, and its certificate. Nothing else has changed.
    assert await sent(players) == {"cds": 0, "eds": 0, "lds": 0, "rds": 0, "sds": len(players.pods)}


@DELTA
async def test_a_control_plane_that_is_killed_amid_changes(players: Cast) -> None:
    """What changes while it is down is told to clients that hold more than it knows of.

    In the state of the world not to mention a cluster is to remove it (xDS protocol, "Deleting Resources"). One that
    went while the control plane was down cannot be mentioned, so where its routes wait for a new cluster they lose the
    old one for a moment, whatever the order.
    """

    async def kill(number: int) -> None:
        await players.told(number)
        await players.control_plane.kill()
        await asyncio.sleep(DOWN_SECONDS)
        await players.control_plane.start()

    async with followed(players):
        await players.reset()
    async with asyncio.TaskGroup() as killing:
        # So far apart that the changes before the first are in force before the second.
        for number in (20, 20 + 2 * UNDERWAY):
            killing.create_task(kill(number))
        load = await churn(players, FIXED_SEED + 1, 60)
    await no_request_fails(players, load, FIXED_SEED + 1)


@BOTH
async def test_envoys_are_restarted_one_by_one(players: Cast) -> None:
    async def restart(pod: Pod) -> None:
        await pod.envoy.stop()
        await pod.envoy.start()
        await pod.envoy.ready()

    async def restart_servers(service: Service) -> None:
        for slot in players.state.ready(service):
            pod = players.servers[service.name, slot]
            await players.leave(pod)
            await restart(pod)
            await players.mesh.set_ready(pod, True)
            await asyncio.sleep(0.5)

    async with followed(players):
        await players.reset()

    async def restart_client(workload: str, pod: Pod) -> None:
        load.paused.add(workload)  # the application of a pod without an Envoy makes no calls
        await asyncio.sleep(UNTIL_PAUSED)
        await load.turn()
        await restart(pod)
        load.paused.discard(workload)

    async def restart_pair(service: Service) -> None:
        await restart_servers(service)
        await restart_client(service.client, players.clients[service.client])

    async with players.load() as load:
        await asyncio.sleep(1)
        async with asyncio.TaskGroup() as services:
            for service in SERVICES:
                services.create_task(restart_pair(service))
        await restart_client("", players.gateway)
        await asyncio.sleep(1)
    await no_request_fails(players, load, FIXED_SEED)

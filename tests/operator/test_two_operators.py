"""Control planes as processes of their own: one hands over, one is killed amid a change."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest
from operating import apply, condition, conditions_in, deploy, resource_of, rule

from dragoman.kube import Cluster
from dragoman.kube.resources import LEASES
from dragoman.operator.election import LEASE
from tests.cli.cli_runs import Serving, serving
from tests.debug.debug_proxy import DebugProxy, proxy_at
from tests.support.api_server import ApiServer
from tests.support.until import until

pytestmark = [pytest.mark.real_api, pytest.mark.usefixtures("custom_resources")]

RULE = "DestinationRule"


class Processes:
    """Control planes of one namespace, and who holds the Lease."""

    def __init__(self, cluster: Cluster, kubeconfig: Path, namespace: str, folder: Path, stack: AsyncExitStack) -> None:
        self.cluster = cluster
        self.namespace = namespace
        self._kubeconfig = kubeconfig
        self._folder = folder
        self._stack = stack

    async def start(self, name: str) -> Serving:
        options = ("--kubernetes", "--kubeconfig", self._kubeconfig, "--namespace", self.namespace)
        state = self._folder / name
        state.mkdir()
        running = serving(*options, "--webhook-address", "none", "--secure-address", "none", state=state)
        return await self._stack.enter_async_context(running)

    async def proxy(self, at: Serving, pod: str) -> DebugProxy:
        node = f"sidecar~10.1.0.1~{pod}.{self.namespace}~{self.namespace}.svc.cluster.local"
        return await self._stack.enter_async_context(proxy_at(await at.xds_port(), node))

    async def holder(self) -> str:
        leases = await self.cluster.list(LEASES, self.namespace, field_selector=f"metadata.name={LEASE}")
        return str(leases[0]["spec"].get("holderIdentity", "")) if leases else ""

    async def led_by_another(self, than: str) -> str:
        async def another() -> bool:
            return await self.holder() not in ("", than)

        await until(another)
        return await self.holder()


@asynccontextmanager
async def processes(cluster: Cluster, api_server: ApiServer, namespace: str, folder: Path) -> AsyncIterator[Processes]:
    async with AsyncExitStack() as stack:
        yield Processes(cluster, api_server.kubeconfig, namespace, folder, stack)


async def test_status_goes_on_when_the_leader_stops_and_when_it_is_killed(
    cluster: Cluster, namespace: str, api_server: ApiServer, tmp_path: Path
) -> None:
    await deploy(cluster, namespace, "web-1", "web-2")
    async with processes(cluster, api_server, namespace, tmp_path) as planes:
        first = await planes.start("first")
        await first.hear("serving proxies")
        leader = await planes.led_by_another("")
        second = await planes.start("second")
        await planes.proxy(second, "web-2")
        await apply(cluster, rule(namespace, 1))
        done = await condition(cluster, RULE, namespace, "web", "Programmed", status="True")
        assert done["message"].startswith("1/1 proxies")

        # It stops: the Lease changes hands at once, and nothing that was said is taken back.
        ending = asyncio.create_task(first.end(signal.SIGTERM))
        began = time.monotonic()
        leader = await planes.led_by_another(leader)
        # It was renewed two seconds before at most, and would have been good for thirteen more.
        assert time.monotonic() - began < 10.0
        assert await ending == 0
        found = conditions_in(await cluster.get(resource_of(RULE), "web", namespace))
        assert found["Programmed"]["status"] == "True"

        # It is killed amid a change, which the proxy gets from whom it comes to next.
        third = await planes.start("third")
        await third.hear("serving proxies")
        await apply(cluster, rule(namespace, 2))
        second.process.kill()
        await planes.proxy(third, "web-2")
        await planes.proxy(third, "web-1")

        async def taken() -> bool:
            found = await condition(cluster, RULE, namespace, "web", "Programmed", within=120, status="True")
            return bool(found["message"].startswith("2/2 proxies"))

        # Who is killed may have said of its own proxy that it has all; who comes next learns of the others by and by.
        await until(taken, within=120)
        assert await planes.holder() not in ("", leader)
        await apply(cluster, rule(namespace, 3))
        await condition(cluster, RULE, namespace, "web", "Programmed", status="True")

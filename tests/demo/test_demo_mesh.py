"""Two demos at once: whose is which address."""

import asyncio
import os
import socket
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from rich.console import Console

from dragoman.demo import runner
from dragoman.demo.addresses import Block
from dragoman.demo.files import with_weights
from dragoman.demo.live_view import LiveView
from dragoman.demo.metrics import Traffic
from dragoman.demo.runner import Demo
from dragoman.demo.traffic import Customer, SteadyTraffic
from dragoman.sidecar import SocketAddress

pytestmark = [pytest.mark.envoy, pytest.mark.asyncio(loop_scope="module")]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def demos(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[tuple[Demo, Demo]]:
    """For all tests, which leave them as they found them."""
    folder = tmp_path_factory.mktemp("demos")
    async with AsyncExitStack() as stack:
        first, second = Demo(folder / "first"), Demo(folder / "second")
        for demo in (first, second):
            demo.state.mkdir()
            await stack.enter_async_context(demo)
        yield first, second


def _dumped(dump: dict[str, Any]) -> Iterator[SocketAddress]:
    """Addresses of the listeners in a config dump, static and dynamic."""
    for section in dump["configs"]:
        for entry in section.get("static_listeners", []):
            yield _address(entry["listener"])
        for entry in section.get("dynamic_listeners", []):
            yield _address(entry["active_state"]["listener"])


def _address(listener: dict[str, Any]) -> SocketAddress:
    written = listener["address"]["socket_address"]
    return SocketAddress(written["address"], written["port_value"])


async def test_no_two_proxies_share_an_address_and_port(demos: tuple[Demo, Demo]) -> None:
    # With reuse_port, Envoy would silently spread one address over several sidecars, and an application would leave
    # under another's identity.
    bound: Counter[tuple[str, int]] = Counter()
    for demo in demos:
        for workload in demo.workloads:
            envoy = demo.envoys[workload.proxy_id]
            addresses = {*await envoy.admin.listening(), *_dumped(await envoy.admin.config_dump()), envoy.admin.address}
            kinds = 1 if workload.gateway else 2
            assert len(addresses) == 4 + kinds, f"{workload.pod} listens on {addresses}"
            assert {address.host for address in addresses} == {workload.address}
            assert all(address.port >= 1024 for address in addresses)
            bound.update((address.host, address.port) for address in addresses)
            if workload.command:
                host, _, port = workload.command[-1].rpartition(":")
                bound[host, int(port)] += 1
    assert [address for address, count in bound.items() if count > 1] == []
    assert len(bound) == 2 * (6 * 4 + 1 + 5 * 2 + 5)


async def test_a_port_that_somebody_has_is_no_hindrance(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # A block that no demo takes, so that no other test's demo loses its port between finding and binding it.
    block = Block(f"127.98.{os.getpid() % 256}.", socket.socket(socket.AF_UNIX))
    monkeypatch.setattr(runner, "reserve", lambda: block)
    with socket.create_server((block.address(4), 9080)):
        async with Demo(tmp_path) as demo, Customer(demo.gateway_url) as customer:
            assert demo.ports[9080] != 9080
            assert (await customer.get("/")).status == 200


async def test_each_gateway_leads_to_its_own_shop(demos: tuple[Demo, Demo]) -> None:
    first, second = demos
    assert first.gateway_url != second.gateway_url
    second.folder.write("deny-orders.yaml", second.ideas.read("deny-orders.yaml"))
    async with Customer(first.gateway_url) as at_first, Customer(second.gateway_url) as at_second:
        async with asyncio.timeout(120):
            while (await at_second.get("/")).status != 403:
                pass
            assert (await at_first.get("/")).status == 200
            second.folder.remove("deny-orders.yaml")
            while (await at_second.get("/")).status != 200:
                pass


async def test_plaintext_is_refused_at_every_sidecar(demos: tuple[Demo, Demo]) -> None:
    for workload in demos[0].workloads:
        if not workload.gateway:
            async with Customer(f"http://{workload.address}:{workload.port}") as stranger:
                assert (await stranger.get("/")).status == 0


@asynccontextmanager
async def background(*works: Coroutine[None, None, None]) -> AsyncIterator[None]:
    tasks = [asyncio.create_task(work) for work in works]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def test_the_live_view_shows_traffic_by_version_and_what_is_wrong(demos: tuple[Demo, Demo]) -> None:
    demo, _ = demos
    screen = StringIO()

    async def until(condition: Callable[[], bool]) -> None:
        while not condition():  # noqa: ASYNC110 - the view looks once a second and tells nobody
            await asyncio.sleep(0.01)

    def shown() -> dict[str, Traffic]:
        return {workload.pod: traffic for workload, traffic in view.traffic()}

    def rate(pod: str) -> float:
        return shown()[pod].requests_per_second if shown() else -1

    async with Customer(demo.gateway_url) as customer, asyncio.timeout(120):
        steady = SteadyTraffic(customer, "/", 60)
        view = LiveView(demo, steady, Console(file=screen, force_terminal=True, width=200))
        async with background(steady.run(), view.run()):
            await until(lambda: rate("prices-v1") > 40)
            seen = shown()
            assert seen.pop("prices-v2").requests_per_second == 0
            assert all(traffic.mutual_tls == traffic.success == 1 for traffic in seen.values())
            callers = [seen[pod].callers for pod in ("web-v1", "catalog-v1", "prices-v1")]
            assert callers == [("gateway",), ("web-v1",), ("catalog-v1",)]

            route = demo.folder.read("prices-route.yaml")
            demo.folder.write("prices-route.yaml", with_weights(route, 0, 100))
            await until(lambda: rate("prices-v1") == 0 and rate("prices-v2") > 40)

            demo.folder.write("prices-route.yaml", route.replace("weight: 100", "weight: all"))
            await until(lambda: "prices-route.yaml:15: DRG" in screen.getvalue())
            await until(lambda: shown()["web-v1"].median_milliseconds is not None)
            demo.folder.write("prices-route.yaml", route)

"""The sample services as processes, with a proxy in the place of the sidecars."""

import asyncio
import contextlib
import signal
import sys
from collections.abc import AsyncIterator, Mapping

import pytest
from aiohttp import ClientSession, web

from tests.support.free_ports import own_loopback

CALLER = "By=spiffe://cluster.local/ns/shop/sa/x;Hash=1;URI=spiffe://cluster.local/ns/shop/sa/"


def free_address() -> str:
    return f"{own_loopback()}:8080"


async def answers(address: str) -> None:
    """Return as soon as something listens at `address`."""
    host, port = address.split(":")
    async with asyncio.timeout(120):
        while True:
            with contextlib.suppress(ConnectionRefusedError):
                (await asyncio.open_connection(host, int(port)))[1].close()
                return
            await asyncio.sleep(0.01)


async def gone(address: str) -> None:
    """Return as soon as nothing listens at `address` any more."""
    host, port = address.split(":")
    async with asyncio.timeout(120):
        with contextlib.suppress(ConnectionError):
            while True:
                (await asyncio.open_connection(host, int(port)))[1].close()
                await asyncio.sleep(0.01)


@contextlib.asynccontextmanager
async def running(*arguments: str, proxy: str = "") -> AsyncIterator[asyncio.subprocess.Process]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "dragoman.demo.shop", *arguments, env={"http_proxy": proxy} if proxy else {}
    )
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


class Proxy:
    """An HTTP proxy that finds services by name, as a sidecar's does, and says who called."""

    def __init__(self, addresses: Mapping[str, str]) -> None:
        self.addresses = addresses
        self.denied: set[str] = set()

    async def forward(self, request: web.BaseRequest) -> web.Response:
        service, dot, domain = (request.url.host or "").partition(".")
        assert dot + domain == ".shop.svc.cluster.local"
        if service in self.denied:
            return web.Response(status=403, text="RBAC: access denied")
        headers = {**request.headers, "x-forwarded-client-cert": CALLER + request.headers.get("x-user", "nobody")}
        async with (
            ClientSession() as client,
            client.get(f"http://{self.addresses[service]}{request.url.path}", headers=headers) as response,
        ):
            return web.Response(status=response.status, body=await response.read(), content_type=response.content_type)


@pytest.fixture
async def shop() -> AsyncIterator[tuple[Proxy, str]]:
    """web, catalog, prices v2 and orders behind one proxy; yields the proxy and the address of web."""
    services = {name: free_address() for name in ("web", "catalog", "prices", "orders")}
    proxy = Proxy(services)
    runner = web.ServerRunner(web.Server(proxy.forward))
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    address = f"http://127.0.0.1:{runner.addresses[0][1]}"
    async with contextlib.AsyncExitStack() as stack:
        for name, listening in services.items():
            version = "v2" if name == "prices" else "v1"
            arguments = ("--service", name, "--version", version, "--address", listening)
            await stack.enter_async_context(running(*arguments, proxy=address))
        await asyncio.gather(*map(answers, services.values()))
        yield proxy, services["web"]
    await runner.cleanup()


async def test_one_request_shows_every_hop_and_who_called_it(shop: tuple[Proxy, str]) -> None:
    _, front = shop
    async with ClientSession() as client, client.get(f"http://{front}/", headers={"x-user": "amina"}) as response:
        page = await response.json()
    assert response.status == 200
    assert (page["service"], page["caller"]) == ("web", None), "nobody vouched for the first caller"
    assert page["upstreams"]["catalog"]["caller"] == "spiffe://cluster.local/ns/shop/sa/amina"
    prices = page["upstreams"]["catalog"]["upstreams"]["prices"]
    assert (prices["version"], prices["status"]) == ("v2", 200)
    assert prices["caller"] == "spiffe://cluster.local/ns/shop/sa/amina", "x-user was not handed on to the second hop"
    assert page["upstreams"]["orders"]["service"] == "orders"


async def test_a_denied_hop_is_seen_at_the_front_beside_those_that_worked(shop: tuple[Proxy, str]) -> None:
    proxy, front = shop
    proxy.denied.add("prices")
    async with ClientSession() as client, client.get(f"http://{front}/") as response:
        page = await response.json()
        assert response.status == 403
        async with client.get(f"http://{front}/orders") as untouched:
            assert untouched.status == 200
    assert page["upstreams"]["catalog"]["upstreams"]["prices"] == {"status": 403, "error": "RBAC: access denied"}
    assert page["upstreams"]["orders"]["status"] == 200


async def test_an_upstream_that_is_not_there_is_a_502(shop: tuple[Proxy, str]) -> None:
    address = free_address()
    async with running("--service", "catalog", "--address", address, "--upstreams", f"http://{free_address()}/"):
        await answers(address)
        async with ClientSession() as client, client.get(f"http://{address}/") as response:
            assert response.status == 502
            assert "upstreams" in await response.json()


async def test_sigterm_ends_a_service_at_once() -> None:
    address = free_address()
    async with running("--service", "orders", "--address", address) as process:
        await answers(address)
        process.terminate()
        async with asyncio.timeout(120):
            assert await process.wait() == -signal.SIGTERM


async def test_a_service_ends_with_its_parent() -> None:
    address = free_address()
    launcher = (
        "import subprocess, sys; subprocess.Popen([sys.executable, '-m', 'dragoman.demo.shop', '--service', 'orders',"
        f"'--address', '{address}']); sys.stdin.read()"
    )
    parent = await asyncio.create_subprocess_exec(sys.executable, "-c", launcher, stdin=asyncio.subprocess.PIPE)
    try:
        await answers(address)
    finally:
        parent.kill()
        await parent.wait()
    await gone(address)


async def test_an_address_in_use_is_an_error_and_not_a_share_of_the_traffic() -> None:
    address = free_address()
    async with running("--service", "orders", "--address", address):
        await answers(address)
        async with running("--service", "web", "--address", address) as second, asyncio.timeout(120):
            assert await second.wait() == 1

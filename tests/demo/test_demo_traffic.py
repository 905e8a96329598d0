"""Customers: an even rate whatever the answers, and an outcome for each request."""

import asyncio
import socket
import time
from collections.abc import AsyncIterator

import pytest
from aiohttp import web

from dragoman.demo.traffic import Customer, SteadyTraffic, reason, version_of

PAGE = {
    "service": "web",
    "version": "v1",
    "upstreams": {
        "catalog": {
            "service": "catalog",
            "version": "v1",
            "upstreams": {"prices": {"service": "prices", "version": "v2"}},
        },
        "orders": {"status": 403, "error": "RBAC: access denied"},
    },
}


class Shop:
    """A server that can be made to keep all waiting."""

    def __init__(self) -> None:
        self.open = asyncio.Event()
        self.open.set()
        self.arrived = 0
        self.most = asyncio.Event()

    async def answer(self, request: web.BaseRequest) -> web.StreamResponse:
        self.arrived += 1
        if self.arrived >= 20:
            self.most.set()
        await self.open.wait()
        if request.path == "/text":
            return web.Response(status=503, text="no healthy upstream\n")
        return web.json_response(PAGE)


@pytest.fixture
async def shop() -> AsyncIterator[tuple[Shop, str]]:
    shop = Shop()
    runner = web.ServerRunner(web.Server(shop.answer))
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield shop, f"http://127.0.0.1:{runner.addresses[0][1]}"
    await runner.cleanup()


async def test_requests_keep_coming_while_answers_do_not(shop: tuple[Shop, str]) -> None:
    server, url = shop
    server.open.clear()
    async with Customer(url) as customer, asyncio.timeout(120):
        steady = SteadyTraffic(customer, "/", 200)
        started = time.monotonic()
        running = asyncio.create_task(steady.run())
        await server.most.wait()
        assert list(steady.since(started)) == []
        server.open.set()
        await steady.settle()
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        ended = time.monotonic()
    outcomes = list(steady.since(started))
    assert len(outcomes) >= 20
    assert {outcome.status for outcome in outcomes} == {200}
    assert steady.rate_between(started, ended) <= 200 + 1 / (ended - started)


async def test_no_more_than_so_many_wait_at_once_and_what_was_missed_is_made_up_for(shop: tuple[Shop, str]) -> None:
    server, url = shop
    server.open.clear()
    async with Customer(url) as customer, asyncio.timeout(120):
        steady = SteadyTraffic(customer, "/", 10, at_once=2)
        running = asyncio.create_task(steady.run())
        await asyncio.sleep(1.6)  # sixteen are due
        assert server.arrived == 2
        server.open.set()
        opened = time.monotonic()
        while server.arrived < 16:  # noqa: ASYNC110 - it tells nobody
            await asyncio.sleep(0.001)
        assert time.monotonic() - opened < 1, "one tenth of a second for each would be 1.4 s"
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def test_a_crowd_asks_as_often_as_it_was_told(shop: tuple[Shop, str]) -> None:
    server, url = shop
    async with Customer(url) as customer:
        outcomes = await customer.crowd("/", 37, 5)
    assert len(outcomes) == server.arrived == 37


async def test_what_went_wrong_is_an_outcome(shop: tuple[Shop, str]) -> None:
    _, url = shop
    async with Customer(url) as customer:
        outcome = await customer.get("/text")
    assert (outcome.status, str(outcome)) == (503, "status 503: no healthy upstream")
    with socket.create_server(("127.0.0.1", 0)) as closed:
        address = f"127.0.0.1:{closed.getsockname()[1]}"
    async with Customer(f"http://{address}") as customer:
        outcome = await customer.get("/")
    assert outcome.status == 0
    assert str(outcome).startswith("no answer: ")


def test_what_is_read_in_a_page() -> None:
    assert version_of(PAGE, "prices") == "v2"
    assert version_of(PAGE, "orders") is None
    assert reason(PAGE) == "RBAC: access denied"

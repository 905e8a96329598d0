"""The tour judges: what it must not let pass."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import pytest

from dragoman.demo import tour
from dragoman.demo.runner import Demo
from dragoman.demo.tour import Tour, TourError
from dragoman.demo.traffic import Customer, SteadyTraffic

pytestmark = pytest.mark.envoy

OUTAGE = """
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata:
  name: outage
  namespace: shop
spec:
  hosts:
  - {host}
  http:
  - fault:
      abort:
        httpStatus: 503
        percentage:
          value: {percentage}
    route:
    - destination:
        host: {host}
"""


@pytest.fixture
async def demo(tmp_path: Path) -> AsyncIterator[Demo]:
    async with Demo(tmp_path) as demo:
        yield demo


async def outage(demo: Demo, customer: Customer, host: str, percentage: int) -> None:
    """Requests to a service begin to fail; returns when one has."""
    demo.folder.write("outage.yaml", OUTAGE.format(host=host, percentage=percentage))
    async with asyncio.timeout(10):
        while (await customer.get("/")).status == 200:
            pass


async def take(demo: Demo, customer: Customer) -> None:
    steady = SteadyTraffic(customer, "/", 60)
    customers = asyncio.create_task(steady.run())
    try:
        async with asyncio.timeout(60):
            await Tour(demo, customer, steady, print).run()
    finally:
        customers.cancel()
        with suppress(asyncio.CancelledError):
            await customers
        await steady.settle()


async def test_a_service_that_is_out(demo: Demo) -> None:
    async with Customer(demo.gateway_url) as customer:
        await outage(demo, customer, "catalog", 100)
        with pytest.raises(TourError, match="status 503: fault filter abort"):
            await take(demo, customer)


async def test_few_failures_among_the_steady_requests(demo: Demo) -> None:
    # Orders are asked for by no step but the denial: only the steady customers meet it.
    async with Customer(demo.gateway_url) as customer:
        await outage(demo, customer, "orders", 3)
        with pytest.raises(TourError, match=r"steady requests failed, the first with status 503|a request failed"):
            await take(demo, customer)


async def test_a_caller_with_another_identity(demo: Demo, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(tour._CALLERS, "prices", "spiffe://cluster.local/ns/shop/sa/web")
    async with Customer(demo.gateway_url) as customer:
        with pytest.raises(TourError, match="identities"):
            await take(demo, customer)


async def test_a_control_plane_that_follows_nothing(demo: Demo, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dragoman.demo.delivery._PATIENCE_SECONDS", 0.5)
    monkeypatch.setattr(demo.folder.__class__, "write", lambda *_: asyncio.get_running_loop().time())
    async with Customer(demo.gateway_url) as customer:
        with pytest.raises(TourError, match="nothing was seen of the change"):
            await take(demo, customer)

"""The tour judges: what it must not let pass."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, suppress
from typing import cast

import pytest
import pytest_asyncio
from outage import outage

from dragoman.demo import tour
from dragoman.demo.delivery import last_ack
from dragoman.demo.runner import Demo
from dragoman.demo.tour import AT_ONCE, LEAST_RATE, Tour, TourError
from dragoman.demo.traffic import Customer, Outcome, SteadyTraffic

pytestmark = pytest.mark.envoy
shared = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def demo(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Demo]:
    """One for all tests, which leave it as they found it."""
    async with Demo(tmp_path_factory.mktemp("demo")) as demo:
        yield demo


async def until(customer: Customer, *, well: bool) -> None:
    async with asyncio.timeout(120):
        while ((await customer.get("/")).status == 200) is not well:
            pass


@asynccontextmanager
async def failing(demo: Demo, customer: Customer, host: str, percentage: int) -> AsyncIterator[None]:
    """Requests to a service fail, one of them already."""
    demo.folder.write("outage.yaml", outage(host, percentage))
    try:
        await until(customer, well=False)
        yield
    finally:
        removed = demo.folder.remove("outage.yaml")
        # Most requests may be well all the time.
        await last_ack(removed, demo.control_plane.server)
        await until(customer, well=True)


@asynccontextmanager
async def customers(steady: SteadyTraffic) -> AsyncIterator[None]:
    coming = asyncio.create_task(steady.run())
    try:
        yield
    finally:
        coming.cancel()
        with suppress(asyncio.CancelledError):
            await coming
        await steady.settle()


async def take(demo: Demo, customer: Customer) -> None:
    steady = SteadyTraffic(customer, "/", 60, at_once=AT_ONCE)
    async with customers(steady), asyncio.timeout(240):
        await Tour(demo, customer, steady, print).run()


@shared
async def test_a_service_that_is_out(demo: Demo) -> None:
    async with Customer(demo.gateway_url) as customer, failing(demo, customer, "catalog", 100):
        with pytest.raises(TourError, match="status 503: fault filter abort"):
            await take(demo, customer)


@shared
async def test_few_failures_among_the_steady_requests(demo: Demo) -> None:
    # Orders are asked for by no step but the denial: only the steady customers meet it.
    async with Customer(demo.gateway_url) as customer, failing(demo, customer, "orders", 10):
        steady = SteadyTraffic(customer, "/", 60)
        started = time.monotonic()
        async with customers(steady), asyncio.timeout(120):
            while all(outcome.status == 200 for outcome in steady.since(started)):  # noqa: ASYNC110 - it tells nobody
                await asyncio.sleep(0.05)
        with pytest.raises(TourError, match=r"[1-9]\d* of \d+ steady requests failed, the first with status 503"):
            Tour(demo, customer, steady, print)._judge(started, time.monotonic())


@shared
async def test_a_caller_with_another_identity(demo: Demo, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(tour._CALLERS, "prices", "spiffe://cluster.local/ns/shop/sa/web")
    async with Customer(demo.gateway_url) as customer:
        with pytest.raises(TourError, match="identities"):
            await take(demo, customer)


@shared
async def test_a_control_plane_that_follows_nothing(demo: Demo, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dragoman.demo.delivery._PATIENCE_SECONDS", 0.5)
    monkeypatch.setattr(demo.folder.__class__, "write", lambda *_: asyncio.get_running_loop().time())
    async with Customer(demo.gateway_url) as customer:
        with pytest.raises(TourError, match="nothing was seen of the change"):
            await take(demo, customer)


class Follower:
    """Steady traffic whose last request under the old rules begins `late` seconds after they were replaced, and whose
    answers take as long as the tour looks once: all that began have only ended when they are waited for."""

    def __init__(self, written: float, late: float) -> None:
        self._last = written + late
        self._asked = written
        self._outcomes: list[Outcome] = []

    def since(self, started: float) -> Iterator[Outcome]:
        return (outcome for outcome in self._outcomes if outcome.started >= started)

    async def settle(self) -> None:
        now = time.monotonic()
        while self._asked < now:
            status = 200 if self._asked <= self._last else 403
            self._outcomes.append(Outcome(self._asked, now, status, {}))
            self._asked += 0.01


async def last_follower(late: float, monkeypatch: pytest.MonkeyPatch) -> float:
    monkeypatch.setattr(tour, "_QUIET_SECONDS", 0.05)
    written = time.monotonic()
    steady = cast("SteadyTraffic", Follower(written, late))
    taken = Tour(cast("Demo", None), cast("Customer", None), steady, print)
    return await taken._last_follower(written, lambda outcome: outcome.status == 403)


async def test_who_still_met_the_old_rules_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    assert await last_follower(-1, monkeypatch) == 0
    assert await last_follower(0.12, monkeypatch) >= 0.12


async def test_old_rules_after_the_drain_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tour, "DRAIN_SECONDS", 0.1)
    monkeypatch.setattr(tour, "_DRAIN_GRACE", 0.1)
    with pytest.raises(TourError, match="a connection still had the old rules"):
        await last_follower(60, monkeypatch)


# The judgement at the end, without a demo: a policy was there to deny from 4 s to 5 s.


GOOD, FAILED = Outcome(1.0, 1.01, 200, {}), Outcome(4.5, 4.51, 503, {})
DENIED, DENIED_LATE = Outcome(4.5, 4.51, 403, {}), Outcome(7.0, 7.01, 403, {})


class Asked:
    """Steady traffic that is over."""

    def __init__(self, outcomes: Sequence[Outcome], rate: float) -> None:
        self._outcomes = outcomes
        self._rate = rate

    def since(self, started: float) -> Iterator[Outcome]:
        return iter(self._outcomes)

    def rate_between(self, first: float, last: float) -> float:
        return self._rate


def judge(*outcomes: Outcome, rate: float = LEAST_RATE) -> str:
    """What is said in the end."""
    said: list[str] = []
    taken = Tour(cast("Demo", None), cast("Customer", None), cast("SteadyTraffic", Asked(outcomes, rate)), said.append)
    taken._denied.append((4.0, 5.0))
    taken._judge(0.0, 10.0)
    return said[-1]


def test_none_may_fail_but_what_the_policy_denied() -> None:
    assert "none failed but the 1 that the policy denied" in judge(GOOD, DENIED)
    for wrong in (FAILED, DENIED_LATE):
        with pytest.raises(TourError, match="1 of 3 steady requests failed"):
            judge(GOOD, DENIED, wrong)


def test_a_denial_that_nobody_met() -> None:
    with pytest.raises(TourError, match="no steady request met the DENY policy"):
        judge(GOOD)


def test_fewer_requests_than_must_keep_coming() -> None:
    with pytest.raises(TourError, match=r"only 49\.9 requests a second were made, of 50: this machine"):
        judge(GOOD, DENIED, rate=49.9)

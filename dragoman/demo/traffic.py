"""The demo's own customers: requests at a steady rate, each with its outcome."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Self

import aiohttp

_REMEMBERED = 20_000
"""Outcomes that are kept: some minutes at the usual rate."""

_PATIENCE_SECONDS = 60.0
"""How long an answer is waited for: longer than the shop's services wait for each other, who tell which one hangs."""

_MOST_AT_ONCE = 600
"""Requests that may wait for their answers at once: ten seconds of them at the usual rate."""

_MOST_ARREARS_SECONDS = 30.0
"""How far back requests that a busy machine did not get round to are made up for."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """One request. Times are of `time.monotonic`, in seconds; `status` is 0 when no answer came."""

    started: float
    ended: float
    status: int
    page: Mapping[str, Any]
    """The JSON answer of the shop, empty when it was none."""
    error: str = ""

    @property
    def seconds(self) -> float:
        return self.ended - self.started

    def __str__(self) -> str:
        return self.error or f"status {self.status}: {reason(self.page)}"


class Customer:
    """A client of one gateway. An async context manager; keeps its connections."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        connector = aiohttp.TCPConnector(limit=0)
        self._session = aiohttp.ClientSession(
            connector=connector, timeout=aiohttp.ClientTimeout(total=_PATIENCE_SECONDS)
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._session is not None:
            await self._session.close()

    async def get(self, path: str, headers: Mapping[str, str] | None = None) -> Outcome:
        """Ask once. Never raises for what the network or the server does."""
        if self._session is None:
            raise RuntimeError("enter the customer first")
        started = time.monotonic()
        try:
            async with self._session.get(f"{self.url}{path}", headers=headers) as response:
                json = response.content_type == "application/json"
                page = await response.json() if json else {"error": (await response.text()).strip()}
                return Outcome(started, time.monotonic(), response.status, page)
        except (aiohttp.ClientError, TimeoutError) as error:
            message = f"no answer: {str(error) or type(error).__name__}"
            return Outcome(started, time.monotonic(), 0, {}, message)

    async def crowd(self, path: str, count: int, concurrency: int) -> list[Outcome]:
        """Ask `count` times, `concurrency` requests at a time."""
        tickets = iter(range(count))

        async def ask() -> list[Outcome]:
            return [await self.get(path) for _ in tickets]

        async with asyncio.TaskGroup() as tasks:
            asking = [tasks.create_task(ask()) for _ in range(concurrency)]
        return [outcome for task in asking for outcome in task.result()]


class SteadyTraffic:
    """`rate` requests a second for ever, however long the answers take (an open loop: slow answers are not fewer), as
    long as no more than `at_once` wait for their answers.

    Without that limit a machine that cannot answer so many for a while would be left with ever more of them, until all
    take longer than anybody waits: it would fail what the mesh does not.
    """

    def __init__(self, customer: Customer, path: str, rate: float, *, at_once: int = _MOST_AT_ONCE) -> None:
        self._customer = customer
        self._path = path
        self._rate = rate
        self._turns = asyncio.Semaphore(at_once)
        self._asking: set[asyncio.Task[None]] = set()
        self._outcomes: deque[Outcome] = deque(maxlen=_REMEMBERED)

    def since(self, started: float) -> Iterator[Outcome]:
        """Ended requests that began at `started` or later."""
        return (outcome for outcome in self._outcomes if outcome.started >= started)

    def rate_between(self, first: float, last: float) -> float:
        """Requests begun a second, between two times."""
        return sum(first <= outcome.started < last for outcome in self._outcomes) / (last - first)

    async def run(self) -> None:
        """Ask until cancelled."""
        due = time.monotonic()
        try:
            while True:
                await self._turns.acquire()
                task = asyncio.create_task(self._ask())
                self._asking.add(task)
                task.add_done_callback(self._asking.discard)
                # What a busy machine delays is caught up with, or the rate would not be the rate.
                due = max(due + 1 / self._rate, time.monotonic() - _MOST_ARREARS_SECONDS)
                await asyncio.sleep(max(0.0, due - time.monotonic()))
        finally:
            for task in self._asking:
                task.cancel()

    async def settle(self) -> None:
        """Wait for the requests that are under way now."""
        if self._asking:
            await asyncio.wait(set(self._asking))

    async def _ask(self) -> None:
        try:
            self._outcomes.append(await self._customer.get(self._path))
        finally:
            self._turns.release()


def hops(page: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """The answers in an answer: the front's, then those of the services it asked, depth first."""
    yield page
    for upstream in page.get("upstreams", {}).values():
        yield from hops(upstream)


def version_of(page: Mapping[str, Any], service: str) -> str | None:
    """The version of a service that had a part in an answer."""
    return next((hop["version"] for hop in hops(page) if hop.get("service") == service), None)


def reason(page: Mapping[str, Any]) -> str:
    """Why an answer is no success, in the words of the hop that failed."""
    return next((str(hop["error"]) for hop in hops(page) if "error" in hop), "no reason given")

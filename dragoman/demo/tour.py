"""`dragoman demo --check`: what a visitor would try, tried and judged, while customers keep coming.

The steps are those of Istio's tasks "Traffic Shifting", "Request Routing" and "Explicit Deny", made by writing the
files that a visitor would edit.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Final

from ca.identity import WorkloadIdentity
from dragoman.demo.certificates import installed, presented
from dragoman.demo.delivery import NoEffectError, delivery, milliseconds
from dragoman.demo.files import with_weights
from dragoman.demo.runner import DRAIN_SECONDS, Demo
from dragoman.demo.traffic import Customer, Outcome, SteadyTraffic, hops, version_of

LEAST_RATE: Final = 50.0
"""Requests a second that must keep coming throughout."""

AT_ONCE: Final = 32
"""Of the steady requests, so many may wait for their answers: on a machine that is busy with other things the steps
would else wait behind ever more of them."""

_ROUTE, _POLICY = "prices-route.yaml", "deny-orders.yaml"
_CROWD = 16
_QUIET_SECONDS = 0.5
"""How long no customer may have met the old rules before all are said to follow the new ones."""
_DRAIN_GRACE = 2.0

_CALLERS: Final = {
    "web": "spiffe://cluster.local/ns/istio-ingress/sa/gateway",
    "catalog": "spiffe://cluster.local/ns/shop/sa/web",
    "prices": "spiffe://cluster.local/ns/shop/sa/catalog",
    "orders": "spiffe://cluster.local/ns/shop/sa/web",
}
"""service → whom its sidecar must have verified as the caller."""


class TourError(RuntimeError):
    """A step of the tour did not do what it should. `str()` says which, and what happened instead."""


class Tour:
    """One tour through a demo that runs; `say` is told of each step that went well."""

    def __init__(self, demo: Demo, customer: Customer, steady: SteadyTraffic, say: Callable[[str], None]) -> None:
        self._demo = demo
        self._customer = customer
        self._steady = steady
        self._say = say
        self._denied: list[tuple[float, float]] = []
        """When a policy was there to deny: from its write until all had followed its removal."""

    async def run(self) -> None:
        """All steps. Raises `TourError` at the first that fails."""
        started = time.monotonic()
        demo = self._demo
        self._say(f"{len(demo.envoys)} Envoys and {len(demo.programs)} programs serve after {demo.start_seconds:.1f} s")
        try:
            await self._identities()
            await self._weights()
            await self._canary()
            await self._denial()
            await self._rotation()
        except NoEffectError as error:
            raise TourError(str(error)) from error
        await self._steady.settle()
        self._judge(started, time.monotonic())

    async def _identities(self) -> None:
        page = (await self._good(self._customer.get("/"))).page
        callers = {hop["service"]: hop["caller"] for hop in hops(page)}
        if callers != _CALLERS:
            raise TourError(f"identities: expected {_CALLERS}, got {callers}")
        self._say("identities: every service verified the SPIFFE id of its caller, from the gateway to the last hop")
        for service, caller in callers.items():
            self._say(f"  {service} was called by {caller}")

    async def _weights(self) -> None:
        await self._all_from("v1", "weights 100/0", 200)
        await self._write_route("weights 50/50", self._weighted(50, 50), lambda outcome: _price(outcome) == "v2")
        count = 1000
        v2 = [_price(outcome) for outcome in await self._crowd(count)].count("v2")
        if not 0.44 * count <= v2 <= 0.56 * count:
            raise TourError(f"weights 50/50: {v2} of {count} answers were v2's, expected 50 ± 6 %")
        self._say(f"  {v2} of {count} answers were v2's")
        # Half of the answers were v2's before: only a run of them says that it is all.
        await self._write_route("weights 0/100", self._weighted(0, 100), lambda o: _price(o) == "v2", run=12)
        await self._all_from("v2", "weights 0/100", 200)

    async def _canary(self) -> None:
        text = self._demo.ideas.read("canary.yaml")
        await self._write_route("header-matched canary", text, lambda outcome: _price(outcome) == "v1")
        await self._all_from("v1", "canary, without the header", 50)
        for _ in range(50):
            outcome = await self._good(self._customer.get("/catalog", {"x-canary": "yes"}))
            if _price(outcome) != "v2":
                raise TourError(f"canary: x-canary: yes was answered by {_price(outcome)}")
        self._say("  50 requests with x-canary: yes were answered by v2, 50 without it by v1")

    async def _denial(self) -> None:
        folder = self._demo.folder
        denied = folder.write(_POLICY, self._demo.ideas.read(_POLICY))
        self._denied.append((denied, float("inf")))
        await self._policy("DENY policy", denied, lambda outcome: outcome.status != 200)
        if (await self._customer.get("/catalog")).status != 200:
            raise TourError("DENY policy: /catalog needs no orders, and was denied too")
        await self._policy("policy removed", folder.remove(_POLICY), lambda outcome: outcome.status != 403)
        self._denied[-1] = (denied, time.monotonic())

    async def _policy(self, step: str, written: float, follows: Callable[[Outcome], bool]) -> None:
        took = await delivery(written, self._demo.control_plane.server, self._sees("/", follows))
        self._say(f"{step}: {took}")
        last = await self._last_follower(written, follows)
        if last > took.first_effect:
            self._say(f"  the last open connection followed after {milliseconds(last)}")
        else:
            self._say("  open connections followed at once")

    async def _rotation(self) -> None:
        plane = self._demo.control_plane
        identity = next(i for i in plane.identities.identities() if i.workload == "web-v1")
        old = self._serial(identity)
        rotated = time.monotonic()
        plane.identities.rotate(identity)
        new = self._serial(identity)
        envoy = self._demo.envoys["web-v1.shop"]
        web = next(workload for workload in self._demo.workloads if workload.pod == "web-v1")

        async def effect() -> float | None:
            shown = await presented(web.address, web.port)
            return time.monotonic() if shown == new and await installed(envoy.admin) == {new} else None

        took = await delivery(rotated, plane.server, effect)
        await self._crowd(100)
        self._say(f"certificate of {identity.spiffe_id} rotated: {took}")
        self._say(f"  new connections were shown {old:032x}, and are shown {new:032x}")

    def _judge(self, started: float, ended: float) -> None:
        outcomes = list(self._steady.since(started))
        rate = self._steady.rate_between(started, ended)
        denied = [
            o for o in outcomes if o.status == 403 and any(a <= o.ended and o.started <= b for a, b in self._denied)
        ]
        failed = [o for o in outcomes if o.status != 200 and o not in denied]
        if failed:
            raise TourError(f"{len(failed)} of {len(outcomes)} steady requests failed, the first with {failed[0]}")
        if not denied:
            raise TourError("no steady request met the DENY policy")
        if rate < LEAST_RATE:
            raise TourError(
                f"only {rate:.1f} requests a second were made, of {LEAST_RATE:.0f}: this machine is too slow, or busy"
            )
        self._say(
            f"steady traffic: {len(outcomes)} requests at {rate:.0f} a second, none failed "
            f"but the {len(denied)} that the policy denied"
        )

    async def _write_route(self, step: str, text: str, seen: Callable[[Outcome], bool], run: int = 1) -> None:
        written = self._demo.folder.write(_ROUTE, text)
        took = await delivery(written, self._demo.control_plane.server, self._sees("/catalog", seen, run))
        self._say(f"{step}: {took}")

    def _sees(
        self, path: str, matches: Callable[[Outcome], bool], run: int = 1
    ) -> Callable[[], Awaitable[float | None]]:
        """A look at the shop: when the first of `run` answers in a row ended, if all of them match."""

        async def look() -> float | None:
            first = await self._customer.get(path)
            if not matches(first):
                return None
            for _ in range(run - 1):
                if not matches(await self._customer.get(path)):
                    return None
            return first.ended

        return look

    async def _last_follower(self, written: float, follows: Callable[[Outcome], bool]) -> float:
        """Seconds until no customer met the old rules: a connection keeps its listener until that has drained."""
        while True:
            began = time.monotonic()
            await asyncio.sleep(_QUIET_SECONDS)
            # The last word on a moment is with the slowest request of it.
            await self._steady.settle()
            late = [outcome for outcome in self._steady.since(written) if not follows(outcome)]
            if all(outcome.started < began for outcome in late):
                return max((outcome.ended for outcome in late), default=written) - written
            if (last := max(outcome.started for outcome in late) - written) > DRAIN_SECONDS + _DRAIN_GRACE:
                raise TourError(f"a connection still had the old rules {last:.1f} s after the change")

    async def _all_from(self, version: str, step: str, count: int) -> None:
        versions = [_price(outcome) for outcome in await self._crowd(count)]
        if set(versions) != {version}:
            raise TourError(f"{step}: expected {version} from all, got {sorted(map(str, set(versions)))}")

    async def _crowd(self, count: int) -> list[Outcome]:
        outcomes = await self._customer.crowd("/catalog", count, _CROWD)
        return [_good(outcome) for outcome in outcomes]

    async def _good(self, asked: Awaitable[Outcome]) -> Outcome:
        return _good(await asked)

    def _weighted(self, *weights: int) -> str:
        return with_weights(self._demo.folder.read(_ROUTE), *weights)

    def _serial(self, identity: WorkloadIdentity) -> int:
        return self._demo.control_plane.identities.certificates.get(identity).serial


def _good(outcome: Outcome) -> Outcome:
    if outcome.status != 200:
        raise TourError(f"a request failed: {outcome}")
    return outcome


def _price(outcome: Outcome) -> str | None:
    return version_of(outcome.page, "prices")

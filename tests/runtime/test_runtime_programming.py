"""Which proxies have what an object says: streams that take, withhold or reject what they are sent."""

from __future__ import annotations

import asyncio
import time
from types import SimpleNamespace
from typing import Any, Self

import pytest
from test_runtime_control_plane import LOCAL, MESH, Running

from crds.meta import ObjectKey
from dragoman.codec import CLUSTER, ENDPOINT, LISTENER, ROUTE
from dragoman.runtime.programmed import Programmed
from tests.support.scripted_proxy import ScriptedProxy
from xds import DeltaRequest, Node

RULE = ObjectKey("DestinationRule", "shop", "web")
ROUTES = ObjectKey("VirtualService", "shop", "web")
CLUSTER_OF_WEB = "outbound|80||web.shop.svc.cluster.local"


def rule(connections: int, name: str = "web", created: str = "2026-01-01T00:00:00Z") -> str:
    return f"""
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {{name: {name}, namespace: shop, creationTimestamp: "{created}"}}
spec:
  host: web.shop.svc.cluster.local
  trafficPolicy: {{connectionPool: {{tcp: {{maxConnections: {connections}}}}}}}
"""


def routes(timeout: str) -> str:
    return f"""
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: web, namespace: shop}}
spec:
  hosts: [web]
  http: [{{timeout: {timeout}, route: [{{destination: {{host: web}}}}]}}]
"""


OTHER_POD = """
---
apiVersion: v1
kind: Namespace
metadata: {name: other}
---
apiVersion: v1
kind: Pod
metadata: {name: alone, namespace: other}
spec: {serviceAccountName: alone}
status: {podIP: 10.1.0.9}
---
apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: {name: default, namespace: other}
spec: {egress: [{hosts: [./*]}]}
"""


class Programs(Running):
    """A running control plane whose news about objects a test waits for."""

    async def __aenter__(self) -> Self:
        await super().__aenter__()
        self.news = asyncio.Event()
        self.plane.programming.subscribe(lambda keys: self.news.set())
        return self

    async def proxy(self, pod: str) -> ScriptedProxy:
        return await ScriptedProxy(self.plane, await self.connect(pod)).begin()

    async def proxy_elsewhere(self) -> ScriptedProxy:
        session = await self.plane.connect(Node("sidecar~10.1.0.9~alone.other~other.svc.cluster.local"), LOCAL)
        return await ScriptedProxy(self.plane, session).begin()

    async def change(self, text: str) -> None:
        self.source.apply(text)
        await self.settled()

    async def until(self, key: ObjectKey, **wanted: Any) -> Programmed:
        """Wait until it has come so far, as subscribers are told."""
        async with asyncio.timeout(60):
            while True:
                found = self.plane.programming.of(key)
                if all(getattr(found, name) == value for name, value in wanted.items()):
                    return found
                self.news.clear()
                await self.news.wait()


async def test_an_object_is_programmed_when_the_last_proxy_that_uses_it_has_taken_it() -> None:
    async with Programs(MESH + "---" + rule(1)) as mesh:
        first, second = await mesh.proxy("web-1"), await mesh.proxy("web-2")
        assert mesh.plane.programming.of(RULE) == Programmed(2, 2)
        await mesh.change(rule(2))
        assert mesh.plane.programming.of(RULE) == Programmed(2, 0, ("web-1.shop", "web-2.shop"))
        assert CLUSTER_OF_WEB in first.take()
        await mesh.until(RULE, accepted=1, waiting=("web-2.shop",))
        second.take()
        await mesh.until(RULE, proxies=2, accepted=2, waiting=())
        async with asyncio.timeout(60):
            while mesh.plane.programming.pending:
                mesh.news.clear()
                await mesh.news.wait()
        assert mesh.plane.programming.of(RULE) == Programmed(2, 2)


async def test_only_proxies_whose_resources_were_made_from_it_use_it() -> None:
    async with Programs(MESH + OTHER_POD + "---" + rule(1)) as mesh:
        here, elsewhere = await mesh.proxy("web-1"), await mesh.proxy_elsewhere()
        await mesh.change(rule(2))
        assert mesh.plane.programming.of(RULE) == Programmed(1, 0, ("web-1.shop",))
        assert elsewhere.take() == []
        here.take()
        await mesh.until(RULE, accepted=1)


async def test_what_nobody_uses_waits_for_nobody() -> None:
    async with Programs(MESH) as mesh:
        await mesh.change(rule(1))
        assert mesh.plane.programming.of(RULE) == Programmed()
        assert not mesh.plane.programming.pending


async def test_a_later_version_of_other_making_brings_the_change_too() -> None:
    """Endpoints and other objects change all the time: that must not take back what a proxy has."""
    async with Programs(MESH + "---" + rule(1)) as mesh:
        proxy = await mesh.proxy("web-1")
        await mesh.change(rule(2))
        proxy.take(silent=True)
        # Another object changes the same cluster while the answer is on its way.
        await mesh.change(MESH.replace("name: http, port: 80", "name: http2, port: 80").split("---")[0])
        proxy.accept_late()
        await mesh.until(RULE, proxies=1, accepted=1)


async def test_changes_that_follow_one_another_must_all_arrive() -> None:
    """The second changes the rule's other cluster only: the first is not there before its own ACK."""
    subsets = """
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {{name: web, namespace: shop}}
spec:
  host: web
  trafficPolicy: {{connectionPool: {{tcp: {{maxConnections: {a}}}}}}}
  subsets: [{{name: b, labels: {{app: web}}, trafficPolicy: {{connectionPool: {{tcp: {{maxConnections: {b}}}}}}}}}]
"""
    async with Programs(MESH + "---" + subsets.format(a=1, b=1)) as mesh:
        proxy = await mesh.proxy("web-1")
        await mesh.change(subsets.format(a=2, b=1))
        names = proxy.take(silent=True)
        assert CLUSTER_OF_WEB in names
        assert not any("|b|" in name for name in names)
        await mesh.change(subsets.format(a=2, b=2))
        assert mesh.plane.programming.of(RULE).accepted == 0
        proxy.accept_late()
        assert mesh.plane.programming.of(RULE).accepted == 0
        assert any("|b|" in name for name in proxy.take())
        await mesh.until(RULE, accepted=1)


async def test_a_rejection_is_told_of_its_author_and_ends_with_the_repair() -> None:
    async with Programs(MESH + "---" + rule(1) + "---" + routes("5s")) as mesh:
        first, second = await mesh.proxy("web-1"), await mesh.proxy("web-2")
        await mesh.change(rule(2))
        first.take({CLUSTER_OF_WEB: "out of luck"})
        found = mesh.plane.programming.of(RULE)
        assert (found.accepted, found.proxies) == (0, 2), "in sync with the last good version, not with this one"
        while not found.rejections:
            mesh.news.clear()
            await asyncio.wait_for(mesh.news.wait(), 60)
            found = mesh.plane.programming.of(RULE)
        (rejection,) = found.rejections
        assert (rejection.type, rejection.name, rejection.proxies) == ("cds", CLUSTER_OF_WEB, ())
        assert "out of luck" in rejection.message
        assert rejection.at_fault
        assert mesh.plane.programming.of(ROUTES) == Programmed(2, 2)
        second.take()
        assert mesh.plane.programming.of(RULE).accepted == 0
        await mesh.change(rule(3))
        first.take()
        second.take()
        await mesh.until(RULE, proxies=2, accepted=2, rejections=())


async def test_who_alone_rejects_what_works_elsewhere_is_named() -> None:
    async with Programs(MESH + "---" + rule(1)) as mesh:
        first, second = await mesh.proxy("web-1"), await mesh.proxy("web-2")
        await mesh.change(rule(2))
        first.take()
        await mesh.until(RULE, accepted=1)
        second.take({CLUSTER_OF_WEB: "no room here"})
        async with asyncio.timeout(60):
            while not (found := mesh.plane.programming.of(RULE)).rejections:
                mesh.news.clear()
                await mesh.news.wait()
        assert (found.proxies, found.accepted, found.rejections[0].proxies) == (2, 1, ("web-2.shop",))


async def test_a_proxy_that_starts_or_went_is_not_waited_for() -> None:
    async with Programs(MESH + "---" + rule(1)) as mesh:
        first, second = await mesh.proxy("web-1"), await mesh.proxy("web-2")
        await mesh.change(rule(2))
        first.take()
        starting = ScriptedProxy(mesh.plane, await mesh.connect("web-1"))
        starting.stream.receive(DeltaRequest(CLUSTER), time.monotonic())
        assert mesh.plane.programming.of(RULE).proxies == 2
        second.close()
        await mesh.until(RULE, proxies=1, accepted=1)
        await starting.begin()
        assert mesh.plane.programming.of(RULE).proxies == 2


async def test_one_that_lacks_what_was_not_changed_is_waited_for_all_the_same() -> None:
    async with Programs(MESH + "---" + routes("5s")) as mesh:
        proxy = ScriptedProxy(mesh.plane, await mesh.connect("web-1"))
        for type_url in (CLUSTER, LISTENER):
            proxy.stream.receive(DeltaRequest(type_url), time.monotonic())
            proxy.take()
        proxy.stream.receive(DeltaRequest(ROUTE, subscribe=("80",)), time.monotonic())
        assert mesh.plane.programming.of(ROUTES) == Programmed(1, 0, ("web-1.shop",))
        proxy.take()
        await mesh.until(ROUTES, accepted=1)


async def test_nothing_is_known_of_an_object_while_it_is_translated() -> None:
    """The new version is there before what it is made into: it is not at the proxies because the old one is."""
    async with Programs(MESH + "---" + rule(1)) as mesh:
        await mesh.proxy("web-1")
        seen = []
        applied = mesh.plane.world.apply

        def spy(changes: Any) -> Any:
            cells = applied(changes)
            seen.append(mesh.plane.programming.of(RULE))
            return cells

        mesh.plane.world = SimpleNamespace(apply=spy, objects=mesh.plane.world.objects)  # type: ignore[assignment]
        await mesh.change(rule(2))
        assert seen == [Programmed(translating=True)]
        assert not seen[0].complete
        assert mesh.plane.programming.of(RULE) == Programmed(1, 0, ("web-1.shop",))


async def test_endpoints_that_a_new_cluster_needs_are_waited_for_before_they_are_asked_for() -> None:
    subset = rule(1).rstrip() + "\n  subsets: [{name: v2, labels: {app: web}}]\n"
    endpoints = "outbound|80|v2|web.shop.svc.cluster.local"
    async with Programs(MESH + "---" + rule(1)) as mesh:
        proxy = await mesh.proxy("web-1")
        await mesh.change(subset)
        assert endpoints in proxy.take()
        assert mesh.plane.programming.of(RULE) == Programmed(1, 0, ("web-1.shop",))
        proxy.stream.receive(DeltaRequest(ENDPOINT, subscribe=(endpoints,)), time.monotonic())
        proxy.take()
        await mesh.until(RULE, accepted=1)


async def test_a_deleted_object_is_forgotten() -> None:
    async with Programs(MESH + "---" + rule(1)) as mesh:
        proxy = await mesh.proxy("web-1")
        await mesh.change(rule(2))
        assert mesh.plane.programming.pending == 1
        mesh.source.delete(*RULE)
        await mesh.settled()
        assert mesh.plane.programming.pending == 0
        proxy.take()
        assert mesh.plane.programming.of(RULE) == Programmed()


async def test_a_resource_that_cannot_be_made_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    async with Programs(MESH + "---" + rule(1)) as mesh:
        proxy = await mesh.proxy("web-1")
        query = next(
            call.query
            for mounted in mesh.plane.mounted
            for call, value in mounted.mount.leaves().items()
            if (getattr(value, "type_url", ""), getattr(value, "name", "")) == (CLUSTER, CLUSTER_OF_WEB)
        )
        made = query.__wrapped__

        def broken(g: Any, *args: Any) -> Any:
            made(g, *args)
            raise ZeroDivisionError("a fault of ours")

        monkeypatch.setattr(query, "__wrapped__", broken)
        await mesh.change(rule(2))
        found = await mesh.until(RULE, accepted=0)
        assert found.failures == ("a fault of ours",)
        monkeypatch.setattr(query, "__wrapped__", made)
        await mesh.change(rule(3))
        proxy.take()
        await mesh.until(RULE, accepted=1, failures=())

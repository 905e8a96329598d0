"""Which proxies have what an object says: streams that take, withhold or reject what they are sent."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from typing import Any, Self

import pytest
from test_runtime_control_plane import LOCAL, MESH, Running

from crds.meta import ObjectKey
from dragoman.codec import CLUSTER, ENDPOINT, LISTENER, ROUTE, decode
from dragoman.runtime.programming import Programmed
from xds import DeltaRequest, DeltaStream, Node

RESPONSE = "type.googleapis.com/envoy.service.discovery.v3.DeltaDiscoveryResponse"
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


class Proxy:
    """A proxy that answers when the test says so."""

    def __init__(self, plane: Any, session: Any) -> None:
        self.plane = plane
        self.session = session
        self.stream = DeltaStream(session.views, proxy=session.proxy_id)
        self.unanswered: list[tuple[str, str]] = []

    async def begin(self) -> Self:
        """Ask for everything, in Envoy's order, and take it."""
        for type_url in (CLUSTER, LISTENER):
            self.stream.receive(DeltaRequest(type_url), time.monotonic())
            self.take()
        for type_url in (ENDPOINT, ROUTE):
            names = tuple(name for view in self.session.views for name in view.table(type_url))
            self.stream.receive(DeltaRequest(type_url, subscribe=names), time.monotonic())
            self.take()
        return self

    def take(self, rejects: Mapping[str, str] | None = None, *, silent: bool = False) -> list[str]:
        """Answer all there is, or read it and stay silent; the names of what came."""
        names: list[str] = []
        while (response := self.stream.next_response(time.monotonic())) is not None:
            message: Any = decode(RESPONSE, response.data)
            came = [resource.name for resource in message.resources]
            names += came
            if silent:
                self.unanswered.append((response.type_url, response.nonce))
                continue
            bad = [name for name in came if name in (rejects or {})]
            error = f"Error adding/updating cluster(s) {bad[0]}: {(rejects or {})[bad[0]]}" if bad else None
            self.answer(response.type_url, response.nonce, error)
        return names

    def accept_late(self) -> None:
        """Take what was read and not answered."""
        unanswered, self.unanswered = self.unanswered, []
        for type_url, nonce in unanswered:
            self.answer(type_url, nonce)

    def answer(self, type_url: str, nonce: str, error: str | None = None) -> None:
        events = self.stream.receive(DeltaRequest(type_url, nonce=nonce, error=error), time.monotonic())
        for event in events:
            if error is None:
                self.plane.observer.acked(self.session.proxy_id, type_url, 0.0)
            else:
                named = tuple(name for name, _ in event.culprits)
                self.plane.observer.nacked(self.session.proxy_id, type_url, named, event.message)

    def close(self) -> None:
        self.stream.close()
        self.session.close()
        self.plane.observer.disconnected(self.session.proxy_id, 0.0)


class Programs(Running):
    """A running control plane whose news about objects a test waits for."""

    async def __aenter__(self) -> Self:
        await super().__aenter__()
        self.news = asyncio.Event()
        self.plane.programming.subscribe(lambda keys: self.news.set())
        return self

    async def proxy(self, pod: str) -> Proxy:
        return await Proxy(self.plane, await self.connect(pod)).begin()

    async def proxy_elsewhere(self) -> Proxy:
        session = await self.plane.connect(Node("sidecar~10.1.0.9~alone.other~other.svc.cluster.local"), LOCAL)
        return await Proxy(self.plane, session).begin()

    async def change(self, text: str) -> None:
        self.source.apply(text)
        await self.settled()

    async def until(self, key: ObjectKey, **wanted: Any) -> Programmed:
        """Wait until it has come so far, as subscribers are told."""
        async with asyncio.timeout(5):
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
        async with asyncio.timeout(5):
            while mesh.plane.programming.pending:
                mesh.news.clear()
                await mesh.news.wait()
        assert mesh.plane.programming.proxies(RULE) == ("web-1.shop", "web-2.shop")


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
        found = await mesh.until(RULE, accepted=0, proxies=2)
        while not found.rejections:
            mesh.news.clear()
            await asyncio.wait_for(mesh.news.wait(), 5)
            found = mesh.plane.programming.of(RULE)
        (rejection,) = found.rejections
        assert (rejection.type, rejection.name, rejection.proxies) == ("cds", CLUSTER_OF_WEB, ())
        assert "out of luck" in rejection.message
        assert rejection.at_fault
        assert mesh.plane.programming.of(ROUTES) == Programmed(2, 2)
        second.take()
        assert mesh.plane.programming.of(RULE).accepted == 0, "in sync with the last good version, not with this one"
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
        async with asyncio.timeout(5):
            while not (found := mesh.plane.programming.of(RULE)).rejections:
                mesh.news.clear()
                await mesh.news.wait()
        assert (found.proxies, found.accepted, found.rejections[0].proxies) == (2, 1, ("web-2.shop",))


async def test_a_proxy_that_starts_or_went_is_not_waited_for() -> None:
    async with Programs(MESH + "---" + rule(1)) as mesh:
        first, second = await mesh.proxy("web-1"), await mesh.proxy("web-2")
        await mesh.change(rule(2))
        first.take()
        starting = Proxy(mesh.plane, await mesh.connect("web-1"))
        starting.stream.receive(DeltaRequest(CLUSTER), time.monotonic())
        assert mesh.plane.programming.of(RULE).proxies == 2
        second.close()
        await mesh.until(RULE, proxies=1, accepted=1)
        await starting.begin()
        assert mesh.plane.programming.of(RULE).proxies == 2


async def test_one_that_lacks_what_was_not_changed_is_waited_for_all_the_same() -> None:
    async with Programs(MESH + "---" + routes("5s")) as mesh:
        proxy = Proxy(mesh.plane, await mesh.connect("web-1"))
        for type_url in (CLUSTER, LISTENER):
            proxy.stream.receive(DeltaRequest(type_url), time.monotonic())
            proxy.take()
        proxy.stream.receive(DeltaRequest(ROUTE, subscribe=("80",)), time.monotonic())
        assert mesh.plane.programming.of(ROUTES) == Programmed(1, 0, ("web-1.shop",))
        proxy.take()
        await mesh.until(ROUTES, accepted=1)


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

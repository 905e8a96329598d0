"""The running control plane: who is served, with what, and how that follows the world."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any, Self

import grpc
import pytest
import yaml

from ca.authority import new_root
from crds.decode import decode
from crds.meta import ObjectKey
from dragoman.codec import CLUSTER, LISTENER, SECRET
from dragoman.runtime import ControlPlane
from dragoman.sources.change import Batch, Change
from xds import Node, Peer, Refused

LOCAL = Peer("ipv4:127.0.0.1:1", True, {})
REMOTE = Peer("ipv4:192.0.2.1:1", False, {})

MESH = """
apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop}
spec: {clusterIP: 10.96.0.1, selector: {app: web}, ports: [{name: http, port: 80, targetPort: 8080}]}
---
apiVersion: v1
kind: Pod
metadata:
  name: web-1
  namespace: shop
  labels: {app: web, hash: a}
  ownerReferences: [{apiVersion: apps/v1, kind: StatefulSet, name: web, controller: true}]
spec: {serviceAccountName: web}
status: {podIP: 10.1.0.1}
---
apiVersion: v1
kind: Pod
metadata:
  name: web-2
  namespace: shop
  labels: {app: web, hash: b}
  ownerReferences: [{apiVersion: apps/v1, kind: StatefulSet, name: web, controller: true}]
spec: {serviceAccountName: web}
status: {podIP: 10.1.0.2}
"""


class Documents:
    """A source that a test drives."""

    def __init__(self, text: str) -> None:
        self.objects: dict[ObjectKey, Any] = {}
        self.first = self._batch(text)
        self.queue: asyncio.Queue[Batch] = asyncio.Queue()

    def load(self) -> Batch:
        return self.first

    async def watch(self) -> AsyncIterator[Batch]:
        while True:
            yield await self.queue.get()

    def location(self, key: ObjectKey) -> str | None:
        return None

    def apply(self, text: str) -> None:
        self.queue.put_nowait(self._batch(text))

    def delete(self, kind: str, namespace: str, name: str) -> None:
        key = ObjectKey(kind, namespace, name)
        self.queue.put_nowait(Batch((Change(key, self.objects.pop(key), None),)))

    def _batch(self, text: str) -> Batch:
        changes = []
        for document in yaml.safe_load_all(text):
            obj: Any = decode(document)
            changes.append(Change(obj.key, self.objects.get(obj.key), obj))
            self.objects[obj.key] = obj
        return Batch(tuple(changes))


class Running:
    """A loaded control plane and what arrives in it."""

    def __init__(self, text: str) -> None:
        self.source = Documents(text)
        self.applied = asyncio.Event()
        authority = new_root("cluster.local", now=datetime.now(UTC))
        self.plane = ControlPlane(self.source, authority, on_batch=lambda batch: self.applied.set())

    async def __aenter__(self) -> Self:
        await self.plane.load()
        self.applied.clear()
        self.task = asyncio.create_task(self.plane.run())
        return self

    async def __aexit__(self, *_: object) -> None:
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)

    async def connect(self, pod: str, peer: Peer = LOCAL) -> Any:
        return await self.plane.connect(Node(f"sidecar~10.1.0.1~{pod}.shop~shop.svc.cluster.local"), peer)

    async def settled(self) -> None:
        """Wait until the change a test made is in force."""
        async with asyncio.timeout(60):
            await self.applied.wait()
        self.applied.clear()


def names(session: Any, type_url: str) -> set[str]:
    return {name for view in session.views for name in view.table(type_url)}


async def test_a_pod_gets_its_views_and_its_certificate() -> None:
    async with Running(MESH) as running:
        session = await running.connect("web-1")
        assert "outbound|80||web.shop.svc.cluster.local" in names(session, CLUSTER)
        assert "virtualInbound" in names(session, LISTENER)
        assert names(session, SECRET) == {"default", "ROOTCA"}


async def test_keys_do_not_leave_the_machine_in_plaintext() -> None:
    async with Running(MESH) as running:
        session = await running.connect("web-1", REMOTE)
        assert "virtualInbound" in names(session, LISTENER)
        assert names(session, SECRET) == set()


@pytest.mark.parametrize(
    ("node", "code"),
    [
        ("sidecar~10.1.0.1~nobody.shop~x", grpc.StatusCode.NOT_FOUND),
        ("sidecar~10.1.0.1~web-1~x", grpc.StatusCode.INVALID_ARGUMENT),
        ("ztunnel~10.1.0.1~web-1.shop~x", grpc.StatusCode.INVALID_ARGUMENT),
        ("sidecar~somewhere~web-1.shop~x", grpc.StatusCode.INVALID_ARGUMENT),
    ],
)
async def test_who_is_refused(node: str, code: grpc.StatusCode) -> None:
    async with Running(MESH) as running:
        with pytest.raises(Refused) as refusal:
            await running.plane.connect(Node(node), LOCAL)
        assert refusal.value.code is code
        assert len(running.plane.sessions) == 0
        assert len(running.plane.mounted) == 0


async def test_pods_that_differ_in_labels_nobody_reads_share_every_view() -> None:
    async with Running(MESH) as running:
        one, other = await running.connect("web-1"), await running.connect("web-2")
        assert set(one.views) == set(other.views)
        assert len(running.plane.mounted) == 2
        one.close()
        assert len(running.plane.mounted) == 2
        other.close()
        assert len(running.plane.mounted) == 0
        assert running.plane.identities.identities() == ()


async def test_a_policy_for_some_pods_parts_their_views() -> None:
    async with Running(MESH) as running:
        one, other = await running.connect("web-1"), await running.connect("web-2")
        told: list[str] = []
        one.on_views_changed = lambda: told.append("one")
        other.on_views_changed = lambda: told.append("other")
        running.source.apply(
            """
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: a, namespace: shop}
spec: {selector: {matchLabels: {hash: a}}, mtls: {mode: STRICT}}
"""
        )
        await running.settled()
        assert sorted(told) == ["one", "other"]
        assert set(one.views) & set(other.views), "what is outside them is still shared"
        assert set(one.views) != set(other.views)
        assert len(running.plane.mounted) == 3


async def test_a_pod_that_goes_leaves_its_proxy_what_it_has() -> None:
    async with Running(MESH) as running:
        session = await running.connect("web-1")
        before = session.views
        running.source.delete("Pod", "shop", "web-1")
        await running.settled()
        assert session.views == before
        session.close()
        with pytest.raises(Refused):
            await running.connect("web-1")


async def test_the_governor_hears_how_many_changes_come_together(monkeypatch: pytest.MonkeyPatch) -> None:
    heard: list[int] = []
    monkeypatch.setattr("dragoman.runtime.governor.Governor.arrived", lambda _, changes: heard.append(changes))
    namespace = "apiVersion: v1\nkind: Namespace\nmetadata: {name: %s}\n"
    async with Running(MESH) as running:
        running.source.apply(namespace % "one")
        await running.settled()
        running.source.apply(namespace % "two" + "---\n" + namespace % "three")
        await running.settled()
    assert heard == [1, 2]


async def test_a_rotated_certificate_reaches_every_proxy_of_the_workload() -> None:
    async with Running(MESH) as running:
        session = await running.connect("web-1")
        secrets = session.views[-1]
        before = secrets.get((SECRET, "default"))
        root = secrets.get((SECRET, "ROOTCA"))
        (identity,) = (i for i in running.plane.identities.identities() if i.workload == "web")
        running.plane.identities.rotate(identity)
        assert secrets.get((SECRET, "default")) != before
        assert secrets.get((SECRET, "ROOTCA")) == root


async def test_another_service_account_is_another_certificate() -> None:
    async with Running(MESH) as running:
        session = await running.connect("web-1")
        first = session.identity
        running.source.apply(MESH.split("---")[1].replace("serviceAccountName: web", "serviceAccountName: other"))
        await running.settled()
        assert session.identity != first
        assert running.plane.identities.identities() == (session.identity,)

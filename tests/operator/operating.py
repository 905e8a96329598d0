"""Replicas of a control plane in a cluster, inside the test's own loop, without their ports."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

from ca.authority import new_root
from crds.registry import ISTIO_KINDS
from dragoman.kube import ApiError, ApiResource, Cluster
from dragoman.kube.resources import PODS, SERVICES
from dragoman.operator.candidate import Timing
from dragoman.operator.election import Election
from dragoman.operator.events import Events
from dragoman.operator.replicas import Pace as ReplicaPace
from dragoman.operator.replicas import Replicas
from dragoman.operator.status_writer import Pace, StatusWriter
from dragoman.runtime import ControlPlane
from dragoman.sources.kubernetes import KubernetesSource
from tests.support.scripted_proxy import ScriptedProxy
from xds import Node, Peer

QUICK = Timing(duration=3.0, retry=0.3)
AT_ONCE = Pace(settle=0.05, counts=0.2, recount=0.2, replicas=3.0, writes_per_second=100.0, others_per_second=100.0)
LIVELY = ReplicaPace(renew=0.5, lives=3.0, settle=0.05, spacing=0.1, recount=0.2)
LOCAL = Peer("ipv4:127.0.0.1:1", True, {})


def resource_of(kind: str) -> ApiResource:
    found = ISTIO_KINDS[kind].resource
    return ApiResource(found.group, found.storage, found.plural, kind)


class Replica:
    """One control plane with what makes it an operator."""

    def __init__(self, cluster: Cluster, namespace: str, name: str, plane: ControlPlane) -> None:
        self.plane = plane
        self.namespace = namespace
        self.election = Election(cluster, namespace, name, QUICK)
        self.replicas = Replicas(cluster, plane, namespace, name, pace=LIVELY)
        self.events = Events(cluster, name)
        self.statuses = StatusWriter(cluster, plane, self.replicas, self.events, pace=AT_ONCE)
        for duty in (self.statuses.run, self.events.run):
            self.election.add(duty)
        self.of_revision = Election(cluster, namespace, name, QUICK, lease="of-revision")
        self.labelled = StatusWriter(cluster, plane, self.replicas, self.events, labelled=True, pace=AT_ONCE)
        self.of_revision.add(self.labelled.run)
        duties = (plane.run(), self.replicas.run(), self.election.run(), self.of_revision.run())
        self.tasks = [asyncio.create_task(duty) for duty in duties]

    async def proxy(self, pod: str) -> ScriptedProxy:
        """A proxy of a pod, connected here, that has taken everything."""
        node = Node(f"sidecar~10.1.0.1~{pod}.{self.namespace}~{self.namespace}.svc.cluster.local")
        return await ScriptedProxy(self.plane, await self.plane.connect(node, LOCAL)).begin()

    async def stop(self) -> None:
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)


@asynccontextmanager
async def replica(cluster: Cluster, namespace: str, name: str) -> AsyncIterator[Replica]:
    """One that has loaded the cluster; ends when the context does, or before."""
    async with KubernetesSource(cluster, (namespace, "istio")) as source:
        await source.synced()
        plane = ControlPlane(source, new_root("cluster.local", now=datetime.now(UTC)))
        await plane.load()
        running = Replica(cluster, namespace, name, plane)
        try:
            yield running
        finally:
            await running.stop()


@asynccontextmanager
async def taking(*proxies: ScriptedProxy, rejects: Mapping[str, str] | None = None) -> AsyncIterator[None]:
    """Proxies that take what they are sent, but for what they reject, as it comes."""

    async def take() -> None:
        while True:
            for proxy in proxies:
                proxy.take(rejects)
            await asyncio.sleep(0.01)

    task = asyncio.create_task(take())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def deploy(cluster: Cluster, namespace: str, *pods: str) -> None:
    """A Service `web`, and pods with addresses."""
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "web", "namespace": namespace},
        "spec": {"selector": {"app": "web"}, "ports": [{"name": "http", "port": 80}]},
    }
    await cluster.create(SERVICES, service)
    for number, name in enumerate(pods, 1):
        pod = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": name, "namespace": namespace, "labels": {"app": "web"}},
            "spec": {"containers": [{"name": "app", "image": "none"}]},
        }
        await cluster.create(PODS, pod)
        status = {"status": {"phase": "Running", "podIP": f"10.1.0.{number}", "podIPs": [{"ip": f"10.1.0.{number}"}]}}
        await cluster.patch(PODS, name, status, namespace, subresource="status")


def rule(namespace: str, connections: int, name: str = "web", **spec: Any) -> dict[str, Any]:
    policy = {"connectionPool": {"tcp": {"maxConnections": connections}}}
    return istio("DestinationRule", namespace, name, {"host": "web", "trafficPolicy": policy, **spec})


def istio(kind: str, namespace: str, name: str, spec: dict[str, Any]) -> dict[str, Any]:
    metadata = {"name": name, "namespace": namespace}
    return {"apiVersion": resource_of(kind).api_version, "kind": kind, "metadata": metadata, "spec": spec}


async def apply(cluster: Cluster, document: dict[str, Any]) -> dict[str, Any]:
    """As an operator does with kubectl."""
    return await cluster.apply(resource_of(document["kind"]), document, field_manager="kubectl")


async def condition(
    cluster: Cluster, kind: str, namespace: str, name: str, type_: str, *, within: float = 60.0, **wanted: Any
) -> dict[str, Any]:
    """Wait until a condition is so, of the object's newest generation."""
    found: dict[str, Any] | None = None
    try:
        async with asyncio.timeout(within):
            while True:
                document = await cluster.get(resource_of(kind), name, namespace)
                found = conditions_in(document).get(type_)
                current = {"observedGeneration": document["metadata"]["generation"], **wanted}
                if found is not None and all(found.get(field) == value for field, value in current.items()):
                    return found
                await asyncio.sleep(0.05)
    except TimeoutError:
        raise AssertionError(f"{type_} of {kind} {name} is {found}, not {wanted}") from None


def conditions_in(document: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {entry["type"]: entry for entry in document.get("status", {}).get("conditions", ())}


class Cut(Cluster):
    """A connection that a test cuts."""

    cut = False

    async def request(self, *args: Any, **options: Any) -> bytes:
        if self.cut:
            raise ApiError(0, "Unreachable", "cut")
        return await super().request(*args, **options)

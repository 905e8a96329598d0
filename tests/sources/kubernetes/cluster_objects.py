"""Documents to put into an API server, and a source that is followed."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from functools import partial
from typing import Any

from crds.meta import ObjectKey
from crds.registry import KINDS
from dragoman.kube import ApiError, ApiResource, Cluster
from dragoman.kube.resources import CUSTOM_RESOURCE_DEFINITIONS
from dragoman.sources.change import Batch, Report
from dragoman.sources.kubernetes import KubernetesSource
from tests.support.custom_resources import forget
from tests.support.until import until


def resource(kind: str, version: str = "") -> ApiResource:
    found = KINDS[kind].resource
    return ApiResource(found.group, version or found.storage, found.plural, kind, namespaced=found.namespaced)


def document(kind: str, name: str, namespace: str = "", **rest: Any) -> dict[str, Any]:
    metadata = {"name": name, "namespace": namespace} if namespace else {"name": name}
    metadata |= rest.pop("metadata", {})
    return {"apiVersion": resource(kind).api_version, "kind": kind, "metadata": metadata, **rest}


def service(name: str, namespace: str, *ports: int) -> dict[str, Any]:
    listed = [{"port": port, "name": f"http-{port}"} for port in ports or (80,)]
    return document("Service", name, namespace, spec={"ports": listed, "selector": {"app": name}})


def definition(kind: str) -> dict[str, Any]:
    """A CustomResourceDefinition that lets everything through."""
    of = KINDS[kind].resource
    anything = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    versions = [
        {
            "name": version,
            "served": True,
            "storage": version == of.storage,
            "schema": {"openAPIV3Schema": anything},
            "subresources": {"status": {}},
        }
        for version in of.versions
    ]
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{of.plural}.{of.group}"},
        "spec": {
            "group": of.group,
            "scope": "Namespaced",
            "names": {"plural": of.plural, "kind": kind},
            "versions": versions,
        },
    }


async def define(cluster: Cluster, *kinds: str) -> None:
    """Let an API server serve kinds of Istio's, whatever their documents hold."""
    forget(cluster)
    for kind in kinds:
        await cluster.apply(CUSTOM_RESOURCE_DEFINITIONS, definition(kind))
    for kind in kinds:
        await until(partial(_takes_anything, cluster, kind))


async def _takes_anything(cluster: Cluster, kind: str) -> bool:
    """Whether it is served, by this definition: one that was there before would be for a moment longer."""
    spec = {"anything": "goes"}
    try:
        made = await cluster.create(resource(kind), document(kind, "any", "default", spec=spec), dry_run=True)
    except ApiError:
        return False
    return bool(made["spec"] == spec)


async def undefine(cluster: Cluster, kind: str) -> None:
    """No longer serve a kind, if it is served at all."""
    forget(cluster)
    of = KINDS[kind].resource
    with contextlib.suppress(ApiError):
        await cluster.delete(CUSTOM_RESOURCE_DEFINITIONS, f"{of.plural}.{of.group}")
    async with asyncio.timeout(60):
        with contextlib.suppress(ApiError):
            while True:
                await cluster.list(resource(kind))


class Seen:
    """What a source has told."""

    def __init__(self, source: KubernetesSource) -> None:
        self.source = source
        self.batches: list[Batch] = []
        self.arrived = asyncio.Condition()

    @property
    def changed(self) -> list[ObjectKey]:
        return [change.key for batch in self.batches for change in batch.changes]

    @property
    def reports(self) -> list[Report]:
        return [report for batch in self.batches for report in batch.reports]

    def names(self, kind: str, namespace: str) -> set[str]:
        return {key.name for key in self.source.objects if (key.kind, key.namespace) == (kind, namespace)}

    def get(self, kind: str, namespace: str, name: str) -> Any:
        return self.source.objects.get(ObjectKey(kind, namespace, name))

    async def until(self, condition: Callable[[], bool], within: float = 60.0) -> None:
        async with asyncio.timeout(within), self.arrived:
            await self.arrived.wait_for(condition)

    async def follow(self) -> None:
        async for batch in self.source.watch():
            async with self.arrived:
                self.batches.append(batch)
                self.arrived.notify_all()


@contextlib.asynccontextmanager
async def followed(cluster: Cluster, namespace: str = "istio-system", revision: str = "") -> AsyncIterator[Seen]:
    """A source that has loaded, and goes on; `namespace` is where the ConfigMap of the mesh settings is."""
    async with KubernetesSource(cluster, (namespace, "istio"), revision) as source:
        async with asyncio.timeout(120):
            await source.synced()
        seen = Seen(source)
        seen.batches.append(source.load())
        following = asyncio.create_task(seen.follow())
        try:
            yield seen
        finally:
            following.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await following

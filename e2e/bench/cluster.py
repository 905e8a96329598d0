"""The rows of a cluster: a mesh that a real API server holds, loaded and followed."""

from __future__ import annotations

import asyncio
import base64
import itertools
import json
import time
import uuid
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager
from typing import Any

from dragoman.kube import Cluster
from dragoman.kube.resources import ENDPOINT_SLICES
from e2e.bench.measure import median, percentile
from e2e.bench.processes import BenchError, child
from tests.support.api_server import LocalApiServer, missing

Metrics = dict[str, float]
Document = dict[str, Any]

_SPACES = 10
_WRITERS = 24
_AT_ONCE = 100
"""Objects that are stored at once: etcd takes 128 operations in a transaction."""
_SLICE_VERSION = "discovery.k8s.io/v1"
_SLICES_OF_A_SERVICE = 5
_ENDPOINTS = 10
_MOVED = 64
"""Second octet of an address that says which change it comes from (`mesh.change_of`)."""
_ADMISSION = "--disable-admission-plugins=ServiceAccount"
"""Pods without the controllers that would make their accounts."""


async def load(pods: int = 10_000, services: int = 2_000) -> Metrics:
    """From a connection to the first full view of a proxy."""
    async with _filled(pods, services) as (server, _), _following(server) as (first, _):
        return first


async def churn(rate: int = 300, seconds: int = 20, services: int = 2_000) -> Metrics:
    """EndpointSlices are written one after the other, and followed."""
    async with _filled(100, services) as (server, cluster), _following(server) as (_, ask):
        written: dict[int, int] = {}
        numbers = itertools.count()
        started = time.monotonic()

        async def write() -> None:
            while (number := next(numbers)) < rate * seconds:
                await asyncio.sleep(started + number / rate - time.monotonic())
                await cluster.replace(ENDPOINT_SLICES, _slice(number % services, 0, number + 1))
                written[number + 1] = time.monotonic_ns()

        await asyncio.gather(*(write() for _ in range(_WRITERS)))
        took = time.monotonic() - started
        await asyncio.sleep(0.5)  # the last ones are on their way
        found = await ask()
    in_force = {int(number): at for number, at in found.pop("in_force").items()}
    staleness = [(in_force[number] - at) / 1e6 for number, at in written.items() if number in in_force]
    return {
        **found,
        "writes_per_s": len(written) / took,
        "staleness_p50_ms": median(staleness),
        "staleness_p99_ms": percentile(staleness, 0.99),
        "coalesced": float(len(written) - len(staleness)),
    }


class _Server(LocalApiServer):
    """An API server whose objects are written where it keeps them: tens of thousands in some seconds."""

    async def fill(self, documents: Iterable[tuple[str, Document]]) -> None:
        """Store objects, each under the path that the API server has for its kind."""
        entries = iter(documents)
        while some := list(itertools.islice(entries, _AT_ONCE)):
            puts = [{"requestPut": {"key": _base64(key), "value": _base64(json.dumps(obj))}} for key, obj in some]
            await asyncio.to_thread(self._etcd, "kv/txn", {"success": puts})


def _base64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


@asynccontextmanager
async def _filled(pods: int, services: int) -> AsyncIterator[tuple[LocalApiServer, Cluster]]:
    """An API server that holds the mesh."""
    if (reason := missing()) is not None:
        raise BenchError(reason)
    with _Server.running(arguments=[_ADMISSION], controllers=False) as server:
        assert isinstance(server, _Server)
        await server.fill(_documents(pods, services))
        async with await Cluster.connect(server.kubeconfig) as cluster:
            yield server, cluster


@asynccontextmanager
async def _following(server: LocalApiServer) -> AsyncIterator[tuple[Metrics, Any]]:
    """A control plane that follows it: how it came up, and how to ask for what became of changes."""
    async with child("cluster_follower") as process:
        node = "sidecar~10.128.0.0~app-0.ns-0~ns-0.svc.cluster.local"
        first: Metrics = await process.exchange({"kubeconfig": str(server.kubeconfig), "node": node})
        yield first, lambda: process.exchange({})


def _documents(pods: int, services: int) -> Iterator[tuple[str, Document]]:
    """Everything, by the key under which an API server stores it."""
    for number in range(_SPACES):
        yield f"/registry/namespaces/ns-{number}", _stored("v1", "Namespace", {"metadata": {"name": f"ns-{number}"}})
    for number in range(services):
        key = f"{_space(number)}/svc-{number}"
        yield f"/registry/services/specs/{key}", _stored("v1", "Service", _service(number))
        for part in range(_SLICES_OF_A_SERVICE):
            yield (
                f"/registry/endpointslices/{key}-{part}",
                _stored(_SLICE_VERSION, "EndpointSlice", _slice(number, part)),
            )
    for number in range(pods):
        yield f"/registry/pods/{_space(number)}/app-{number}", _stored("v1", "Pod", _pod(number))


def _stored(version: str, kind: str, document: Document) -> Document:
    meta = {"uid": str(uuid.uuid4()), "creationTimestamp": "2026-01-01T00:00:00Z", "generation": 1}
    return {**document, "apiVersion": version, "kind": kind, "metadata": {**document["metadata"], **meta}}


def _space(number: int) -> str:
    return f"ns-{number % _SPACES}"


def _service(number: int) -> Document:
    return {
        "metadata": {"name": f"svc-{number}", "namespace": _space(number), "labels": {"app": f"svc-{number}"}},
        "spec": {
            "type": "ClusterIP",
            "clusterIP": f"10.96.{8 + (number >> 8)}.{number & 255}",
            "clusterIPs": [f"10.96.{8 + (number >> 8)}.{number & 255}"],
            "selector": {"app": f"svc-{number}"},
            "ports": [{"name": "http", "port": 80, "targetPort": 8080, "protocol": "TCP"}],
        },
    }


def _slice(number: int, part: int, change: int | None = None) -> Document:
    """One of a service's slices; its last endpoint is where a change moved it."""
    endpoints = [
        {
            "addresses": [f"10.{number >> 7 & 63}.{part * 16 + index}.{number & 127}"],
            "conditions": {"ready": True, "serving": True, "terminating": False},
            "nodeName": f"node-{index}",
            "zone": f"zone-{index % 3}",
            "targetRef": {"kind": "Pod", "name": f"app-{number}-{index}", "namespace": _space(number), "uid": "u"},
        }
        for index in range(_ENDPOINTS)
    ]
    if change is not None:
        endpoints[-1]["addresses"] = [f"10.{_MOVED + (change >> 16)}.{change >> 8 & 255}.{change & 255}"]
    return {
        "apiVersion": _SLICE_VERSION,
        "kind": "EndpointSlice",
        "metadata": {
            "name": f"svc-{number}-{part}",
            "namespace": _space(number),
            "labels": {"kubernetes.io/service-name": f"svc-{number}", "app": f"svc-{number}"},
        },
        "addressType": "IPv4",
        "endpoints": endpoints,
        "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}],
    }


def _pod(number: int) -> Document:
    """About as large as injected pods are."""
    address = f"10.{128 + (number >> 16)}.{number >> 8 & 255}.{number & 255}"
    environment = [{"name": f"SETTING_{i}", "value": f"value of setting {i} of an application"} for i in range(20)]
    container = {
        "image": "registry.example/application:v1",
        "env": environment,
        "ports": [{"name": "http", "containerPort": 8080}],
        "resources": {"requests": {"cpu": "100m", "memory": "128Mi"}, "limits": {"memory": "256Mi"}},
        "readinessProbe": {"httpGet": {"path": "/ready", "port": 8080}},
        "volumeMounts": [{"name": "data", "mountPath": "/data"}],
    }
    return {
        "metadata": {
            "name": f"app-{number}",
            "namespace": _space(number),
            "labels": {"app": f"svc-{number % 2000}", "version": "v1", "pod-template-hash": f"{number:x}"},
            "annotations": {"prometheus.io/scrape": "true", "sidecar.istio.io/status": "x" * 300},
        },
        "spec": {
            "nodeName": f"node-{number % 50}",
            "containers": [{"name": "app", **container}, {"name": "istio-proxy", **container}],
            "volumes": [{"name": "data", "emptyDir": {}}],
        },
        "status": {
            "phase": "Running",
            "podIP": address,
            "podIPs": [{"ip": address}],
            "conditions": [
                {"type": kind, "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"}
                for kind in ("PodScheduled", "Initialized", "ContainersReady", "Ready")
            ],
        },
    }

"""The rows of a cluster: a mesh that a real API server holds, loaded and followed."""

from __future__ import annotations

import asyncio
import base64
import itertools
import json
import time
import uuid
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import aiohttp

from e2e.bench.measure import median, percentile
from e2e.bench.processes import BenchError, Fleet, Measured, child, fleet
from e2e.bench.staleness import Change, staleness
from tests.support.api_server import LocalApiServer, missing

Metrics = dict[str, float]
Document = dict[str, Any]

_SPACES = 10
_WRITERS = 8
_STREAMS = 10
_QUIET_SECONDS = 0.5
_PATIENCE = 120.0
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
    with _filled(pods, services) as server:
        async with _following(server) as (first, _):
            return {name: value for name, value in first.items() if name != "port"}


async def churn(program: Path, rate: int = 300, seconds: int = 20, services: int = 2_000) -> Metrics:
    """EndpointSlices change one after the other, and proxies get them; `program` is that of the clients.

    They are written where the API server keeps them: it then does for its watches all that it does for any write, but
    admits, converts and stores nothing itself, for which two cores do not suffice at this rate.
    """
    nodes = [_node(number) for number in range(0, _SPACES * _STREAMS, _SPACES)]
    changes: list[Change] = []
    bodies = [_put(*_slice_entry(number % services, 0, number + 1)) for number in range(rate * seconds)]
    with _filled(len(nodes) * _SPACES, services) as server:
        async with _following(server) as (first, process), fleet(program, int(first["port"]), nodes) as clients:
            clients.open(0, len(nodes))
            await clients.until(lambda: len(clients.ready) == len(nodes), f"{len(nodes)} clients to be ready")
            await _quiet(clients)
            clients.forget()
            await process.ask("reset")
            started = time.monotonic()
            async with aiohttp.ClientSession() as session:
                numbers = iter(range(len(bodies)))

                async def write() -> None:
                    for number in numbers:
                        await asyncio.sleep(started + number / rate - time.monotonic())
                        changes.append(Change(number + 1, number % services, time.monotonic_ns()))
                        async with session.post(f"{server.etcd}/v3/kv/put", data=bodies[number]) as answer:
                            answer.raise_for_status()

                await asyncio.gather(*(write() for _ in range(_WRITERS)))
            took = time.monotonic() - started
            measured: Metrics = await process.ask("statistics")
            async with asyncio.timeout(_PATIENCE):
                while (await process.ask("newest"))["newest"] < len(changes):  # noqa: ASYNC110 - of another process
                    await asyncio.sleep(_QUIET_SECONDS)
            await _quiet(clients)
            found = await process.ask("carried")
            if found["rejections"]:
                raise BenchError(f"rejected: {found['rejections']}")
            ages = staleness(changes, clients.acks, found["carried"], len(nodes))
    return {
        **measured,
        "writes_per_s": len(changes) / took,
        "staleness_p50_ms": median(ages),
        "staleness_p99_ms": percentile(ages, 0.99),
    }


async def _quiet(clients: Fleet) -> None:
    """Wait until no client ACKs anything any more."""
    seen = -1
    while seen != len(clients.acks):
        seen = len(clients.acks)
        await asyncio.sleep(_QUIET_SECONDS)


class _Server(LocalApiServer):
    """An API server whose objects are written where it keeps them: tens of thousands in some seconds."""

    @property
    def etcd(self) -> str:
        """URL of what it keeps them in."""
        return f"http://{self._etcd_address}"

    def fill(self, documents: Iterable[tuple[str, Document]]) -> None:
        """Store objects, each under the path that the API server has for its kind."""
        entries = iter(documents)
        while some := list(itertools.islice(entries, _AT_ONCE)):
            self._etcd("kv/txn", {"success": [{"requestPut": _keyed(*entry)} for entry in some]})


def _put(key: str, document: Document) -> bytes:
    return json.dumps(_keyed(key, document)).encode()


def _keyed(key: str, document: Document) -> dict[str, str]:
    """What etcd's gateway takes (etcd: PutRequest)."""
    return {"key": _base64(key), "value": _base64(json.dumps(document))}


def _base64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


@contextmanager
def _filled(pods: int, services: int) -> Iterator[_Server]:
    """An API server that holds the mesh."""
    if (reason := missing()) is not None:
        raise BenchError(reason)
    with _Server.running(arguments=[_ADMISSION], controllers=False) as server:
        assert isinstance(server, _Server)
        server.fill(_documents(pods, services))
        yield server


class _Follower(NamedTuple):
    """The control plane that follows the API server."""

    process: Measured

    async def ask(self, command: str) -> Any:
        """Have a method of `cluster_follower.Follower` called; its answer."""
        return await self.process.exchange({"command": command})


@asynccontextmanager
async def _following(server: LocalApiServer) -> AsyncIterator[tuple[Metrics, _Follower]]:
    """A control plane that follows it: how it came up, and how to ask it."""
    async with child("cluster_follower") as process:
        first: Metrics = await process.exchange({"kubeconfig": str(server.kubeconfig), "node": _node(0)})
        yield first, _Follower(process)


def _node(number: int) -> str:
    """The node id of a pod's sidecar."""
    space = _space(number)
    return f"sidecar~{_address(number)}~app-{number}.{space}~{space}.svc.cluster.local"


def _address(number: int) -> str:
    return f"10.{128 + (number >> 16)}.{number >> 8 & 255}.{number & 255}"


def _documents(pods: int, services: int) -> Iterator[tuple[str, Document]]:
    """Everything, by the key under which an API server stores it."""
    for number in range(_SPACES):
        yield f"/registry/namespaces/ns-{number}", _stored("v1", "Namespace", {"metadata": {"name": f"ns-{number}"}})
    for number in range(services):
        key = f"{_space(number)}/svc-{number}"
        yield f"/registry/services/specs/{key}", _stored("v1", "Service", _service(number))
        yield from (_slice_entry(number, part) for part in range(_SLICES_OF_A_SERVICE))
    for number in range(pods):
        yield f"/registry/pods/{_space(number)}/app-{number}", _stored("v1", "Pod", _pod(number))


def _slice_entry(number: int, part: int, change: int | None = None) -> tuple[str, Document]:
    key = f"/registry/endpointslices/{_space(number)}/svc-{number}-{part}"
    return key, _stored(_SLICE_VERSION, "EndpointSlice", _slice(number, part, change))


def _stored(version: str, kind: str, document: Document) -> Document:
    name = document["metadata"]
    # The same at each write: another one would be another object.
    uid = uuid.uuid5(uuid.NAMESPACE_OID, f"{kind} {name.get('namespace')} {name['name']}")
    meta = {"uid": str(uid), "creationTimestamp": "2026-01-01T00:00:00Z", "generation": 1}
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
            "podIP": _address(number),
            "podIPs": [{"ip": _address(number)}],
            "conditions": [
                {"type": kind, "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"}
                for kind in ("PodScheduled", "Initialized", "ContainersReady", "Ready")
            ],
        },
    }

"""A node without containers: each port of a pod is a port of this machine, and each log is a text."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from dragoman.kube.cluster import Cluster
from dragoman.kube.resources import NODES, PODS
from tests.support.kubelet_streams import streams_of_node


@dataclass
class StreamKubelet:
    """`pod` creates pods on its node. `connections` counts the ports that were forwarded."""

    cluster: Cluster
    node: str
    ports: dict[tuple[str, str, int], int] = field(default_factory=dict)
    logs: dict[tuple[str, str, str], str] = field(default_factory=dict)
    connections: int = 0

    async def pod(
        self,
        namespace: str,
        name: str,
        *,
        labels: Mapping[str, str] | None = None,
        containers: tuple[str, ...] = ("app",),
        ports: Mapping[int, int] | None = None,
    ) -> None:
        """A pod that runs here; `ports` are its ports and those of this machine that stand for them."""
        await self.cluster.create(
            PODS,
            {
                "apiVersion": "v1",
                "kind": "Pod",
                "metadata": {"name": name, "namespace": namespace, "labels": dict(labels or {})},
                "spec": {
                    "nodeName": self.node,
                    "containers": [{"name": each, "image": "none"} for each in containers],
                    "terminationGracePeriodSeconds": 0,
                },
            },
        )
        ready = {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}], "podIP": "127.0.0.1"}
        await self.cluster.patch(PODS, name, {"status": ready}, namespace, subresource="status")
        for port, local in (ports or {}).items():
            self.ports[namespace, name, port] = local

    async def connect(self, namespace: str, pod: str, port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A connection to what stands for a port of a pod."""
        self.connections += 1
        local = self.ports.get((namespace, pod, port))
        if local is None:
            raise ConnectionRefusedError("connection refused")
        return await asyncio.open_connection("127.0.0.1", local)

    def log(self, namespace: str, pod: str, container: str) -> str | None:
        """The text of a log."""
        return self.logs.get((namespace, pod, container))


@asynccontextmanager
async def stream_kubelet(cluster: Cluster, folder: Path, node: str) -> AsyncIterator[StreamKubelet]:
    """A Node and what answers for it, until the end of the context."""
    kubelet = StreamKubelet(cluster, node)
    await cluster.create(NODES, {"apiVersion": "v1", "kind": "Node", "metadata": {"name": node}})
    try:
        async with streams_of_node(cluster, node, folder, kubelet.connect, kubelet.log):
            yield kubelet
    finally:
        await cluster.delete(NODES, node)

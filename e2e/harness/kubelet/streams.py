"""Ports of pods and logs of containers, as clients of the API server ask for them."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

from dragoman.kube.cluster import Cluster
from e2e.harness.kubelet.kubelet import Kubelet
from e2e.harness.kubelet.watching import Watched
from e2e.harness.namespaces import GATEWAY
from tests.support.kubelet_streams import streams_of_node


class Streams:
    """Finds what runs a pod."""

    def __init__(self, kubelet: Kubelet, pods: Watched) -> None:
        self._kubelet = kubelet
        self._pods = pods

    async def connect(self, namespace: str, pod: str, port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A connection to a port on a pod's loopback."""
        found = self._pods.get(namespace, pod)
        place = self._kubelet.worker(found).place if found is not None else None
        if place is None:
            raise ConnectionRefusedError(f"pod {pod} does not run")
        socket = place.socket()
        try:
            await asyncio.get_running_loop().sock_connect(socket, ("127.0.0.1", port))
        except BaseException:
            socket.close()
            raise
        return await asyncio.open_connection(sock=socket)

    def log(self, namespace: str, pod: str, container: str) -> str | None:
        """What a container has said."""
        found = self._pods.get(namespace, pod)
        if found is None:
            return None
        log = self._kubelet.worker(found).log(container)
        return log.read_text(errors="replace") if log.exists() else None


@contextlib.asynccontextmanager
async def streams(cluster: Cluster, kubelet: Kubelet, pods: Watched, node: str, folder: Path) -> AsyncIterator[None]:
    """Answer the API server's requests for them; from the node, which is where this must be entered."""
    found = Streams(kubelet, pods)
    async with streams_of_node(cluster, node, folder, found.connect, found.log, address=GATEWAY):
        yield

"""A port of a pod as a port of this machine, through the API server.

A WebSocket for each connection, in the subprotocol of channels (Kubernetes: pods/portforward; k8s.io/kubelet,
pkg/cri/streaming/portforward/websocket.go): every message begins with the number of its channel, 0 for data and 1 for
errors, and the first of each channel holds the port, two bytes, the lower first. The kubelet connects to the port on
the pod's loopback.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator
from typing import Final

import aiohttp

from dragoman.kube.cluster import Cluster
from dragoman.kube.errors import ApiError
from dragoman.kube.resources import PODS

_PROTOCOL: Final = "v4.channel.k8s.io"
_DATA: Final = 0
_ERROR: Final = 1
_CHUNK: Final = 1 << 16


class PortForward:
    """A listener on 127.0.0.1 whose connections lead to a port of a pod."""

    def __init__(self, cluster: Cluster, namespace: str, pod: str, port: int) -> None:
        self._cluster = cluster
        self._path = PODS.path(namespace, pod, "portforward")
        self._remote = port
        self.port = 0
        """The local port."""
        self.problem: ApiError | None = None
        """Why the last connection that failed did so."""

    async def check(self) -> None:
        """Open a connection and close it. Raises `ApiError` where the API server does not let it through."""
        async with self._opened():
            pass

    def _opened(self) -> contextlib.AbstractAsyncContextManager[aiohttp.ClientWebSocketResponse]:
        return self._cluster.websocket(self._path, query={"ports": str(self._remote)}, protocol=_PROTOCOL)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Pass on one connection, to its end on either side."""
        try:
            async with self._opened() as socket:
                directions = (
                    asyncio.create_task(_upload(reader, socket)),
                    asyncio.create_task(self._download(socket, writer)),
                )
                try:
                    # The subprotocol cannot say that one side has finished, so either end is the end of both.
                    await asyncio.wait(directions, return_when=asyncio.FIRST_COMPLETED)
                finally:
                    for direction in directions:
                        direction.cancel()
                    await asyncio.gather(*directions, return_exceptions=True)
        except ApiError as error:
            self.problem = error
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    async def _download(self, socket: aiohttp.ClientWebSocketResponse, writer: asyncio.StreamWriter) -> None:
        announced = set()
        async for message in socket:
            if message.type is not aiohttp.WSMsgType.BINARY or not message.data:
                continue
            channel, data = message.data[0], message.data[1:]
            if channel not in announced:
                announced.add(channel)
                data = data[2:]
            if not data:
                continue
            if channel == _ERROR:
                self.problem = ApiError(502, "", data.decode(errors="replace").strip())
                return
            if channel == _DATA:
                writer.write(data)
                await writer.drain()


async def _upload(reader: asyncio.StreamReader, socket: aiohttp.ClientWebSocketResponse) -> None:
    while data := await reader.read(_CHUNK):
        await socket.send_bytes(bytes((_DATA,)) + data)


@contextlib.asynccontextmanager
async def forwarded(
    cluster: Cluster, namespace: str, pod: str, port: int, *, local_port: int = 0
) -> AsyncGenerator[PortForward, None]:
    """Listen on a port of 127.0.0.1, a free one for 0, while used as a context manager.

    Raises `ApiError` where the API server refuses, so that a caller may try another way, and OSError where the local
    port is taken.
    """
    forward = PortForward(cluster, namespace, pod, port)
    await forward.check()
    tasks: set[asyncio.Task[None]] = set()

    def accepted(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(forward.serve(reader, writer))
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    server = await asyncio.start_server(accepted, "127.0.0.1", local_port)
    forward.port = server.sockets[0].getsockname()[1]
    try:
        yield forward
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await server.wait_closed()

"""WebSockets, watches and requests leave no connection to an API server behind, whatever it does at their end."""

import asyncio
import base64
import contextlib
import gc
import hashlib
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from dragoman.kube.cluster import Cluster
from tests.support.api_server_credentials import ClusterCA

ACCEPT = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455, section 1.3


class SilentServer:
    """Neither closes a connection nor answers TLS's goodbye: after a WebSocket's close frame, within an answer, or
    before one (`/never`)."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()
        self.ended = asyncio.Event()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        keys = [line.split(b": ")[1] for line in head.split(b"\r\n") if line.lower().startswith(b"sec-websocket-key")]
        if keys:
            await self._take_websocket(keys[0], reader, writer)
        elif not head.startswith(b"GET /never "):
            writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n6\r\nfirst\n\r\n")
        # What comes from now on stays with the kernel.
        writer.transport.pause_reading()  # type: ignore[attr-defined]
        self.asked.set()
        try:
            await self.ended.wait()
        finally:
            writer.transport.abort()

    async def _take_websocket(self, key: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        accept = base64.b64encode(hashlib.sha1(key + ACCEPT, usedforsecurity=False).digest())
        writer.write(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n")
        writer.write(b"Sec-WebSocket-Protocol: v4\r\nSec-WebSocket-Accept: " + accept + b"\r\n\r\n")
        with contextlib.suppress(asyncio.IncompleteReadError, OSError):
            await reader.readexactly(8)  # a masked close frame with a status
            writer.write(b"\x88\x02\x03\xe8")


@pytest.fixture
def silent() -> SilentServer:
    return SilentServer()


@pytest.fixture
async def cluster(tmp_path: Path, silent: SilentServer) -> AsyncIterator[Cluster]:
    authority = ClusterCA(tmp_path)
    certificate, key = authority.serving("server", ["127.0.0.1"])
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    server = await asyncio.start_server(silent.serve, "127.0.0.1", 0, ssl=context)
    port = server.sockets[0].getsockname()[1]
    async with server:
        async with await Cluster.connect(authority.kubeconfig(f"https://127.0.0.1:{port}", "amina", ())) as connected:
            yield connected
        silent.ended.set()


def open_connections(cluster: Cluster) -> int:
    """How many TLS connections to the server are there in this process."""
    gc.collect()
    port = int(cluster.server.rpartition(":")[2])
    transports = [each for each in gc.get_objects() if type(each).__name__ == "_SelectorSocketTransport"]
    return sum(
        (each.get_extra_info("peername") or ("", 0))[1] == port and each._sock is not None for each in transports
    )


async def test_a_websocket_whose_server_does_not_say_goodbye_is_cut(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dragoman.kube.cluster._TLS_GOODBYE", 0.05)
    async with cluster.websocket("/", protocol="v4"):
        assert open_connections(cluster) == 1
    await asyncio.sleep(0)  # it is closed by the loop
    assert open_connections(cluster) == 0


async def test_a_websocket_whose_user_is_cancelled_is_cut_at_once(cluster: Cluster) -> None:
    opened = asyncio.Event()

    async def use() -> None:
        async with cluster.websocket("/", protocol="v4"):
            opened.set()
            await asyncio.Event().wait()

    using = asyncio.create_task(use())
    await opened.wait()
    using.cancel()
    await asyncio.wait([using])
    await asyncio.sleep(0)
    assert open_connections(cluster) == 0


async def test_a_watch_whose_reader_has_seen_enough_is_cut_at_once(cluster: Cluster) -> None:
    async with cluster.lines("/watch") as lines:
        assert await anext(lines) == b"first"
        assert open_connections(cluster) == 1
    await asyncio.sleep(0)
    assert open_connections(cluster) == 0


async def test_a_request_whose_asker_is_cancelled_is_cut_with_the_cluster_at_the_latest(
    cluster: Cluster, silent: SilentServer
) -> None:
    asking = asyncio.create_task(cluster.request("GET", "/never"))
    await silent.asked.wait()
    asking.cancel()
    await asyncio.wait([asking])
    await cluster.close()
    assert open_connections(cluster) == 0

"""What the API server asks of a kubelet for the streams of pods: forwarded ports, and logs, over HTTPS.

Kubernetes: k8s.io/kubelet, pkg/cri/streaming/portforward/websocket.go; pkg/kubelet/server.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import aiohttp
from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from dragoman.kube.cluster import Cluster
from dragoman.kube.resources import NODES

Connect = Callable[[str, str, int], Awaitable[tuple[asyncio.StreamReader, asyncio.StreamWriter]]]
"""A connection to a port on the loopback of a pod, by its namespace and name. Raises OSError."""

Log = Callable[[str, str, str], str | None]
"""What a container has said, by namespace, pod and name; None for one that is not there."""


@asynccontextmanager
async def streams_of_node(
    cluster: Cluster, node: str, folder: Path, connect: Connect, log: Log, *, address: str = "127.0.0.1"
) -> AsyncIterator[None]:
    """Answer for a Node that is there, at an address that the API server reaches, until the end of the context."""

    async def port_forward(request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse(protocols=("v4.channel.k8s.io",))
        await socket.prepare(request)
        port = int(request.query["port"])
        for channel in (0, 1):
            await socket.send_bytes(bytes((channel,)) + port.to_bytes(2, "little"))
        try:
            reader, writer = await connect(request.match_info["namespace"], request.match_info["pod"], port)
        except OSError as error:
            said = f"an error occurred forwarding {port} -> {port}: {error}"
            await socket.send_bytes(bytes((1,)) + said.encode())
            await socket.close()
            return socket
        downloading = asyncio.create_task(_download(reader, socket))
        try:
            async for message in socket:
                assert message.type is aiohttp.WSMsgType.BINARY
                assert message.data[0] == 0
                writer.write(message.data[1:])
        finally:
            writer.close()
            downloading.cancel()
            await asyncio.gather(downloading, return_exceptions=True)
        return socket

    async def container_logs(request: web.Request) -> web.Response:
        match = request.match_info
        found = log(match["namespace"], match["pod"], match["container"])
        if found is None:
            return web.Response(status=404, text="no such container")
        lines = found.splitlines(keepends=True)
        return web.Response(text="".join(lines[-int(request.query.get("tailLines", len(lines))) :]))

    app = web.Application()
    app.router.add_route("*", "/portForward/{namespace}/{pod}", port_forward)
    app.router.add_get("/containerLogs/{namespace}/{pod}/{container}", container_logs)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, address, 0, ssl_context=_server_context(folder)).start()
        # Without a name, which the API server would prefer, and which nobody knows here.
        status = {
            "addresses": [{"type": "InternalIP", "address": address}],
            "daemonEndpoints": {"kubeletEndpoint": {"Port": runner.addresses[0][1]}},
        }
        await cluster.patch(NODES, node, {"status": status}, subresource="status")
        yield
    finally:
        await runner.cleanup()


async def _download(reader: asyncio.StreamReader, socket: web.WebSocketResponse) -> None:
    while data := await reader.read(1 << 15):
        await socket.send_bytes(b"\0" + data)
    await socket.close()


def _server_context(folder: Path) -> ssl.SSLContext:
    """A certificate of its own: an API server checks that of a kubelet only where it is told to."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "kubelet")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .sign(key, hashes.SHA256())
    )
    file = folder / "kubelet.pem"
    file.write_bytes(
        certificate.public_bytes(serialization.Encoding.PEM)
        + key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file)
    return context

"""The part of a kubelet that the API server asks for the streams of pods: forwarded ports, and logs.

Its pods have no containers: each port of a pod is a port of this machine, and each log is a text.
"""

from __future__ import annotations

import asyncio
import ipaddress
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from dragoman.kube.cluster import Cluster
from dragoman.kube.resources import NODES, PODS


@dataclass
class StreamKubelet:
    """`pods` creates pods on its node. `connections` counts the ports that were forwarded."""

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
        ip: str = "127.0.0.1",
        status: Mapping[str, Any] | None = None,
        **spec: Any,
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
                    **spec,
                },
            },
        )
        ready = {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}], "podIP": ip}
        await self.cluster.patch(PODS, name, {"status": ready | dict(status or {})}, namespace, subresource="status")
        for port, local in (ports or {}).items():
            self.ports[namespace, name, port] = local

    async def port_forward(self, request: web.Request) -> web.WebSocketResponse:
        """Kubernetes: k8s.io/kubelet, pkg/cri/streaming/portforward/websocket.go."""
        self.connections += 1
        socket = web.WebSocketResponse(protocols=("v4.channel.k8s.io",))
        await socket.prepare(request)
        port = int(request.query["port"])
        for channel in (0, 1):
            await socket.send_bytes(bytes((channel,)) + port.to_bytes(2, "little"))
        local = self.ports.get((request.match_info["namespace"], request.match_info["pod"], port))
        try:
            if local is None:
                raise ConnectionRefusedError("connection refused")
            reader, writer = await asyncio.open_connection("127.0.0.1", local)
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

    async def container_logs(self, request: web.Request) -> web.Response:
        """The text of a log, or of its end."""
        found = self.logs.get(tuple(request.match_info[part] for part in ("namespace", "pod", "container")))  # type: ignore[arg-type]
        if found is None:
            return web.Response(status=404, text="no such container")
        lines = found.splitlines(keepends=True)
        return web.Response(text="".join(lines[-int(request.query.get("tailLines", len(lines))) :]))


async def _download(reader: asyncio.StreamReader, socket: web.WebSocketResponse) -> None:
    while data := await reader.read(1 << 15):
        await socket.send_bytes(b"\0" + data)
    await socket.close()


@asynccontextmanager
async def stream_kubelet(cluster: Cluster, folder: Path, node: str) -> AsyncIterator[StreamKubelet]:
    """A Node and what answers for it, until the end of the context."""
    kubelet = StreamKubelet(cluster, node)
    app = web.Application()
    app.router.add_route("*", "/portForward/{namespace}/{pod}", kubelet.port_forward)
    app.router.add_get("/containerLogs/{namespace}/{pod}/{container}", kubelet.container_logs)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=_server_context(folder))
    await site.start()
    port = runner.addresses[0][1]
    await cluster.create(NODES, {"apiVersion": "v1", "kind": "Node", "metadata": {"name": node}})
    where = {
        "addresses": [{"type": "InternalIP", "address": "127.0.0.1"}],
        "daemonEndpoints": {"kubeletEndpoint": {"Port": port}},
    }
    await cluster.patch(NODES, node, {"status": where}, subresource="status")
    try:
        yield kubelet
    finally:
        await cluster.delete(NODES, node)
        await runner.cleanup()


def _server_context(folder: Path) -> ssl.SSLContext:
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
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
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

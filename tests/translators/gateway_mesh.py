"""A gateway and a meshed server behind it, in real Envoys that a real control plane feeds from a folder of YAML."""

from __future__ import annotations

import asyncio
import base64
import itertools
import os
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml
from aiohttp import ClientError, ClientSession, TCPConnector, web

from ca.root_store import load_or_create
from dragoman.mesh.proxy_id import ProxyId, ProxyType
from dragoman.runtime import ControlPlane
from dragoman.sidecar import (
    Bootstrap,
    EnvoyProcess,
    Node,
    SocketAddress,
    StaticAddresses,
    argv,
    find_envoy,
    render,
)
from dragoman.sidecar import (
    ControlPlane as ControlPlaneAddress,
)
from dragoman.sources.files import FileSource
from tests.support.until import until
from tests.translators.gateway_certificates import KeyPair

_NUMBERS = itertools.count(1)
_PATIENCE_SECONDS = 60.0

HTTP, HTTPS, TCP = 8080, 8443, 9443
"""The gateway workload's ports, for the ports 80, 443 and 9000 of its Service."""

MESH = """
apiVersion: v1
kind: ConfigMap
metadata: {{name: istio, namespace: istio-system}}
data:
  mesh: |
    defaultConfig: {{interceptionMode: NONE, gatewayTopology: {{numTrustedProxies: 1}}}}
---
apiVersion: v1
kind: Service
metadata: {{name: server, namespace: shop}}
spec:
  clusterIP: 10.96.0.10
  selector: {{app: server}}
  ports: [{{name: http, port: 8080, targetPort: {application}}}, {{name: tcp-echo, port: 9000, targetPort: {echo}}}]
---
apiVersion: v1
kind: Pod
metadata: {{name: server-1, namespace: shop, labels: {{app: server, security.istio.io/tlsMode: istio}}}}
spec: {{serviceAccountName: server, containers: [{{name: app}}]}}
status: {{podIP: {server}, phase: Running}}
---
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {{name: default, namespace: shop}}
spec: {{mtls: {{mode: STRICT}}}}
---
apiVersion: v1
kind: Service
metadata: {{name: gw, namespace: edge}}
spec:
  clusterIP: 10.96.0.11
  selector: {{istio: ingressgateway}}
  ports:
  - {{name: http, port: 80, targetPort: 8080}}
  - {{name: https, port: 443, targetPort: 8443}}
  - {{name: tls, port: 9000, targetPort: 9443}}
---
apiVersion: v1
kind: Pod
metadata:
  name: gw-1
  namespace: edge
  labels: {{istio: ingressgateway, gateway.networking.k8s.io/gateway-name: front, security.istio.io/tlsMode: istio}}
spec: {{serviceAccountName: gw, containers: [{{name: proxy}}]}}
status: {{podIP: {gateway}, phase: Running}}
"""


def secret(name: str, pair: KeyPair, **more: bytes) -> dict[str, Any]:
    """A Secret of the gateway's namespace in Kubernetes' own layout."""
    data = {"tls.crt": pair.certificate, "tls.key": pair.key, **more}
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": name, "namespace": "edge"},
        "type": "kubernetes.io/tls",
        "data": {key: base64.b64encode(value).decode() for key, value in data.items()},
    }


@dataclass(slots=True)
class GatewayMesh:
    """What runs. `folder` is what the control plane follows."""

    folder: Path
    gateway: str
    control_plane: ControlPlane
    envoy: EnvoyProcess
    session: ClientSession
    taken: asyncio.Event
    """Set when the control plane has taken in what was written last."""
    identity: str = "spiffe://cluster.local/ns/edge/sa/gw"

    def write(self, name: str, documents: str | list[dict[str, Any]]) -> None:
        """Replace a file of the folder, in one step as editors do."""
        text = documents if isinstance(documents, str) else yaml.safe_dump_all(documents)
        part = self.folder / f".{name}"
        part.write_text(text)
        self.taken.clear()
        part.rename(self.folder / f"{name}.yaml")

    def remove(self, name: str) -> None:
        self.taken.clear()
        (self.folder / f"{name}.yaml").unlink()

    async def get(
        self, url: str, host: str, *, tls: ssl.SSLContext | None = None, headers: dict[str, str] | None = None
    ) -> Answer:
        """GET `path` on a new connection to the gateway, as a client that resolved `host` to it."""
        scheme, _, rest = url.partition("://")
        port = HTTPS if scheme == "https" else HTTP
        port_text, slash, path = rest.partition("/")
        target = f"{scheme}://{self.gateway}:{port_text or port}{slash}{path}"
        async with self.session.get(
            target,
            headers={"Host": host, **(headers or {})},
            allow_redirects=False,
            ssl=tls or True,
            server_hostname=host if scheme == "https" else None,
        ) as response:
            content = await response.read()
            shown_headers = {name.lower(): value for name, value in response.headers.items()}
            return Answer(response.status, shown_headers, content)

    async def certificate(self, host: str, tls: ssl.SSLContext) -> bytes:
        """The certificate (DER) that the gateway shows a new client of `host`."""
        _, writer = await asyncio.open_connection(self.gateway, HTTPS, ssl=tls, server_hostname=host)
        shown: bytes = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
        writer.close()
        await writer.wait_closed()
        return shown

    async def eventually(self, get: Callable[[], Awaitable[Answer]], status: int) -> Answer:
        """Ask until the answer has a status: what a change leads to, not when."""
        last: list[Any] = []

        async def answered() -> bool:
            try:
                last.append(await get())
            except (OSError, ClientError) as error:
                last.append(error)
            return isinstance(last[-1], Answer) and last[-1].status == status

        try:
            await until(answered)
        except TimeoutError:
            raise AssertionError(f"no {status}, last {last[-1]}\n{self.state()}\n{self.envoy.log_tail()}") from None
        found: Answer = last[-1]
        return found

    async def in_force(self) -> None:
        """Wait until the control plane took in what was written last, and every proxy has ACKed all that it serves."""

        async def in_sync() -> bool:
            return all(types.in_sync for status in self.control_plane.server.connections() for types in status.types)

        async with asyncio.timeout(_PATIENCE_SECONDS):
            await self.taken.wait()
        await until(in_sync)

    async def stat(self, name: str) -> int:
        """A gauge or counter of the gateway's Envoy."""
        async with self.session.get(f"http://{self.gateway}:15000/stats?filter=^{name}$&format=json") as response:
            (found,) = (await response.json())["stats"]
            return int(found["value"])

    def state(self) -> str:
        return "\n".join(
            f"{connection.proxy} {types.type_url.rsplit('.', 1)[1]} in_sync={types.in_sync} {types.last_error[:300]}"
            for connection in self.control_plane.server.connections()
            for types in connection.types
        )


@dataclass(frozen=True, slots=True)
class Answer:
    """A response; names of headers are in lower case."""

    status: int
    headers: dict[str, str]
    content: bytes

    def __str__(self) -> str:
        return f"{self.status} {self.content[:200]!r}"


async def _echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(ConnectionError):
        while data := await reader.read(4096):
            writer.write(data)
            await writer.drain()
    writer.close()


async def _headers(request: web.Request) -> web.Response:
    return web.json_response({name.lower(): value for name, value in request.headers.items()})


@asynccontextmanager
async def gateway_mesh(folder: Path, files: Mapping[str, str]) -> AsyncIterator[GatewayMesh]:
    """The mesh with the given files, by name, beside its own; both Envoys are live when it is entered."""
    process = os.getpid()
    network = f"127.{64 + (process >> 8) % 128}.{process & 255}"
    gateway, server = (f"{network}.{next(_NUMBERS) % 254 + 1}" for _ in range(2))
    async with AsyncExitStack() as stack:
        application = web.Application()
        application.router.add_route("*", "/{path:.*}", _headers)
        runner = web.AppRunner(application)
        await runner.setup()
        stack.push_async_callback(runner.cleanup)
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        echo = await asyncio.start_server(_echo, "127.0.0.1", 0)
        stack.push_async_callback(echo.wait_closed)
        stack.callback(echo.close)
        config = folder / "config"
        config.mkdir()
        texts = {
            "mesh": MESH.format(
                application=runner.addresses[0][1],
                echo=echo.sockets[0].getsockname()[1],
                gateway=gateway,
                server=server,
            ),
            **files,
        }
        for name, text in texts.items():
            (config / f"{name}.yaml").write_text(text)
        authority = load_or_create(folder / "ca", "cluster.local", now=datetime.now(UTC))
        taken = asyncio.Event()
        control_plane = ControlPlane(FileSource(config), authority, on_batch=lambda batch: taken.set())
        await control_plane.load()
        xds = SocketAddress("127.0.0.1", control_plane.server.listen("127.0.0.1:0"))
        await control_plane.start()
        stack.push_async_callback(control_plane.server.stop, 0)
        following = asyncio.create_task(control_plane.run())
        stack.push_async_callback(_cancelled, following)
        envoys = [
            await stack.enter_async_context(_envoy(folder / name, kind, address, name, namespace, xds))
            for kind, address, name, namespace in (
                ("router", gateway, "gw-1", "edge"),
                ("sidecar", server, "server-1", "shop"),
            )
        ]
        for envoy in envoys:
            await envoy.wait_live(_PATIENCE_SECONDS)
        session = await stack.enter_async_context(ClientSession(connector=TCPConnector(force_close=True)))
        yield GatewayMesh(config, gateway, control_plane, envoys[0], session, taken)


def _envoy(directory: Path, kind: Any, address: str, name: str, namespace: str, xds: SocketAddress) -> EnvoyProcess:
    node = Node(
        ProxyId(ProxyType(kind), address, name, namespace, f"{namespace}.svc.cluster.local"), interception_mode="NONE"
    )
    statics = StaticAddresses.on(address)
    bootstrap = render(Bootstrap(node, ControlPlaneAddress(xds), statics))
    return EnvoyProcess(
        lambda file: argv(find_envoy(), file, reject_unknown_fields=True, concurrency=1),
        bootstrap,
        directory,
        statics.admin,
    )


async def _cancelled(task: asyncio.Task[None]) -> None:
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task

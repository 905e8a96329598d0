"""Two real Envoys that speak state of the world: requests go through, with mutual TLS, and follow a change."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest
from aiohttp import ClientSession, web

from ca.authority import new_root
from dragoman.mesh.proxy_id import ProxyId
from dragoman.runtime import ControlPlane
from dragoman.sidecar import Bootstrap, EnvoyProcess, Node, SocketAddress, StaticAddresses, argv, find_envoy, render
from dragoman.sidecar import ControlPlane as ControlPlaneAddress
from dragoman.sources.files import FileSource

pytestmark = pytest.mark.envoy

PROXY_PORT = 15080

MESH = """
apiVersion: v1
kind: Namespace
metadata: {{name: shop}}
---
apiVersion: v1
kind: Service
metadata: {{name: server, namespace: shop}}
spec: {{clusterIP: 10.96.0.10, selector: {{app: server}}, ports: [{{name: http, port: 8080, targetPort: {port}}}]}}
---
apiVersion: v1
kind: Pod
metadata: {{name: server-1, namespace: shop, labels: {{app: server, security.istio.io/tlsMode: istio}}}}
spec: {{serviceAccountName: server, containers: [{{name: a}}]}}
status: {{podIP: {server}, phase: Running}}
---
apiVersion: v1
kind: Pod
metadata: {{name: client-1, namespace: shop, labels: {{app: client, security.istio.io/tlsMode: istio}}}}
spec: {{serviceAccountName: client, containers: [{{name: a}}]}}
status: {{podIP: {client}, phase: Running}}
---
apiVersion: v1
kind: ConfigMap
metadata: {{name: istio, namespace: istio-system}}
data: {{mesh: "{{proxyHttpPort: 15080, defaultConfig: {{interceptionMode: NONE}}}}"}}
---
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {{name: default, namespace: istio-system}}
spec: {{mtls: {{mode: STRICT}}}}
"""

HEADER = """
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: server, namespace: shop}
spec:
  hosts: [server]
  http:
  - headers: {response: {set: {x-revision: second}}}
    route: [{destination: {host: server}}]
"""


@asynccontextmanager
async def application() -> AsyncIterator[int]:
    """Tells who called; yields its port."""

    async def answer(request: web.Request) -> web.Response:
        return web.Response(text=request.headers.get("x-forwarded-client-cert", "nobody"))

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()


@asynccontextmanager
async def control_plane(folder: Path) -> AsyncIterator[ControlPlane]:
    plane = ControlPlane(FileSource(folder), new_root("cluster.local", now=datetime.now(UTC)))
    await plane.load()
    running = asyncio.create_task(plane.run())
    try:
        yield plane
    finally:
        await plane.server.stop(0.1)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


def sidecar(name: str, address: str, xds_port: int, folder: Path) -> EnvoyProcess:
    node = Node(
        ProxyId.parse(f"sidecar~{address}~{name}.shop~shop.svc.cluster.local"),
        workload=name,
        interception_mode="NONE",
        http_proxy_port=PROXY_PORT,
    )
    own = StaticAddresses.on(address)
    bootstrap = render(Bootstrap(node, ControlPlaneAddress(SocketAddress("127.0.0.1", xds_port)), own, "sotw"))
    return EnvoyProcess(
        lambda file: argv(find_envoy(), file, reject_unknown_fields=True, concurrency=1),
        bootstrap,
        folder / name,
        own.admin,
    )


async def test_sotw_pair_serves_mutual_tls_and_follows_a_change(tmp_path):
    server, client = (f"127.{net}.{os.getpid() >> 8 & 255}.{os.getpid() & 255 or 1}" for net in (79, 80))
    folder = tmp_path / "mesh"
    folder.mkdir()
    async with AsyncExitStack() as stack:
        port = await stack.enter_async_context(application())
        (folder / "mesh.yaml").write_text(MESH.format(port=port, server=server, client=client))
        plane = await stack.enter_async_context(control_plane(folder))
        xds_port = plane.server.listen("127.0.0.1:0")
        await plane.server.start()
        for name, address in (("client-1", client), ("server-1", server)):
            envoy = await stack.enter_async_context(sidecar(name, address, xds_port, tmp_path))
            await envoy.wait_live(60)
        session = await stack.enter_async_context(ClientSession())

        async def call() -> tuple[int, str, str]:
            url, proxy = "http://server.shop.svc.cluster.local:8080/", f"http://{client}:{PROXY_PORT}"
            async with session.get(url, proxy=proxy) as response:
                return response.status, await response.text(), response.headers.get("x-revision", "")

        status, caller, _ = await call()
        assert status == 200, caller
        assert "URI=spiffe://cluster.local/ns/shop/sa/client" in caller
        connections = list(plane.server.connections())
        assert {connection.method for connection in connections} == {"StreamAggregatedResources"}
        assert not any(status.rejected for connection in connections for status in connection.types)

        (folder / "header.yaml").write_text(HEADER)
        async with asyncio.timeout(60):
            while (await call())[2] != "second":
                pass

"""A control plane with real files, real ports and its debug pages, inside the test's own loop."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiohttp

from ca.authority import new_root
from dragoman.debug.server import DebugServer
from dragoman.runtime import ControlPlane
from dragoman.sources.files import FileSource

MESH = """
apiVersion: v1
kind: Namespace
metadata: {name: shop}
---
apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop, labels: {app: web}}
spec: {clusterIP: 10.96.0.1, selector: {app: web}, ports: [{name: http, port: 8080}]}
---
apiVersion: v1
kind: Pod
metadata: {name: web-1, namespace: shop, labels: {app: web, security.istio.io/tlsMode: istio}}
spec: {serviceAccountName: web, nodeName: n1}
status: {podIP: 10.1.0.1}
---
apiVersion: v1
kind: Pod
metadata: {name: cart-1, namespace: shop, labels: {app: cart}}
spec: {serviceAccountName: cart}
status: {podIP: 10.1.0.2}
---
apiVersion: v1
kind: Node
metadata: {name: n1, labels: {topology.kubernetes.io/region: r, topology.kubernetes.io/zone: z}}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: web, namespace: shop}
spec:
  host: web
  trafficPolicy: {connectionPool: {tcp: {connectTimeout: 3s}}}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: web, namespace: shop}
spec:
  hosts: [web]
  http: [{timeout: 5s, route: [{destination: {host: web}}]}]
"""

WEB = "sidecar~10.1.0.1~web-1.shop~shop.svc.cluster.local"
CART = "sidecar~10.1.0.2~cart-1.shop~shop.svc.cluster.local"
CLUSTER_OF_WEB = "outbound|8080||web.shop.svc.cluster.local"


class RunningPlane:
    """`folder` may be written to; `ask` fetches a page."""

    def __init__(self, folder: Path, token: str | None = None, **options: Any) -> None:
        self.folder = folder
        self.plane = ControlPlane(FileSource(folder), new_root("cluster.local", now=datetime.now(UTC)), **options)
        self.debug = DebugServer(self.plane, token=token)
        self.xds_port = 0
        self.http_port = 0

    async def ask(self, path: str, **headers: str) -> Any:
        """The JSON of a page."""
        status, text, response = await self.get(path, **headers)
        assert status == 200, text
        assert response.content_type == "application/json"
        return await response.json()

    async def all_in_sync(self) -> bool:
        """Whether every proxy has accepted all it is served; there must be one."""
        statuses = await self.ask("/debug/syncz")
        return bool(statuses) and all(t["inSync"] for status in statuses for t in status["types"].values())

    async def get(self, path: str, **headers: str) -> tuple[int, str, aiohttp.ClientResponse]:
        """Status and text of a page."""
        async with (
            aiohttp.ClientSession() as session,
            session.get(f"http://127.0.0.1:{self.http_port}{path}", headers=headers) as response,
        ):
            return response.status, await response.text(), response


@asynccontextmanager
async def running_plane(
    folder: Path, text: str = MESH, *, token: str | None = None, **options: Any
) -> AsyncIterator[RunningPlane]:
    """A control plane, with these options, that serves a folder with this text in it."""
    (folder / "mesh.yaml").write_text(text)
    running = RunningPlane(folder, token, **options)
    running.http_port = await running.debug.start("127.0.0.1", 0)
    await running.plane.load()
    running.xds_port = running.plane.server.listen("127.0.0.1:0")
    await running.plane.start()
    task = asyncio.create_task(running.plane.run())
    try:
        yield running
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await running.plane.server.stop(0)
        await running.debug.stop()

"""A control plane and a real Envoy of pod web-1 in namespace shop, uncaptured, that has all it gets."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NamedTuple

from dragoman.mesh.proxy_id import ProxyId
from dragoman.sidecar import (
    Bootstrap,
    ControlPlane,
    EnvoyProcess,
    Node,
    SocketAddress,
    StaticAddresses,
    argv,
    find_envoy,
    render,
)
from tests.debug.running_plane import RunningPlane, running_plane
from tests.support.until import until


class PlaneWithEnvoy(NamedTuple):
    running: RunningPlane
    envoy: EnvoyProcess
    admin: SocketAddress


@asynccontextmanager
async def plane_with_envoy(folder: Path, text: str, address: str) -> AsyncIterator[PlaneWithEnvoy]:
    """`text` is the mesh, whose settings leave traffic uncaptured; `address` the pod's, on the loopback interface."""
    (folder / "mesh").mkdir()
    addresses = StaticAddresses.on(address, admin=18000, readiness=18021, prometheus=18090, lifecycle=18020)
    node = Node(ProxyId.parse(f"sidecar~{address}~web-1.shop~shop.svc.cluster.local"), interception_mode="NONE")
    async with running_plane(folder / "mesh", text) as running:
        bootstrap = Bootstrap(node, ControlPlane(SocketAddress("127.0.0.1", running.xds_port)), addresses)
        envoy = EnvoyProcess(
            lambda config: argv(find_envoy(), config, concurrency=1, reject_unknown_fields=True),
            render(bootstrap),
            folder / "envoy",
            addresses.admin,
        )
        async with envoy:
            await envoy.wait_live(60)
            await until(running.all_in_sync)
            yield PlaneWithEnvoy(running, envoy, addresses.admin)

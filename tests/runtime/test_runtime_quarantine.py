"""A control plane that is started again over configuration that proxies rejected."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import grpc
from envoy_data_plane.envoy.config.core.v3 import Node
from envoy_data_plane.envoy.service.discovery.v3 import DeltaDiscoveryRequest
from envoy_data_plane.google.rpc import Status
from test_runtime_control_plane import MESH, Documents

from ca.authority import new_root
from dragoman.codec import CLUSTER, decode, encode
from dragoman.runtime import ControlPlane
from dragoman.runtime.quarantine_store import QuarantineStore

METHOD = "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources"
RESPONSE = "type.googleapis.com/envoy.service.discovery.v3.DeltaDiscoveryResponse"
NAME = "outbound|80||web.shop.svc.cluster.local"

RULE = """
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {{name: web, namespace: shop}}
spec:
  host: web.shop.svc.cluster.local
  trafficPolicy: {{connectionPool: {{tcp: {{maxConnections: {connections}}}}}}}
"""


class Proxy:
    """A client that takes clusters, but for one version that it rejects."""

    def __init__(self, call: Any) -> None:
        self.call = call
        self.version: str | None = None
        self.rejected: list[str] = []

    async def ask(self) -> None:
        node = Node(id="sidecar~10.1.0.1~web-1.shop~shop.svc.cluster.local")
        await self.call.write(encode(DeltaDiscoveryRequest(node=node, type_url=CLUSTER)))

    async def take(self, *, bad: bool = False, silent: bool = False) -> None:
        """Take responses until one carries the cluster; reject that if it is bad, or say nothing to it."""
        while True:
            async with asyncio.timeout(60):
                message: Any = decode(RESPONSE, await self.call.read())
            found = {resource.name: resource.version for resource in message.resources}
            answer = DeltaDiscoveryRequest(type_url=CLUSTER, response_nonce=message.nonce)
            if NAME in found and bad:
                answer.error_detail = Status(code=3, message=f"Error adding/updating cluster(s) {NAME}: it is bad")
                self.rejected.append(found[NAME])
            elif NAME in found:
                self.version = found[NAME]
            if NAME in found and silent:
                return
            await self.call.write(encode(answer))
            if NAME in found:
                return


@asynccontextmanager
async def running(source: Documents, file: Path) -> AsyncIterator[tuple[ControlPlane, Proxy]]:
    authority = new_root("cluster.local", now=datetime.now(UTC))
    plane = ControlPlane(source, authority, quarantine=QuarantineStore(file))
    port = plane.server.listen("127.0.0.1:0")
    await plane.load()
    await plane.start()
    task = asyncio.create_task(plane.run())
    try:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            proxy = Proxy(channel.stream_stream(METHOD)())
            await proxy.ask()
            yield plane, proxy
            proxy.call.cancel()
    finally:
        await plane.server.stop(0.1)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def in_sync(plane: ControlPlane) -> bool:
    return all(type_.in_sync for status in plane.server.connections() for type_ in status.types)


async def test_a_new_proxy_gets_the_last_good_from_a_new_control_plane(tmp_path: Path) -> None:
    file = tmp_path / "quarantine.json"
    source = Documents(MESH)
    async with running(source, file) as (_, proxy):
        await proxy.take()
        good = proxy.version
        source.apply(RULE.format(connections=1))
        await proxy.take(bad=True)
        while not file.exists() or NAME not in file.read_text():  # noqa: ASYNC110 - another thread writes it
            await asyncio.sleep(0.01)
    again = Documents(MESH + "---" + RULE.format(connections=1))
    async with running(again, file) as (plane, proxy):
        await proxy.take()
        assert proxy.version == good
        again.apply(RULE.format(connections=2))
        await proxy.take()
        assert proxy.version not in (good, *proxy.rejected)
        assert not any(mounted.view.blocked() for mounted in plane.mounted)
        # While the ACK is on its way nobody has judged the new version, and the last good one is kept.
        async with asyncio.timeout(60):
            while not in_sync(plane):  # noqa: ASYNC110 - the server tells nobody
                await asyncio.sleep(0.01)
    assert NAME not in file.read_text()


async def test_a_control_plane_that_stops_before_a_change_is_judged_leaves_what_was_good_before(tmp_path: Path) -> None:
    file = tmp_path / "quarantine.json"
    source = Documents(MESH)
    async with running(source, file) as (_, proxy):
        await proxy.take()
        good = proxy.version
        source.apply(RULE.format(connections=1))
        await proxy.take(silent=True)
        assert proxy.version != good
    async with running(Documents(MESH + "---" + RULE.format(connections=1)), file) as (_, proxy):
        await proxy.take(bad=True)
        await proxy.take()
        assert proxy.version == good

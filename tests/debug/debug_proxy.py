"""A proxy without an Envoy: it speaks delta ADS, takes what it is sent, or rejects what it is told to."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from typing import Any

import grpc
from envoy_data_plane.envoy.config.core.v3 import Node
from envoy_data_plane.envoy.service.discovery.v3 import DeltaDiscoveryRequest, DeltaDiscoveryResponse
from envoy_data_plane.google.rpc import Status

from dragoman.codec import CLUSTER, ENDPOINT, LISTENER, ROUTE, SECRET, decode, encode, struct

_METHOD = "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources"
SIDECAR_SECRETS = ("default", "ROOTCA")


class DebugProxy:
    """Connected once `proxy_at` yields it. `held` is what it has taken, by type and name."""

    def __init__(self, stream: Any, node: Node, rejects: Mapping[str, str]) -> None:
        self.held: dict[str, dict[str, bytes]] = {}
        self._stream = stream
        self._node: Node | None = node
        self._rejects = dict(rejects)
        self._settled: dict[str, asyncio.Event] = {}
        self._writing = asyncio.Lock()  # two concurrent writes on one stream are an error

    async def ask(self, type_url: str, names: Iterable[str] = ()) -> None:
        """Subscribe, and wait until the answer was taken or rejected."""
        self._settled[type_url] = asyncio.Event()
        await self._send(DeltaDiscoveryRequest(type_url=type_url, resource_names_subscribe=list(names)))
        await self.settled(type_url)

    def refuse(self, name: str, reason: str) -> None:
        """Reject this cluster from now on."""
        self._rejects[name] = reason

    async def settled(self, type_url: str) -> None:
        """Wait for the next response of a type, or for the one that has come since this was last asked."""
        async with asyncio.timeout(60):
            await self._settled[type_url].wait()
        self._settled[type_url].clear()

    async def run(self) -> None:
        while (data := await self._stream.read()) is not grpc.aio.EOF:
            response: Any = decode(DeltaDiscoveryResponse, data)
            bad = [each.name for each in response.resources if each.name in self._rejects]
            answer = DeltaDiscoveryRequest(type_url=response.type_url, response_nonce=response.nonce)
            if bad:
                reasons = "\n".join(f"{name}: {self._rejects[name]}" for name in bad)
                answer.error_detail = Status(code=13, message=f"Error adding/updating cluster(s) {reasons}")
            else:
                held = self.held.setdefault(response.type_url, {})
                held |= {each.name: each.resource.value for each in response.resources}
                for name in response.removed_resources:
                    held.pop(name, None)
            await self._send(answer)
            self._settled[response.type_url].set()

    async def _send(self, request: DeltaDiscoveryRequest) -> None:
        async with self._writing:
            request.node, self._node = self._node, None
            await self._stream.write(encode(request))


@asynccontextmanager
async def proxy_at(
    port: int, node_id: str, *, rejects: Mapping[str, str] | None = None, **metadata: Any
) -> AsyncIterator[DebugProxy]:
    """A connected proxy that has asked for everything a sidecar asks for; `rejects` are clusters and why."""
    node = Node(id=node_id, user_agent_name="envoy", metadata=struct(metadata) if metadata else None)
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        stream = channel.stream_stream(_METHOD)()
        proxy = DebugProxy(stream, node, rejects or {})
        running = asyncio.create_task(proxy.run())
        try:
            await proxy.ask(CLUSTER)
            await proxy.ask(SECRET, SIDECAR_SECRETS)
            clusters = [name for name in proxy.held.get(CLUSTER, {}) if name.startswith("outbound|")]
            if clusters:
                await proxy.ask(ENDPOINT, clusters)
            await proxy.ask(LISTENER)
            await proxy.ask(ROUTE, ("80", "8080"))
            yield proxy
        finally:
            stream.cancel()
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)

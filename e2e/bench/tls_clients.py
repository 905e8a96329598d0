"""Many clients that speak TLS and bring tokens: gRPC's own, in one process.

They ask in Envoy's order, ACK what they get, and remember its versions for the next
time. A file says where to and as whom; `open` connects all at once and answers when all are served, and
`close` hangs up.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import grpc
from envoy_data_plane.envoy.config.core.v3 import Node
from envoy_data_plane.envoy.service.discovery.v3 import DeltaDiscoveryRequest, DeltaDiscoveryResponse

from dragoman.cli.file_limit import raise_file_limit
from dragoman.codec import CLUSTER, ENDPOINT, LISTENER, ROUTE, SECRET, decode, encode
from e2e.bench.lines import commands, obey
from e2e.bench.processes import own_extensions

_METHOD: Final = "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources"
_SERVER_NAME: Final = "istiod.istio-system.svc"
_WILDCARD: Final = (CLUSTER, LISTENER)
_LAST: Final = "virtualInbound"
"""The listener that comes last, when it has its secrets."""
_SECRETS: Final = ["default", "ROOTCA"]
_HTTP: Final = "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
_RETRY_SECONDS: Final = 0.5


@dataclass(slots=True)
class _Client:
    port: int
    credentials: grpc.ChannelCredentials
    node: Node
    token: str
    versions: dict[str, dict[str, str]] = field(default_factory=dict)
    wanted: set[tuple[str, str]] = field(default_factory=set)
    failures: int = 0
    channel: grpc.aio.Channel | None = None
    call: Any = None
    conversation: asyncio.Task[None] | None = None

    async def open(self) -> float:
        """Connect, with what it has from before; returns when all is there, in seconds since the start."""
        started = time.monotonic()
        while True:
            served = asyncio.get_running_loop().create_future()
            self.conversation = asyncio.create_task(self._converse(served))
            await asyncio.wait((served, self.conversation), return_when=asyncio.FIRST_COMPLETED)
            if served.done():
                return time.monotonic() - started
            self.conversation.exception()
            self.failures += 1
            await self.close()
            await asyncio.sleep(_RETRY_SECONDS)

    async def _converse(self, served: asyncio.Future[None]) -> None:
        """Ask, and ACK what comes, until the stream ends; `served` is done when nothing is missing."""
        self.channel = grpc.aio.secure_channel(
            f"127.0.0.1:{self.port}",
            self.credentials,
            options=[
                ("grpc.use_local_subchannel_pool", 1),
                ("grpc.ssl_target_name_override", _SERVER_NAME),
                ("grpc.max_receive_message_length", -1),
            ],
        )
        self.call = self.channel.stream_stream(_METHOD, None, None)(
            None, metadata=(("authorization", f"Bearer {self.token}"),)
        )
        # Envoy asks for all types that it knows resources of, with their versions, when it connects again.
        for type_url in self.versions or (CLUSTER, LISTENER, SECRET):
            first = type_url == next(iter(self.versions or (CLUSTER,)))
            names = list(self.versions.get(type_url, ())) or _SECRETS if type_url not in _WILDCARD else []
            await self._say(
                type_url, node=self.node if first else None, names=names, versions=self.versions.get(type_url, {})
            )
        kept = ""
        while True:
            data = await self.call.read()
            if not isinstance(data, bytes):
                raise ConnectionError(await self.call.details())
            response: Any = decode(DeltaDiscoveryResponse, data)
            held = self.versions.setdefault(response.type_url, {})
            held.update((each.name, each.version) for each in response.resources)
            if response.type_url in (CLUSTER, LISTENER) and (wanted := _wanted(response)):
                type_url = ENDPOINT if response.type_url == CLUSTER else ROUTE
                self.wanted |= {(type_url, name) for name in wanted}
                await self._say(type_url, names=wanted)
            if response.type_url == CLUSTER and not self._has(ENDPOINT):
                kept = response.nonce  # its ACK waits for endpoints: clusters warm first
            else:
                await self._say(response.type_url, nonce=response.nonce)
            if kept and self._has(ENDPOINT):
                await self._say(CLUSTER, nonce=kept)
                kept = ""
            complete = _LAST in self.versions.get(LISTENER, ()) and len(self.versions.get(SECRET, ())) == len(_SECRETS)
            if complete and self._has(ENDPOINT, ROUTE) and not served.done():
                served.set_result(None)

    def _has(self, *types: str) -> bool:
        return all(name in self.versions.get(type_url, ()) for type_url, name in self.wanted if type_url in types)

    async def _say(
        self,
        type_url: str,
        *,
        node: Node | None = None,
        names: list[str] | None = None,
        versions: dict[str, str] | None = None,
        nonce: str = "",
    ) -> None:
        await self.call.write(
            encode(
                DeltaDiscoveryRequest(
                    node=node,
                    type_url=type_url,
                    resource_names_subscribe=names or [],
                    initial_resource_versions=versions or {},
                    response_nonce=nonce,
                )
            )
        )

    async def close(self) -> None:
        if self.conversation is not None:
            self.conversation.cancel()
            await asyncio.wait((self.conversation,))
        if self.channel is not None:
            await self.channel.close(None)


def _wanted(response: Any) -> list[str]:
    """The endpoints that clusters have, or the routes that listeners name."""
    found: list[str] = []
    for each in response.resources:
        resource: Any = decode(response.type_url, each.resource.value)
        if response.type_url == CLUSTER:
            found += [each.name] if resource.HasField("eds_cluster_config") else []
            continue
        for chain in resource.filter_chains:
            for network_filter in chain.filters:
                any_ = network_filter.typed_config
                if any_.type_url == _HTTP and (rds := decode(_HTTP, any_.value).rds).route_config_name:  # type: ignore[attr-defined]
                    found.append(rds.route_config_name)
    return sorted(set(found))


class _Clients:
    def __init__(self, port: int, roots: str, nodes: list[str], tokens: list[str]) -> None:
        credentials = grpc.ssl_channel_credentials(roots.encode())
        properties = own_extensions()
        self._clients = [
            _Client(port, credentials, Node(id=node, user_agent_name="envoy", extensions=properties), token)
            for node, token in zip(nodes, tokens, strict=True)
        ]

    async def open(self) -> dict[str, Any]:
        seconds = await asyncio.gather(*(client.open() for client in self._clients))
        return {"seconds": seconds, "failures": sum(client.failures for client in self._clients)}

    async def close(self) -> dict[str, Any]:
        await asyncio.gather(*(client.close() for client in self._clients))
        return {}


async def _run(told: dict[str, Any]) -> None:
    await obey(await commands(), _Clients(**told))


if __name__ == "__main__":
    raise_file_limit()
    asyncio.run(_run(json.loads(Path(sys.argv[1]).read_text())))

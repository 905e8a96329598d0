"""The client status discovery service: what every connected client was sent and has accepted, for standard xDS tools.

And the same in short over ADS, as Istio's control plane says it to `istioctl proxy-status` (Istio:
pilot/pkg/xds/statusgen.go).
"""

import re
from collections.abc import Awaitable, Callable, Iterable, Iterator
from typing import Any, Final

import grpc
from envoy_data_plane.envoy.config.core.v3 import Node as NodeMessage
from envoy_data_plane.envoy.service.discovery.v3 import DiscoveryResponse
from envoy_data_plane.envoy.service.status.v3 import ClientConfig, ClientConfigGenericXdsConfig, ConfigStatus
from google.protobuf.message import DecodeError

from dragoman.codec import CLUSTER, ENDPOINT, EXTENSION_CONFIG, LISTENER, ROUTE, decode, encode, frame, pack
from dragoman.turns import in_turns
from xds.client_status import ResourceStatus, encode_node, encode_status
from xds.node_matching import UnsupportedMatcherError, matches
from xds.request import Node
from xds.session import Refused
from xds.status import ConnectionStatus, TypeStatus

SERVICE: Final = "envoy.service.status.v3.ClientStatusDiscoveryService"
SYNCZ: Final = "istio.io/debug/syncz"
"""Type URL under which Istio's tools ask for it over ADS."""

_REQUEST: Final = "type.googleapis.com/envoy.service.status.v3.ClientStatusRequest"
_LARGEST: Final = 64 << 20
_SYNCZ_TYPES: Final = (LISTENER, ROUTE, ENDPOINT, CLUSTER, EXTENSION_CONFIG)

Context = grpc.aio.ServicerContext[bytes, bytes]
Clients = Callable[[], Iterable[tuple[Node, Iterator[ResourceStatus]]]]
"""Connected clients, each with the state of its resources."""


class ClientStatusService:
    """Answers whom `authorize` lets; it raises `Refused` for others."""

    def __init__(self, clients: Clients, authorize: Callable[[Context], Awaitable[None]]) -> None:
        self._clients = clients
        self._authorize = authorize

    def handler(self) -> "grpc.GenericRpcHandler[bytes, bytes]":
        """What is added to a gRPC server."""
        return grpc.method_handlers_generic_handler(
            SERVICE,
            {
                "StreamClientStatus": grpc.stream_stream_rpc_method_handler(self._stream),
                "FetchClientStatus": grpc.unary_unary_rpc_method_handler(self._fetch),
            },
        )

    async def _stream(self, _requests: object, context: Context) -> None:
        while isinstance(request := await context.read(), bytes):
            await context.write(await self._answer(request, context))

    async def _fetch(self, request: bytes, context: Context) -> bytes:
        return await self._answer(request, context)

    async def _answer(self, data: bytes, context: Context) -> bytes:
        try:
            await self._authorize(context)
            return await self._statuses(decode(_REQUEST, data))
        except Refused as refused:
            await context.abort(refused.code, refused.message)
        except (DecodeError, UnsupportedMatcherError, re.error) as error:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, f"this is not a client status request: {error}")
        raise AssertionError  # abort raises

    async def _statuses(self, request: Any) -> bytes:
        """Return a ClientStatusResponse, made in slices: a large mesh is megabytes for each client."""
        configs: list[bytes] = []
        size = 0
        async for node, statuses in in_turns(self._clients()):
            if not matches(request.node_matchers, node):
                continue
            parts = [encode_node(node)]
            async for status in in_turns(statuses):
                parts.append(encode_status(status, contents=not request.exclude_resource_contents))
                size += len(parts[-1])
                if size > _LARGEST:
                    raise Refused(
                        grpc.StatusCode.RESOURCE_EXHAUSTED,
                        f"the answer has more than {_LARGEST >> 20} MiB: name clients in node_matchers, or say "
                        "exclude_resource_contents",
                    )
            configs.append(frame(1, b"".join(parts)))
        return b"".join(configs)


async def syncz(connections: Iterable[ConnectionStatus], nonce: str) -> bytes:
    """Return a DiscoveryResponse with a ClientConfig for each connected client, which says of each type if it is in
    sync."""
    configs = [pack(_config(connection)) async for connection in in_turns(connections)]
    return encode(DiscoveryResponse(type_url=SYNCZ, nonce=nonce, version_info=nonce, resources=configs))


def _config(connection: ConnectionStatus) -> ClientConfig:
    return ClientConfig(
        node=NodeMessage(id=connection.node),
        generic_xds_configs=[
            ClientConfigGenericXdsConfig(type_url=type_url, config_status=_type_status(connection, type_url))
            for type_url in _SYNCZ_TYPES
        ],
    )


def _type_status(connection: ConnectionStatus, type_url: str) -> ConfigStatus:
    found: TypeStatus | None = next((each for each in connection.types if each.type_url == type_url), None)
    if found is None or not found.sent_nonce:
        return ConfigStatus.NOT_SENT
    if found.in_sync:
        return ConfigStatus.SYNCED
    return ConfigStatus.ERROR if found.refused else ConfigStatus.STALE

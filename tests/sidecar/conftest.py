"""Real Envoys, and a control plane that says one fixed thing."""

import asyncio
import itertools
import os
import warnings
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from pathlib import Path

import grpc
import pytest

with warnings.catch_warnings():
    # envoy-data-plane uses a form of validator that pydantic has deprecated, and a conftest is imported before the
    # root conftest's filter is in force.
    warnings.simplefilter("ignore", DeprecationWarning)
    from envoy_data_plane.envoy.service.discovery.v3 import (
        DeltaDiscoveryRequest,
        DeltaDiscoveryResponse,
        DiscoveryRequest,
        DiscoveryResponse,
        Resource,
    )
    from envoy_data_plane.google.protobuf import Any

    from dragoman.codec import CLUSTER, LISTENER, Encoded, decode, encode
    from dragoman.mesh.proxy_id import ProxyId
    from dragoman.sidecar import (
        Bootstrap,
        ControlPlane,
        EnvoyProcess,
        Node,
        SocketAddress,
        StaticAddresses,
        UnixSocket,
        argv,
        find_envoy,
        render,
    )

_ADS = "/envoy.service.discovery.v3.AggregatedDiscoveryService"
_NUMBERS = itertools.count(1)


@pytest.fixture
def loopback() -> Callable[[], str]:
    """Loopback addresses that no other test uses, of this process or another."""
    process = os.getpid()
    return lambda: f"127.{64 + (process >> 8) % 128}.{process & 255}.{next(_NUMBERS) % 254 + 1}"


@pytest.fixture
def parameters(loopback: Callable[[], str]) -> Callable[..., Bootstrap]:
    """A bootstrap on an address of its own, as the demo has them; nobody listens at the default control plane."""

    def make(**fields: object) -> Bootstrap:
        host = loopback()
        node = Node(
            ProxyId.parse(f"sidecar~{host}~reviews-v1-abc.shop~shop.svc.cluster.local"),
            service_account="reviews",
            workload="reviews-v1",
            labels={"app": "reviews"},
        )
        defaults = {
            "node": node,
            "addresses": StaticAddresses.on(host),
            "control_plane": ControlPlane(SocketAddress("127.0.0.1", 1)),
        }
        return Bootstrap(**{**defaults, **fields})

    return make


class FixedAds:
    """An ADS server with fixed resources, delta and state of the world. Every subscription is answered."""

    def __init__(self, resources: Sequence[Encoded]) -> None:
        self.resources = list(resources)
        self.nodes: list[object] = []
        self.errors: list[str] = []
        self.opened: asyncio.Queue[str] = asyncio.Queue()  # the authorization header of each stream
        self._ended = asyncio.Event()
        self.server = grpc.aio.server()
        handlers = {
            "DeltaAggregatedResources": grpc.stream_stream_rpc_method_handler(self._delta),
            "StreamAggregatedResources": grpc.stream_stream_rpc_method_handler(self._stream),
        }
        self.server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(_ADS[1:], handlers),))

    async def push(self, resource: Encoded) -> None:
        """Send `resource` on the delta stream, unasked."""
        await self._send(self._delta_stream, resource.type_url, [resource])

    async def _delta(self, requests: AsyncIterator[bytes], context: grpc.aio.ServicerContext) -> None:
        self._delta_stream = context
        async for data in self._requests(requests, context):
            request = decode(DeltaDiscoveryRequest, data)
            if self._is_subscription(request, bool(request.resource_names_subscribe)):
                found = self._find(request.type_url, request.resource_names_subscribe)
                await self._send(context, request.type_url, found)

    async def _send(self, stream: grpc.aio.ServicerContext, type_url: str, resources: Sequence[Encoded]) -> None:
        await stream.write(
            encode(
                DeltaDiscoveryResponse(
                    type_url=type_url,
                    nonce="n",
                    resources=[Resource(name=r.name, version=r.version, resource=_any(r)) for r in resources],
                )
            )
        )

    async def _stream(self, requests: AsyncIterator[bytes], context: grpc.aio.ServicerContext) -> AsyncIterator[bytes]:
        async for data in self._requests(requests, context):
            request = decode(DiscoveryRequest, data)
            if not self._is_subscription(request, not request.version_info):
                continue
            found = self._find(request.type_url, request.resource_names)
            yield encode(
                DiscoveryResponse(
                    type_url=request.type_url, version_info="1", nonce="n", resources=[_any(r) for r in found]
                )
            )

    def _is_subscription(self, request: object, names_something: bool) -> bool:
        if request.HasField("node"):
            self.nodes.append(request.node)
        if request.HasField("error_detail"):
            self.errors.append(request.error_detail.message)
            return False
        return names_something or not request.response_nonce

    def _find(self, type_url: str, names: Sequence[str]) -> list[Encoded]:
        wildcard = type_url in (CLUSTER, LISTENER)
        return [r for r in self.resources if r.type_url == type_url and (wildcard or r.name in names)]

    def end_streams(self) -> None:
        """End every open stream, as a control plane does when a token has expired."""
        self._ended.set()
        self._ended = asyncio.Event()

    async def _requests(
        self, requests: AsyncIterator[bytes], context: grpc.aio.ServicerContext
    ) -> AsyncIterator[bytes]:
        metadata = dict(context.invocation_metadata() or ())
        self.opened.put_nowait(str(metadata.get("authorization", "")))
        ended = asyncio.ensure_future(self._ended.wait())
        try:
            while True:
                read = asyncio.ensure_future(anext(requests, None))
                await asyncio.wait({read, ended}, return_when=asyncio.FIRST_COMPLETED)
                if ended.done() or (data := await read) is None:
                    read.cancel()
                    return
                yield data
        finally:
            ended.cancel()


def _any(resource: Encoded) -> Any:
    return Any(type_url=resource.type_url, value=resource.payload)


@pytest.fixture
async def serve_ads() -> AsyncIterator[Callable[..., Awaitable[tuple[FixedAds, SocketAddress | UnixSocket]]]]:
    async with AsyncExitStack() as stack:

        async def serve(
            *resources: Encoded,
            at: str = "127.0.0.1:0",
            credentials: grpc.ServerCredentials | None = None,
        ) -> tuple[FixedAds, SocketAddress | UnixSocket]:
            ads = FixedAds(resources)
            if credentials is None:
                port = ads.server.add_insecure_port(at)
            else:
                port = ads.server.add_secure_port(at, credentials)
            await ads.server.start()
            stack.push_async_callback(ads.server.stop, 0)
            path = at.removeprefix("unix:")
            return ads, UnixSocket(path) if path != at else SocketAddress("127.0.0.1", port)

        yield serve


@pytest.fixture
async def start_envoy(tmp_path: Path) -> AsyncIterator[Callable[[Bootstrap], Awaitable[EnvoyProcess]]]:
    async with AsyncExitStack() as stack:

        async def start(parameters: Bootstrap) -> EnvoyProcess:
            process = EnvoyProcess(
                lambda config: argv(find_envoy(), config, concurrency=1, reject_unknown_fields=True),
                render(parameters),
                tmp_path / f"envoy-{parameters.addresses.admin.host}",
                parameters.addresses.admin,
            )
            return await stack.enter_async_context(process)

        yield start

"""The gRPC server with a gRPC client: who is let in, how streams end, and what is seen of them."""

import asyncio
import gc
import weakref
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import grpc
import pytest
from envoy_data_plane.envoy.config.core.v3 import Node as NodeMessage
from envoy_data_plane.envoy.service.discovery.v3 import DeltaDiscoveryRequest, DiscoveryRequest
from model_envoy import RESPONSE, STATE, content
from xds_recorder import FixedSession, Recorder, Runtime
from xds_samples import changes

from dragoman.codec import CLUSTER, ENDPOINT, Encoded, decode, encode
from xds import DeltaStream, Limits, Node, Peer, Refused, View, XdsServer
from xds.services import SMALL, services
from xds.session import only_from_here

METHOD = "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources"


def request(node: str | None = None, **fields: object) -> bytes:
    message = DeltaDiscoveryRequest(type_url=CLUSTER, **fields)
    if node is not None:
        message.node = NodeMessage(id=node)
    return encode(message)


@asynccontextmanager
async def serving(
    runtime, address="127.0.0.1:0", authorize=only_from_here, **limits
) -> AsyncIterator[tuple[XdsServer, Recorder, str]]:
    recorder = Recorder()
    server = XdsServer(runtime.connect, authorize=authorize, observer=recorder, limits=Limits(**limits))
    port = server.listen(address)
    await server.start()
    try:
        yield server, recorder, address if address.startswith("unix:") else f"127.0.0.1:{port}"
    finally:
        await server.stop(1)


@asynccontextmanager
async def stream(address: str, method: str = METHOD) -> AsyncIterator[grpc.aio.StreamStreamCall]:
    async with grpc.aio.insecure_channel(address) as channel:
        call = channel.stream_stream(method)()
        try:
            yield call
        finally:
            call.cancel()


async def read(call) -> object:
    async with asyncio.timeout(60):
        data = await call.read()
    return decode(RESPONSE, data) if isinstance(data, bytes) else None


def clusters(*names: str) -> View:
    view = View("clusters")
    view.apply(changes(*(content(CLUSTER, name, 1) for name in names)))
    return view


async def test_a_stream_that_is_cancelled_while_it_ends_leaves_nothing_behind():
    """gRPC cancels it when it finds the connection lost, which may be at any moment."""

    class Witness(Runtime):
        async def connect(self, node, peer):
            self.task = asyncio.current_task()
            return await super().connect(node, peer)

    runtime = Witness((clusters("a"),))
    async with serving(runtime) as (server, recorder, address), stream(address) as call:
        await call.write(request("me"))
        await read(call)
        for _ in range(2):
            runtime.task.cancel()
            await asyncio.sleep(0)
        await recorder.until_seen("disconnected")
        assert list(server.connections()) == []
        assert runtime.sessions[0].closed == 1


async def test_a_stream_that_ended_is_gone_without_the_collector():
    """Streams come and go by the thousands, and the collector hardly ever looks at what is old."""
    async with serving(Runtime((clusters("a"),))) as (server, _, address):
        gc.collect()
        gc.disable()
        try:
            async with stream(address) as call:
                await call.write(request("me"))
                assert await read(call) is not None
                (connection,) = map(weakref.ref, server._connections.values())
                assert connection() is not None
            async with asyncio.timeout(60):
                while connection() is not None:  # noqa: ASYNC110 - what is gone tells nobody
                    await asyncio.sleep(0.01)
        finally:
            gc.enable()


async def test_serves_over_tcp_and_tells_the_runtime_who_called():
    runtime = Runtime((clusters("a"),))
    async with serving(runtime) as (server, recorder, address), stream(address) as call:
        await call.write(request("me"))
        assert [resource.name for resource in (await read(call)).resources] == ["a"]
        (peer,) = runtime.peers
        assert peer.local
        assert peer.address.startswith("ipv4:127.0.0.1")
        (status,) = server.connections()
        assert (status.proxy, status.views) == ("me", ("clusters",))
        (cluster,) = status.types
        assert (cluster.sent, cluster.acked, cluster.in_sync) == (1, 0, False)
    await recorder.until_seen("disconnected")
    assert list(server.connections()) == []
    assert runtime.sessions[0].closed == 1
    assert runtime.sessions[0].on_views_changed is None


async def test_serves_over_a_unix_socket(tmp_path):
    runtime = Runtime((clusters("a"),))
    async with serving(runtime, f"unix:{tmp_path}/xds.sock") as (_, _, address), stream(address) as call:
        await call.write(request("me"))
        await read(call)
        assert runtime.peers[0].local


async def test_first_request_must_carry_a_node():
    async with serving(Runtime(())) as (_, _, address), stream(address) as call:
        await call.write(request())
        assert await call.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert "node" in await call.details()


async def test_garbage_is_refused():
    async with serving(Runtime(())) as (_, _, address), stream(address) as call:
        await call.write(b"\xff\xff\xff")
        assert await call.code() is grpc.StatusCode.INVALID_ARGUMENT


CDS = "/envoy.service.cluster.v3.ClusterDiscoveryService"


@pytest.mark.parametrize("type_url", ["", CLUSTER])
@pytest.mark.parametrize(
    ("method", "message", "response"),
    [("DeltaClusters", DeltaDiscoveryRequest, RESPONSE), ("StreamClusters", DiscoveryRequest, STATE)],
)
async def test_each_type_has_a_service_of_its_own(type_url, method, message, response):
    async with serving(Runtime((clusters("a"),))) as (server, _, address), stream(address, f"{CDS}/{method}") as call:
        await call.write(encode(message(type_url=type_url, node=NodeMessage(id="me"))))
        async with asyncio.timeout(60):
            answer = decode(response, await call.read())
        assert answer.type_url == CLUSTER
        assert len(answer.resources) == 1
        assert next(server.connections()).method == method


@pytest.mark.parametrize("method", [f"{CDS}/StreamClusters", METHOD.replace("Delta", "Stream", 1)])
async def test_type_that_is_not_served_is_refused(method):
    type_url = ENDPOINT if method.startswith(CDS) else ""
    async with serving(Runtime(())) as (_, _, address), stream(address, method) as call:
        await call.write(encode(DiscoveryRequest(type_url=type_url, node=NodeMessage(id="me"))))
        assert await call.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert "type_url" in await call.details()


async def test_node_comes_on_the_first_message_only():
    runtime = Runtime((clusters("a"),))
    method = METHOD.replace("Delta", "Stream", 1)
    async with serving(runtime) as (server, recorder, address), stream(address, method) as call:
        await call.write(encode(DiscoveryRequest(type_url=CLUSTER, node=NodeMessage(id="me"))))
        answer = decode(STATE, await call.read())
        await call.write(encode(DiscoveryRequest(type_url=CLUSTER, response_nonce=answer.nonce)))
        await recorder.until_seen("acked", CLUSTER)
        assert server.streams == 1


async def test_refusal_is_the_status_of_the_stream():
    class Gate:
        async def connect(self, node: Node, peer: Peer) -> FixedSession:
            raise Refused(grpc.StatusCode.PERMISSION_DENIED, f"{node.id} may not")

    async with serving(Gate()) as (_, recorder, address), stream(address) as call:
        await call.write(request("thief"))
        assert await call.code() is grpc.StatusCode.PERMISSION_DENIED
        assert await call.details() == "thief may not"
        assert recorder.events == [("refused", "PERMISSION_DENIED")]


async def test_error_of_the_runtime_tells_the_client_nothing_of_it():
    class Broken:
        async def connect(self, node: Node, peer: Peer) -> FixedSession:
            raise RuntimeError("token is 12345")

    async with serving(Broken()) as (server, _, address), stream(address) as call:
        await call.write(request("me"))
        assert await call.code() is grpc.StatusCode.INTERNAL
        assert "12345" not in await call.details()
        assert list(server.connections()) == []


async def test_views_may_change_while_the_stream_lives():
    runtime = Runtime((clusters("a"),))
    async with serving(runtime) as (_, _, address), stream(address) as call:
        await call.write(request("me"))
        nonce = (await read(call)).nonce
        (session,) = runtime.sessions
        session.views = (*session.views, clusters("b"))
        session.on_views_changed()
        await call.write(request(response_nonce=nonce))
        assert [resource.name for resource in (await read(call)).resources] == ["b"]


async def test_stop_ends_streams_with_ok():
    runtime = Runtime((clusters("a"),))
    async with serving(runtime) as (server, recorder, address), stream(address) as call:
        await call.write(request("me"))
        await read(call)
        await server.stop(5)
        assert await call.code() is grpc.StatusCode.OK
        assert recorder.of("disconnected")


async def test_stream_ends_with_ok_at_its_age():
    runtime = Runtime((clusters("a"),))
    async with serving(runtime, max_age=0.05) as (_, _, address), stream(address) as call:
        await call.write(request("me"))
        await read(call)
        async with asyncio.timeout(60):
            assert await call.code() is grpc.StatusCode.OK


async def test_client_that_reads_nothing_does_not_stop_the_others():
    big = View("big")
    big.apply({(CLUSTER, f"c{n}"): Encoded.of_payload(CLUSTER, f"c{n}", bytes([n]) * 100_000) for n in range(64)})
    runtime = Runtime((big,))
    async with (
        serving(runtime, inflight_bytes=1 << 20) as (_, _, address),
        stream(address) as slow,
        stream(address) as quick,
    ):
        await slow.write(request("slow"))
        await quick.write(request("quick"))
        seen: set[str] = set()
        while len(seen) < 64:
            message = await read(quick)
            seen |= {resource.name for resource in message.resources}
            await quick.write(request(response_nonce=message.nonce))


def test_small_requests_that_say_the_same_are_read_once():
    methods = services()["envoy.service.discovery.v3.AggregatedDiscoveryService"]
    (method,) = (each for each in methods if each.stream is DeltaStream)
    ack, long = request(response_nonce="a"), request(resource_names_subscribe=["a" * SMALL])
    assert method.parse(ack) is method.parse(ack)
    assert method.parse(long) is not method.parse(long), "what is remembered is small"


async def test_a_stream_that_is_over_is_not_shown_while_its_last_words_are_sent(monkeypatch):
    async with serving(Runtime((clusters("a"),))) as (server, recorder, address):
        shown = []
        told = recorder.disconnected

        def disconnected(proxy: str, seconds: float) -> None:
            shown.append(list(server.connections()))
            told(proxy, seconds)

        monkeypatch.setattr(recorder, "disconnected", disconnected)
        async with stream(address) as call:
            await call.write(request("a"))
            await read(call)
            assert server.streams == 1
        await recorder.until_seen("disconnected")
        assert shown == [[]]

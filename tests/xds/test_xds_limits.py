"""What the server allows its clients: how many, how fast, how long they may stay silent or read nothing."""

import asyncio
from contextlib import AsyncExitStack

import grpc
import pytest
from envoy_data_plane.envoy.config.core.v3 import Node as NodeMessage
from envoy_data_plane.envoy.service.discovery.v3 import DiscoveryRequest
from raw_http2 import RawStream, raw_stream
from test_xds_server import METHOD, clusters, read, request, serving, stream
from xds_recorder import Runtime

from dragoman.codec import CLUSTER, Encoded, encode
from xds import View
from xds.pace import Pace

SOTW = METHOD.replace("Delta", "Stream", 1)


def large(count: int = 16, size: int = 100_000) -> View:
    view = View("large")
    view.apply(dict(_large(f"c{n}", n, size) for n in range(count)))
    return view


def _large(name: str, content: int, size: int = 100_000) -> tuple[tuple[str, str], Encoded]:
    return (CLUSTER, name), Encoded.of_payload(CLUSTER, name, bytes([content]) * size)


async def ending(call) -> tuple[grpc.StatusCode, str]:
    async with asyncio.timeout(60):
        return await call.code(), await call.details()


# -- the quota --------------------------------------------------------------------------------------------------------


async def test_stream_beyond_the_quota_is_refused_with_what_to_do():
    async with serving(Runtime((clusters("a"),)), max_streams=1) as (_, recorder, address), stream(address) as first:
        await first.write(request("first"))
        await read(first)
        async with stream(address) as second:
            await second.write(request("second"))
            code, words = await ending(second)
        assert code is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert "load balancer" in words
        assert recorder.of("refused") == [("refused", "RESOURCE_EXHAUSTED")]
        assert len(recorder.of("connected")) == 1


async def test_place_of_a_stream_that_ended_is_free():
    async with serving(Runtime((clusters("a"),)), max_streams=1) as (_, recorder, address):
        async with stream(address) as first:
            await first.write(request("first"))
            await read(first)
        await recorder.until_seen("disconnected")
        async with stream(address) as second:
            await second.write(request("second"))
            assert await read(second) is not None


async def test_lowered_quota_ends_the_longest_connected_one_by_one():
    async with (
        serving(Runtime((clusters("a"),)), sheds_per_second=50) as (server, recorder, address),
        AsyncExitStack() as stack,
    ):
        calls = []
        for name in "abcd":
            calls.append(await stack.enter_async_context(stream(address)))
            await calls[-1].write(request(name))
            await read(calls[-1])
        loop = asyncio.get_running_loop()
        began = loop.time()
        server.set_quota(1)
        assert [await ending(call) for call in calls[:3]] == [(grpc.StatusCode.OK, "")] * 3
        assert loop.time() - began >= 0.04, "all at once"
        assert [event[1] for event in recorder.of("shed")] == ["a", "b", "c"]
        assert [status.proxy for status in server.connections()] == ["d"]
        server.set_quota(None)
        async with stream(address) as another:
            await another.write(request("e"))
            assert await read(another) is not None


async def test_a_share_ends_the_longest_connected_and_turns_nobody_away():
    async with (
        serving(Runtime((clusters("a"),)), sheds_per_second=4) as (server, recorder, address),
        AsyncExitStack() as stack,
    ):
        calls = []
        for name in "abc":
            calls.append(await stack.enter_async_context(stream(address)))
            await calls[-1].write(request(name))
            await read(calls[-1])
        server.shed(1)
        assert [await ending(call) for call in calls[:2]] == [(grpc.StatusCode.OK, "")] * 2
        assert [event[1] for event in recorder.of("shed")] == ["a", "b"]
        for name in "de":
            calls.append(await stack.enter_async_context(stream(address)))
            await calls[-1].write(request(name))
            assert await read(calls[-1]) is not None
        assert server._shedding is not None
        await server._shedding  # it looks once more, after they have come
        assert [event[1] for event in recorder.of("shed")] == ["a", "b"]
        assert [status.proxy for status in server.connections()] == ["c", "d", "e"]
        assert server.quota is None


# -- the pace ---------------------------------------------------------------------------------------------------------


async def test_streams_beyond_the_pace_wait_for_their_turn():
    async with (
        serving(Runtime((clusters("a"),)), connects_per_second=20) as (_, _, address),
        AsyncExitStack() as stack,
    ):
        calls = [await stack.enter_async_context(stream(address)) for _ in range(25)]
        loop = asyncio.get_running_loop()
        began = loop.time()
        for call in calls:
            await call.write(request("me"))
        await asyncio.gather(*map(read, calls))
        assert loop.time() - began >= 0.2, "20 at once, 5 more at 20 a second"


async def test_no_pace_does_not_wait():
    pace = Pace(0)
    await asyncio.wait_for(asyncio.gather(*(pace.turn() for _ in range(10_000))), 60)


# -- the silent -------------------------------------------------------------------------------------------------------


async def test_stream_without_a_request_is_ended():
    async with serving(Runtime((clusters("a"),)), first_request=0.1) as (_, recorder, address), stream(address) as call:
        code, words = await ending(call)
        assert code is grpc.StatusCode.DEADLINE_EXCEEDED
        assert "0.1 s" in words
        assert recorder.of("refused") == [("refused", "DEADLINE_EXCEEDED")]


async def test_connection_without_http2_is_ended():
    async with serving(Runtime((clusters("a"),)), first_request=0.2) as (_, _, address):
        host, port = address.split(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        async with asyncio.timeout(60):
            while await reader.read(1000):
                pass
        writer.close()


# -- those who do not read --------------------------------------------------------------------------------------------


async def stuck_streams(stack: AsyncExitStack, address: str, count: int) -> list[RawStream]:
    """Clients that ask for everything and never open their window."""
    found = []
    for number in range(count):
        found.append(await stack.enter_async_context(raw_stream(int(address.split(":")[1]), METHOD)))
        await found[-1].send(request(f"stuck-{number}"))
    return found


async def take_all(call, count: int) -> None:
    """Read and ACK until that many resources came."""
    seen: set[str] = set()
    async with asyncio.timeout(60):
        while len(seen) < count:
            message = await read(call)
            seen |= {resource.name for resource in message.resources}
            await call.write(request(response_nonce=message.nonce))


async def test_those_who_never_read_do_not_keep_others_from_large_updates():
    view = large()
    async with (
        serving(Runtime((view,)), inflight_bytes=2 << 20) as (_, recorder, address),
        AsyncExitStack() as stack,
        stream(address) as good,
    ):
        await good.write(request("good"))
        await take_all(good, 16)
        stuck = await stuck_streams(stack, address, 40)
        await recorder.until_seen("connected", count=41)
        loop = asyncio.get_running_loop()
        for content in range(20, 25):
            began = loop.time()
            view.apply(dict([_large("c0", content)]))
            message = await read(good)
            assert [resource.name for resource in message.resources] == ["c0"]
            assert loop.time() - began < 5.0, "before those who do not read are cut, after 10 s"
            await good.write(request(response_nonce=message.nonce))
        assert sum(client.received() for client in stuck) == 0


async def test_connection_of_whoever_never_reads_is_cut():
    runtime = Runtime((large(1),))
    async with (
        serving(runtime, stuck_write=0.1, slow_write=0.05) as (server, recorder, address),
        AsyncExitStack() as stack,
    ):
        (client,) = await stuck_streams(stack, address, 1)
        await recorder.until_seen("stuck")
        assert recorder.of("stuck") == [("stuck", "stuck-0", CLUSTER)]
        await client.until_ended()
        await recorder.until_seen("disconnected")
        assert list(server.connections()) == []
        assert runtime.sessions[0].closed == 1


async def test_newcomer_waits_for_those_who_do_not_read_until_they_are_cut():
    limits = {"inflight_bytes": 1 << 20, "slow_write": 0.05, "stuck_write": 0.3}
    async with (
        serving(Runtime((large(),)), **limits) as (_, recorder, address),
        AsyncExitStack() as stack,
        stream(address) as good,
    ):
        await stuck_streams(stack, address, 12)
        await recorder.until_seen("connected", count=12)
        await good.write(request("good"))
        await take_all(good, 16)
        assert recorder.of("stuck"), "half a megabyte for each of 12 does not fit into one"


async def test_stream_of_whoever_never_reads_ends_at_its_age():
    runtime = Runtime((large(),))
    # Its connection gets the GOAWAY only later.
    async with serving(runtime, max_age=0.5) as (server, recorder, address), AsyncExitStack() as stack:
        (client,) = await stuck_streams(stack, address, 1)
        await recorder.until_seen("disconnected")
        await client.until_ended()
        assert list(server.connections()) == []


# -- who it is --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", [METHOD, SOTW], ids=["delta", "sotw"])
async def test_stream_cannot_become_that_of_another_node(method):
    def named(node: str) -> bytes:
        if method == METHOD:
            return request(node)
        return encode(DiscoveryRequest(type_url=CLUSTER, node=NodeMessage(id=node)))

    runtime = Runtime((clusters("a"),))
    async with serving(runtime) as (server, recorder, address), stream(address, method) as call:
        await call.write(named("me"))
        await call.read()
        await call.write(named("me"))
        await call.write(named("thief"))
        code, words = await ending(call)
        assert code is grpc.StatusCode.INVALID_ARGUMENT
        assert "'me'" in words
        assert "'thief'" in words
        await recorder.until_seen("disconnected")
        assert len(runtime.sessions) == 1
        assert list(server.connections()) == []


async def test_garbage_on_a_stream_that_is_served_ends_it():
    async with serving(Runtime((clusters("a"),))) as (_, recorder, address), stream(address) as call:
        await call.write(request("me"))
        await read(call)
        await call.write(b"\xff\xff\xff")
        assert (await ending(call))[0] is grpc.StatusCode.INVALID_ARGUMENT
        await recorder.until_seen("disconnected")

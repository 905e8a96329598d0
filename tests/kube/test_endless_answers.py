"""Answers that never end, read line by line."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from dragoman.kube import ApiError, Cluster, cluster
from tests.callers.api_connection import connected


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Cluster]:
    """Answers by path."""
    forever = asyncio.Event()

    async def parts(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        for part in (b'{"a"', b":1}\n", b'{"b":2}\n\n{"c"', b":3}\n" + b"x" * 300_000 + b"\n"):
            await response.write(part)
            await asyncio.sleep(0)
        return response

    async def broken(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        response.enable_chunked_encoding()
        await response.prepare(request)
        await response.write(b'whole\n{"half')
        assert request.transport is not None
        request.transport.abort()  # type: ignore[attr-defined]
        return response

    async def silent(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        await forever.wait()
        return response

    async def never(request: web.Request) -> web.Response:
        await forever.wait()
        return web.Response()

    async def gone(request: web.Request) -> web.Response:
        return web.json_response({"reason": "Expired", "message": "too old"}, status=410)

    application = web.Application()
    for each in (parts, broken, silent, never, gone):
        application.router.add_get(f"/{each.__name__}", each)
    async with (
        TestServer(application) as test_server,
        connected(str(test_server.make_url("")).rstrip("/"), tmp_path) as found,
    ):
        yield found
        forever.set()


async def lines_of(server: Cluster, path: str, idle: float | None = None) -> list[bytes]:
    async with server.lines(f"/{path}", idle_timeout=idle) as lines:
        return [line async for line in lines]


async def test_lines_are_whole_however_they_come(server: Cluster) -> None:
    assert await lines_of(server, "parts") == [b'{"a":1}', b'{"b":2}', b'{"c":3}', b"x" * 300_000]


async def test_half_a_line_is_none_and_a_broken_connection_an_error(server: Cluster) -> None:
    seen: list[bytes] = []

    async def read() -> None:
        async with server.lines("/broken") as lines:
            async for line in lines:
                seen.append(line)  # noqa: PERF401 - what was read before it broke

    with pytest.raises(ApiError) as failure:
        await read()
    assert failure.value.unavailable
    assert seen in ([], [b"whole"])


async def test_silence_is_taken_for_a_lost_connection(server: Cluster) -> None:
    with pytest.raises(ApiError) as failure:
        await lines_of(server, "silent", idle=0.05)
    assert failure.value.unavailable


async def test_a_server_that_never_begins_is_not_waited_for(server: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster, "_BEGINS_WITHIN", 0.05)
    with pytest.raises(ApiError) as failure:
        await lines_of(server, "never")
    assert failure.value.unavailable


async def test_a_refusal_is_the_servers_own_word(server: Cluster) -> None:
    with pytest.raises(ApiError, match="too old") as failure:
        await lines_of(server, "gone")
    assert failure.value.gone

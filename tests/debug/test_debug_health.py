"""Readiness, health and version."""

from datetime import UTC, datetime
from pathlib import Path

import aiohttp
import pytest

from ca.authority import new_root
from dragoman.debug.server import DebugServer
from dragoman.runtime import ControlPlane
from dragoman.sources.files import FileSource
from tests.debug.running_plane import MESH, running_plane


async def test_it_is_ready_once_proxies_are_served_and_not_before(tmp_path: Path) -> None:
    (tmp_path / "mesh.yaml").write_text(MESH)
    plane = ControlPlane(FileSource(tmp_path), new_root("cluster.local", now=datetime.now(UTC)))
    debug = DebugServer(plane)
    port = await debug.start("127.0.0.1", 0)
    async with aiohttp.ClientSession(f"http://127.0.0.1:{port}") as session:

        async def ready() -> int:
            async with session.get("/ready") as response:
                return response.status

        assert await ready() == 503
        await plane.load()
        assert await ready() == 503
        plane.server.listen("127.0.0.1:0")
        await plane.start()
        assert await ready() == 200
        async with session.get("/healthz") as response:
            assert response.status == 200
    await plane.server.stop(0)
    await debug.stop()


async def test_a_port_that_is_taken_is_an_error(tmp_path: Path) -> None:
    async with running_plane(tmp_path) as running:
        second = DebugServer(ControlPlane(FileSource(tmp_path), new_root("cluster.local", now=datetime.now(UTC))))
        with pytest.raises(OSError, match="in use"):
            await second.start("127.0.0.1", running.http_port)
        assert (await running.ask("/version"))["dragoman"]


async def test_every_page_is_listed_with_what_it_shows(tmp_path: Path) -> None:
    async with running_plane(tmp_path) as running:
        pages = {page["path"]: page["shows"] for page in await running.ask("/debug/list")}
        _, index, _ = await running.get("/")
    assert {"/ready", "/metrics", "/debug/syncz", "/debug/config_dump", "/debug/nackz"} <= pages.keys()
    assert all(pages.values())
    assert all(f'href="{path}"' in index for path in pages)

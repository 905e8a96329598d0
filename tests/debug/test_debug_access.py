"""Debug pages are for this machine; others need the token."""

from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request

from dragoman.debug.access import OPEN_PATHS, restricted
from tests.debug.running_plane import running_plane

TOKEN = "a-token"  # noqa: S105


async def _page(request: web.Request) -> web.StreamResponse:
    return web.Response(text="seen")


async def status(
    path: str, peer: str, *, token: str | None = None, host: str = "cp.example:15014", **headers: str
) -> int:
    request = make_mocked_request("GET", path, headers={"Host": host, **headers}).clone(remote=peer)
    return (await restricted(token)(request, _page)).status


@pytest.mark.parametrize("path", sorted(OPEN_PATHS))
async def test_probes_and_scrapers_need_nothing(path: str) -> None:
    assert await status(path, "192.0.2.1") == 200


@pytest.mark.parametrize(
    ("peer", "host", "expected"),
    [
        ("127.0.0.1", "127.0.0.1:15014", 200),
        ("127.0.0.1", "localhost:15014", 200),
        ("::1", "[::1]:15014", 200),
        ("::ffff:127.0.0.1", "127.0.0.1", 200),
        ("192.0.2.1", "127.0.0.1:15014", 403),
        ("192.0.2.1", "cp.example", 403),
        ("::ffff:192.0.2.1", "localhost", 403),
        ("2001:db8::1", "localhost", 403),
        ("127.0.0.1", "rebound.example:15014", 403),
    ],
)
async def test_debug_pages_are_for_this_machine(peer: str, host: str, expected: int) -> None:
    assert await status("/debug/syncz", peer, host=host) == expected
    assert await status("/", peer, host=host) == expected


@pytest.mark.parametrize(
    ("token", "given", "expected"),
    [
        (TOKEN, f"Bearer {TOKEN}", 200),
        (TOKEN, f"bearer {TOKEN}", 200),
        (TOKEN, f"Bearer {TOKEN}x", 403),
        (TOKEN, "Bearer ", 403),
        (TOKEN, f"Basic {TOKEN}", 403),
        (TOKEN, "", 403),
        (None, "Bearer ", 403),
        (None, "Bearer None", 403),
    ],
)
async def test_others_need_the_token(token: str | None, given: str, expected: int) -> None:
    assert await status("/debug/syncz", "192.0.2.1", token=token, Authorization=given) == expected


async def test_a_page_of_the_web_cannot_read_through_a_browser_on_this_machine(tmp_path: Path) -> None:
    async with running_plane(tmp_path) as running:
        refused, text, _ = await running.get("/debug/configz", Host="rebound.example")
        assert refused == 403
        assert "VirtualService" not in text
        assert (await running.get("/ready", Host="rebound.example"))[0] == 200

"""The listener of the debug pages, and the list of them."""

from __future__ import annotations

import html
from typing import Any

from aiohttp import web

from dragoman.debug import config_dump, configuration, credentials, health, key_sets, metrics, statuses, streams, trust
from dragoman.debug.access import restricted
from dragoman.debug.descriptions import pages as descriptions
from dragoman.debug.loop_lag import LoopLag
from dragoman.debug.plane import PLANE, page
from dragoman.runtime import ControlPlane

_GRACE_SECONDS = 2.0

_GROUPS = (
    health,
    metrics,
    streams,
    statuses,
    configuration,
    config_dump,
    credentials,
    trust,
    key_sets,
    descriptions,
)


class DebugServer:
    """Serves the pages about a control plane; `token` opens the debug pages to other machines."""

    def __init__(self, plane: ControlPlane, *, token: str | None = None) -> None:
        self._lag = LoopLag()
        metrics.register(plane, self._lag)
        self._runner = web.AppRunner(
            application(plane, token=token), access_log=None, shutdown_timeout=_GRACE_SECONDS, handle_signals=False
        )

    async def start(self, host: str, port: int) -> int:
        """Listen; port 0 takes a free one, which is returned. Raises OSError when the address cannot be bound."""
        await self._runner.setup()
        try:
            await web.TCPSite(self._runner, host, port).start()
        except OSError:
            await self._runner.cleanup()
            raise
        self._lag.start()
        bound: int = self._runner.addresses[0][1]
        return bound

    async def stop(self) -> None:
        """Stop listening and end the connections."""
        await self._lag.stop()
        await self._runner.cleanup()


def application(plane: ControlPlane, *, token: str | None = None) -> web.Application:
    """All pages, without a listener."""
    app = web.Application(middlewares=[restricted(token)])
    app[PLANE] = plane
    for group in _GROUPS:
        app.add_routes(group.routes)
    app.router.add_get("/debug/list", listed)
    app.router.add_get("/debug", index)
    app.router.add_get("/", index)
    return app


async def listed(request: web.Request) -> web.Response:
    """These pages: path and what it shows."""
    return page([{"path": path, "shows": shows} for path, shows in _pages(request.app)])


async def index(request: web.Request) -> web.Response:
    """This list, to click on."""
    rows = "".join(
        f'<tr><td><a href="{path}">{path}</a></td><td>{html.escape(shows)}</td></tr>'
        for path, shows in _pages(request.app)
    )
    text = f"<!doctype html><meta charset=utf-8><title>Dragoman</title><h1>Dragoman</h1><table>{rows}</table>\n"
    return web.Response(text=text, content_type="text/html")


def _pages(app: web.Application) -> list[tuple[str, str]]:
    found: dict[str, Any] = {}
    for route in app.router.routes():
        if route.resource is not None and route.method == "GET":
            found[route.resource.canonical] = route.handler
    return sorted((path, " ".join((handler.__doc__ or "").split())) for path, handler in found.items())

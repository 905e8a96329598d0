"""`/ready`, `/healthz`, `/version`."""

from __future__ import annotations

from importlib.metadata import version

from aiohttp import web

from dragoman.debug.plane import plane_of

VERSION = version("dragoman")

routes = web.RouteTableDef()


@routes.get("/ready")
async def ready(request: web.Request) -> web.Response:
    """200 once everything was loaded and proxies are served, 503 before."""
    if plane_of(request).ready:
        return web.Response(text="ready\n")
    return web.Response(status=503, text="loading\n")


@routes.get("/healthz")
async def healthz(request: web.Request) -> web.Response:
    """200 while the event loop turns."""
    return web.Response(text="ok\n")


@routes.get("/version")
async def version_(request: web.Request) -> web.Response:
    """Versions of this program and of the Envoy API it speaks."""
    return web.json_response({"dragoman": VERSION, "envoyApi": version("envoy-data-plane")})

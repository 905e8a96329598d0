"""The trust bundle, for people and programs that verify the mesh's certificates."""

from __future__ import annotations

from aiohttp import web

from ca.bundle import spiffe_bundle
from dragoman.debug.plane import page, plane_of

routes = web.RouteTableDef()

SPIFFE_BUNDLE = "/.well-known/spiffe-bundle"


@routes.get("/debug/rootz")
async def rootz(request: web.Request) -> web.Response:
    """The roots that peers accept now, as PEM."""
    return web.Response(body=plane_of(request).identities.roots_pem, content_type="application/x-pem-file")


@routes.get(SPIFFE_BUNDLE)
async def bundle(request: web.Request) -> web.Response:
    """The same as a SPIFFE trust bundle, for other trust domains that federate with this one."""
    return page(spiffe_bundle(plane_of(request).identities.roots))

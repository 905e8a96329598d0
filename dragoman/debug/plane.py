"""The control plane that the pages show."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable, Mapping
from typing import Any, Final

from aiohttp import web

from dragoman.mesh.proxy_id import ProxyId, ProxyIdError
from dragoman.runtime import ControlPlane
from dragoman.runtime.mounted_views import Mounted
from dragoman.runtime.sessions import ProxySession
from dragoman.turns import in_turns
from xds import View

PLANE: Final = web.AppKey("plane", ControlPlane)


def plane_of(request: web.Request) -> ControlPlane:
    return request.app[PLANE]


def by_node(plane: ControlPlane) -> dict[str, ProxySession]:
    """The sessions of connected proxies by node id; where a node has several, they are equal."""
    return {session.node.id: session for session in plane.sessions}


def proxies(plane: ControlPlane) -> dict[str, ProxySession]:
    """Connected proxies by `pod.namespace`, in order."""
    return dict(sorted((session.proxy_id, session) for session in plane.sessions))


def find_proxy(request: web.Request) -> ProxySession:
    """The proxy that the parameter `proxyID` names, `pod.namespace` or a whole node id; 404 with those there are."""
    known = proxies(plane_of(request))
    wanted = request.query.get("proxyID", "")
    try:
        name = ProxyId.parse(wanted).short
    except ProxyIdError:
        name = wanted
    if name in known:
        return known[name]
    message = f"no proxy {wanted!r} is connected" if wanted else "say which proxy: ?proxyID=pod.namespace"
    raise web.HTTPNotFound(text=json.dumps({"error": message, "proxies": list(known)}), content_type="application/json")


def views(plane: ControlPlane, session: ProxySession) -> tuple[Mounted, ...]:
    """What fills the views of a proxy, but for secrets."""
    return tuple(map(plane.mounted.get, session.keys))


def views_in_use(plane: ControlPlane) -> tuple[View, ...]:
    """Every view that a connected proxy has, by name: those of secrets too, which are not to be shown."""
    return tuple(sorted({view for session in plane.sessions for view in session.views}, key=lambda view: view.name))


def page(document: Any) -> web.Response:
    """A JSON page for people and programs."""
    return web.json_response(document, dumps=_dumps)


async def long_page(entries: Iterable[Any]) -> web.Response:
    """A JSON page that lists a large mesh: made in turns with the streams, written in a thread."""
    return await written([entry async for entry in in_turns(entries)])


async def written(document: Any) -> web.Response:
    """A JSON page that is written in a thread."""
    body = await asyncio.to_thread(lambda: _dumps(document).encode())
    return web.Response(body=body, content_type="application/json", charset="utf-8")


def _dumps(document: Any) -> str:
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def without_empty(entry: Mapping[str, Any]) -> dict[str, Any]:
    """Without empty strings and collections, as Go's `omitempty` leaves them out."""
    return {key: value for key, value in entry.items() if value not in ("", None, {}, [], ())}

"""`/debug/describe`: what holds for one pod or one service."""

from __future__ import annotations

import json
from typing import Any, Final

from aiohttp import web

from crds.meta import ObjectKey
from dragoman.debug.descriptions.objects import Described
from dragoman.debug.descriptions.pods import describe_pod
from dragoman.debug.descriptions.services import describe_service
from dragoman.debug.plane import page, plane_of, proxies
from dragoman.runtime import ControlPlane

routes = web.RouteTableDef()

_LISTED: Final = 10


@routes.get("/debug/describe")
async def describe(request: web.Request) -> web.Response:
    """What holds for ?pod=NAME.NAMESPACE or ?service=NAME.NAMESPACE: services, routes, policies, mutual TLS, warnings.

    The beginning of a name will do where only one fits, in &namespace= first if that is given. A service is described
    as clients in the namespace &from= see it, by default its own.
    """
    plane, query = plane_of(request), request.query
    kind = next((kind for kind in ("Pod", "Service") if kind.lower() in query), None)
    if kind is None:
        raise _not_found("say which: ?pod=NAME.NAMESPACE or ?service=NAME.NAMESPACE")
    key = _meant(plane, kind, query[kind.lower()], query.get("namespace", ""))
    described = Described(plane)
    found: dict[str, Any] | None
    if kind == "Pod":
        session = proxies(plane).get(f"{key.name}.{key.namespace}")
        found = describe_pod(described, key.namespace, key.name, session)
    else:
        found = describe_service(described, key.namespace, key.name, query.get("from") or key.namespace)
    if found is None:
        raise _not_found(f"{key} has no address yet")
    return page(found)


def _meant(plane: ControlPlane, kind: str, wanted: str, namespace: str) -> ObjectKey:
    """The object that a name means; 404 with those that it might."""
    known = [key for key in plane.world.objects if key.kind == kind]
    in_namespace = [key for key in known if not namespace or key.namespace == namespace]
    for fits in (
        [key for key in known if f"{key.name}.{key.namespace}" == wanted],
        [key for key in in_namespace if key.name == wanted],
        [key for key in in_namespace if f"{key.name}.{key.namespace}".startswith(wanted)],
        [key for key in known if f"{key.name}.{key.namespace}".startswith(wanted)],
    ):
        if len(fits) == 1:
            return fits[0]
        if fits:
            names = sorted(f"{key.name}.{key.namespace}" for key in fits)
            more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
            raise _not_found(f"{wanted!r} may be any of {', '.join(names[:_LISTED])}{more}: give more of the name")
    raise _not_found(f"no {kind.lower()} {wanted!r} is known")


def _not_found(message: str) -> web.HTTPNotFound:
    return web.HTTPNotFound(text=json.dumps({"error": message}), content_type="application/json")

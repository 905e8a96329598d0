"""The keys of token issuers that RequestAuthentications name."""

from __future__ import annotations

import json
import time
from typing import Any

from aiohttp import web

from dragoman.debug.plane import page, plane_of
from dragoman.runtime import ControlPlane
from dragoman.runtime.key_schedule import State

routes = web.RouteTableDef()


@routes.get("/debug/jwksz")
async def jwksz(request: web.Request) -> web.Response:
    """The keys of token issuers that are fetched: from where, for which policies, when, and what went wrong."""
    plane = plane_of(request)
    now = time.monotonic()
    return page([_source(plane, state, now) for _, state in sorted(plane.key_sets.states.items())])


def _source(plane: ControlPlane, state: State, now: float) -> dict[str, Any]:
    source = state.use.source
    return {
        "issuer" if source.discovered else "jwksUri": source.uri,
        "policies": [str(origin) for origin in plane.key_sets.policies(state)],
        "keys": [key.get("kid", "") for key in json.loads(state.text)["keys"]] if state.text else [],
        "fetchedSecondsAgo": None if state.fetched_at is None else round(now - state.fetched_at, 1),
        "nextFetchInSeconds": max(round(state.due - now, 1), 0.0),
        "failures": state.failures,
        "problem": state.problem,
    }

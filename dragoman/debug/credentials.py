"""The page about credentials: which Secrets proxies have, and what is wrong with those that they need. Never a key."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from aiohttp import web

from crds.meta import ObjectKey
from dragoman.debug.plane import page, plane_of, without_empty
from dragoman.mesh.credentials import CredentialUse
from dragoman.runtime import ControlPlane
from dragoman.runtime.diagnosis import UnusableCredential

routes = web.RouteTableDef()


@routes.get("/debug/credentialz")
async def credentialz(request: web.Request) -> web.Response:
    """Credentials that connected proxies need: what is served, from which object, and what is wrong, with its code.

    Names only: no page shows a key or a certificate of a Secret.
    """
    plane = plane_of(request)
    served = [
        {
            "namespace": each.namespace,
            "name": each.name,
            "from": _object(plane, each.credential.held_by),
            "notBefore": _time(each.credential.not_before),
            "notAfter": _time(each.credential.not_after),
            "namedBy": _named_by(plane, each.uses),
        }
        for each in plane.credentials.served()
    ]
    return page(
        {"served": served, "problems": [_problem(plane, each) for each in plane.diagnosis.unusable_credentials()]}
    )


def _problem(plane: ControlPlane, unusable: UnusableCredential) -> dict[str, Any]:
    found, problem = unusable.found, unusable.found.problem
    return {
        "code": problem.code,
        "severity": str(problem.severity),
        "namespace": found.namespace,
        "name": found.name,
        **_object(plane, found.subject),
        "field": problem.path,
        "message": problem.message,
        "remedy": problem.remedy,
        "keptLastGood": found.kept_last_good,
        "namedBy": _named_by(plane, found.uses),
    }


def _named_by(plane: ControlPlane, uses: Iterable[CredentialUse]) -> list[dict[str, Any]]:
    return [{**_object(plane, use.by), "field": use.path} for use in uses]


def _object(plane: ControlPlane, key: ObjectKey) -> dict[str, Any]:
    return without_empty({"object": str(key), "at": plane.source.location(key)})


def _time(moment: datetime) -> str:
    return moment.isoformat()

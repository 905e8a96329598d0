"""The page about objects: what their conditions would say on an API server."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from aiohttp import web

from crds.digest import digest_of
from crds.meta import IstioObject, ObjectKey
from crds.problem import Problem
from dragoman.debug.plane import long_page, plane_of, without_empty
from dragoman.runtime import ControlPlane
from dragoman.runtime.conditions import Condition, Facts, conditions

routes = web.RouteTableDef()


@routes.get("/debug/statusz")
async def statusz(request: web.Request) -> web.Response:
    """What became of each object of Istio's API: accepted, programmed at how many proxies, conflicts; with ?kind=,
    ?namespace= and ?name= of some.

    Counts are of the proxies of this replica. `digest` is a hash of the spec in force.
    """
    plane, query = plane_of(request), request.query
    wanted = {name: query[name] for name in ("kind", "namespace", "name") if name in query}
    if len(wanted) == len(ObjectKey._fields):
        keys = iter((ObjectKey(**wanted),))
    else:
        keys = (key for key in plane.statuses if all(getattr(key, name) == wanted[name] for name in wanted))
    return await long_page(_entries(plane, keys))


def _entries(plane: ControlPlane, keys: Iterator[ObjectKey]) -> Iterator[dict[str, Any]]:
    for key in keys:
        facts = plane.statuses.facts(key)
        if facts is not None:
            yield _entry(plane, key, facts)


def _entry(plane: ControlPlane, key: ObjectKey, facts: Facts) -> dict[str, Any]:
    obj = plane.world.objects.get(key)
    entry = {
        **key._asdict(),
        "at": plane.source.location(key),
        "generation": facts.generation or None,
        "digest": digest_of(obj) if isinstance(obj, IstioObject) else None,
        "conditions": [_condition(condition) for condition in conditions(facts)],
        "problems": [_problem(problem) for problem in facts.problems],
    }
    return without_empty(entry)


def _condition(condition: Condition) -> dict[str, Any]:
    return without_empty(
        {
            "type": condition.type,
            "status": condition.status,
            "reason": condition.reason,
            "message": condition.message,
            "observedGeneration": condition.observed_generation or None,
        }
    )


def _problem(problem: Problem) -> dict[str, Any]:
    return without_empty(
        {
            "code": problem.code,
            "severity": problem.severity,
            "path": problem.path,
            "message": problem.message,
            "remedy": problem.remedy,
        }
    )

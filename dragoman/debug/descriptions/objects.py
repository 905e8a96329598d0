"""Objects as descriptions name them: where they are, how far they have come, and what is wrong with them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from crds.meta import ObjectKey
from dragoman.debug.plane import without_empty
from dragoman.engine import Call
from dragoman.provenance import origins
from dragoman.runtime import ControlPlane


class Described:
    """Names objects, and remembers which: what is reported of them belongs to the description."""

    def __init__(self, plane: ControlPlane) -> None:
        self.graph = plane.graph
        self._plane = plane
        self._named: dict[ObjectKey, dict[str, Any]] = {}

    def name(self, key: ObjectKey) -> dict[str, Any]:
        """An object with its place in files, how many of the proxies that use it here have accepted it, and what older
        objects take from it."""
        if key not in self._named:
            self._named[key] = self._describe(key)
        return self._named[key]

    def _describe(self, key: ObjectKey) -> dict[str, Any]:
        facts = self._plane.statuses.facts(key)
        programmed = self._plane.programming.of(key) if facts is None else facts.programmed
        return without_empty(
            {
                "object": str(key),
                "at": self._plane.source.location(key),
                "proxies": f"{programmed.accepted}/{programmed.proxies}",
                "rejections": [f"{each.type.upper()} {each.name}: {each.message}" for each in programmed.rejections],
                "failures": list(programmed.failures),
                "conflicts": [f"{each.what}: {each.winner} is older and wins" for each in facts.conflicts]
                if facts is not None
                else [],
            }
        )

    def names(self, keys: Iterable[ObjectKey]) -> list[dict[str, Any]]:
        return [self.name(key) for key in keys]

    def origins(self, call: Call[Any], kind: str) -> list[dict[str, Any]]:
        """The objects of a kind that decided the value of a query."""
        return self.names(key for key in origins(self.graph, call) if key.kind == kind)

    def problems(self, of: Iterable[ObjectKey] = ()) -> list[str]:
        """What sources report of the objects that were named, and of these: as lines, errors first."""
        about = {*self._named, *of}
        found = [report for report in self._plane.source.reports() if report.key in about]
        found.sort(key=lambda report: (str(report.problem.severity), str(report)))
        return [f"{report.problem.severity}: {report}" for report in found]

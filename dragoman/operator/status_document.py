"""The `status` of an object of Istio's API, from conditions (Istio: meta/v1alpha1/status.proto, IstioStatus). Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from crds.codes import CODES
from crds.problem import Problem
from dragoman.runtime.conditions import (
    ACCEPTED,
    CONFLICTED,
    PARTIALLY_SUPPORTED,
    PROGRAMMED,
    RESOLVED_REFS,
    Condition,
)

Status = Mapping[str, Any]
"""A status as JSON."""

OURS: Final = frozenset((ACCEPTED, PROGRAMMED, RESOLVED_REFS, CONFLICTED, PARTIALLY_SUPPORTED))
"""Types of conditions that are written here: others belong to other controllers."""

MOST_MESSAGES: Final = 50


def status_of(
    conditions: Sequence[Condition], problems: Iterable[Problem], generation: int, before: Status, now: datetime
) -> dict[str, Any]:
    """The status to apply; an answer that is as it was `before` keeps the time of its last change."""
    times = {entry["type"]: entry for entry in ours(before).get("conditions", ())}
    entries = []
    for condition in conditions:
        known = times.get(condition.type, {})
        since = known.get("lastTransitionTime") if known.get("status") == condition.status else None
        entries.append(
            {
                "type": condition.type,
                "status": condition.status,
                "reason": condition.reason,
                "message": condition.message,
                "observedGeneration": condition.observed_generation,
                "lastTransitionTime": since or now.isoformat(timespec="seconds").replace("+00:00", "Z"),
            }
        )
    status: dict[str, Any] = {"observedGeneration": generation, "conditions": entries}
    messages = [_message(problem) for problem in problems][:MOST_MESSAGES]
    return status | ({"validationMessages": messages} if messages else {})


def ours(status: Status) -> Status:
    """What of a status is written here, with generations as numbers."""
    found: dict[str, Any] = {}
    if "observedGeneration" in status:
        found["observedGeneration"] = int(status["observedGeneration"])
    listed = [entry for entry in status.get("conditions") or () if entry.get("type") in OURS]
    if listed:
        found["conditions"] = [_with_number(entry) for entry in listed]
    if status.get("validationMessages"):
        found["validationMessages"] = status["validationMessages"]
    return found


def of_others(status: Status) -> list[Mapping[str, Any]]:
    """The conditions of other controllers."""
    return [entry for entry in status.get("conditions") or () if entry.get("type") not in OURS]


def is_shared(definition: Mapping[str, Any]) -> bool:
    """Whether each controller owns its own conditions in a CustomResourceDefinition, in every version.

    In Istio's they are one list, which belongs to whoever wrote it last (Kubernetes: Server-Side Apply, merging).
    """
    conditions = (
        version.get("schema", {})
        .get("openAPIV3Schema", {})
        .get("properties", {})
        .get("status", {})
        .get("properties", {})
        .get("conditions", {})
        for version in definition["spec"]["versions"]
    )
    return all(each.get("x-kubernetes-list-type") == "map" for each in conditions)


def differs(before: Status, after: Status) -> bool:
    """Whether what is to be written is not there."""
    return bool(_comparable(before, counts=True) != _comparable(after, counts=True))


def differs_in_counts_only(before: Status, after: Status) -> bool:
    """Whether nothing but the text of `Programmed` is different: who waits for an answer has it already."""
    return bool(_comparable(before, counts=False) == _comparable(after, counts=False))


def _comparable(status: Status, *, counts: bool) -> Any:
    found = dict(ours(status))
    found["conditions"] = {
        entry["type"]: {
            name: value for name, value in entry.items() if counts or name != "message" or entry["type"] != PROGRAMMED
        }
        for entry in found.get("conditions", ())
    }
    return found


def _with_number(entry: Mapping[str, Any]) -> dict[str, Any]:
    # Protobuf's JSON has integers of 64 bits as strings, and Istio writes its status so.
    return {**entry, "observedGeneration": int(entry.get("observedGeneration") or 0)}


def _message(problem: Problem) -> dict[str, Any]:
    text = f"{problem.message} ({problem.remedy})" if problem.remedy else problem.message
    # Codes of sources are not in the table: it is of what an object says.
    known = CODES.get(problem.code)
    return {
        "type": {"code": problem.code, "name": known.meaning if known is not None else problem.message},
        "level": problem.severity.upper(),
        "path": problem.path,
        "message": text,
    }

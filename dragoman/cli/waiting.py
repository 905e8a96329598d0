"""What `dragoman wait` waits for, and whether it has come. Pure."""

from __future__ import annotations

import enum
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from crds.decode import decode, kind_of
from crds.digest import digest_of
from crds.meta import IstioObject, ObjectKey
from crds.problem import Invalid
from crds.registry import ISTIO_KINDS
from dragoman.sources import yaml_documents


class Goal(enum.StrEnum):
    """How far objects are to come."""

    accepted = "accepted"
    programmed = "programmed"


class State(enum.Enum):
    """How far an object has come."""

    WAITING = "waiting"
    DONE = "done"
    REFUSED = "refused"
    """It will come no further before somebody changes something."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """An object to wait for. `digest` is of its spec in a file, where a control plane must have just that."""

    key: ObjectKey
    digest: str | None = None


@dataclass(frozen=True, slots=True)
class Found:
    """How far it has come, and why no further."""

    state: State
    reason: str
    message: str


NOT_THERE: Final = Found(State.WAITING, "NotFound", "there is no such object")
UNKNOWN: Final = Found(State.WAITING, "NoStatus", "no control plane has said anything of it")

_CONDITIONS: Final = {Goal.accepted: "Accepted", Goal.programmed: "Programmed"}
_FINAL: Final = frozenset(("Rejected", "Failed"))
"""Reasons after which only another version helps."""


def find_kind(text: str) -> str | None:
    """The kind that a word means, as kubectl understands it: `VirtualService`, `virtualservices`, `vs`."""
    word = text.lower().partition(".")[0]
    for name, kind in ISTIO_KINDS.items():
        plural = kind.resource.plural
        if word in (name.lower(), plural, *kind.resource.short_names):
            return name
    return None


def objects_in(data: bytes, *, json: bool, namespace: str) -> Iterator[Wanted]:
    """The objects of Istio's API in a file, those that are broken by name only.

    Raises `yaml_documents.DocumentError` for what is no YAML.
    """
    for text in yaml_documents.split(data, json=json):
        document = yaml_documents.parse(text)
        listed = document.get("items") if isinstance(document, Mapping) and document.get("kind") == "List" else None
        for each in listed if isinstance(listed, list) else (document,):
            if (wanted := _wanted(each, namespace)) is not None:
                yield wanted


def _wanted(document: Any, namespace: str) -> Wanted | None:
    if not isinstance(document, Mapping):
        return None
    try:
        kind = kind_of(document)
    except Invalid:
        kind = None
    if kind is None or not issubclass(kind, IstioObject):
        return None
    metadata = document.get("metadata") or {}
    key = ObjectKey(kind.__name__, metadata.get("namespace") or namespace, str(metadata.get("name", "")))
    try:
        obj = decode(document, default_namespace=namespace)
    except Invalid:
        return Wanted(key)
    return Wanted(key, digest_of(obj)) if isinstance(obj, IstioObject) else None


def on_object(document: Mapping[str, Any], goal: Goal) -> Found:
    """What the status of an object on an API server says of its newest version."""
    status = document.get("status") or {}
    return _of(status.get("conditions") or (), goal, document["metadata"].get("generation", 0))


def on_page(entry: Mapping[str, Any], goal: Goal, wanted: Wanted) -> Found:
    """What the page of a control plane says of an object, in the version of the file where it comes from one."""
    conditions = entry.get("conditions") or ()
    accepted = _answer(conditions, "Accepted")
    if accepted is not None and accepted["status"] == "False":
        return Found(State.REFUSED, accepted["reason"], accepted["message"])
    if wanted.digest is not None and entry.get("digest") != wanted.digest:
        return Found(State.WAITING, "Pending", "another version of it is in force")
    return _of(conditions, goal, None)


def _of(conditions: Any, goal: Goal, generation: int | None) -> Found:
    accepted = _answer(conditions, "Accepted", generation)
    if accepted is not None and accepted["status"] == "False":
        return Found(State.REFUSED, accepted["reason"], accepted["message"])
    answer = _answer(conditions, _CONDITIONS[goal], generation)
    if answer is None or accepted is None:
        return UNKNOWN
    state = State.REFUSED if answer["reason"] in _FINAL else State.WAITING
    return Found(State.DONE if answer["status"] == "True" else state, answer["reason"], answer["message"])


def _answer(conditions: Any, type_: str, generation: int | None = None) -> Mapping[str, Any] | None:
    """The condition, if it is about this generation."""
    for condition in conditions:
        if condition.get("type") == type_:
            about = int(condition.get("observedGeneration") or 0)
            if generation is None or about == generation:
                found: Mapping[str, Any] = {"status": "Unknown", "reason": "", "message": "", **condition}
                return found
    return None

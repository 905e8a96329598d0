"""Kubernetes Events about objects: what their authors should hear of without asking (Kubernetes: events.k8s.io/v1).

An event is told when a condition comes to be so, not while it lasts. The same again, within some minutes, is one Event
with a series; and of many at once the first are told, so that an error in a thousand objects is no flood.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

import structlog

from crds.meta import ObjectKey, ObjectMeta
from dragoman.kube import ApiError, ApiResource, Cluster
from dragoman.kube.resources import EVENTS
from dragoman.operator.status_document import Status
from dragoman.runtime.conditions import ACCEPTED, CONFLICTED, PROGRAMMED, RESOLVED_REFS, Condition
from xds.pace import Pace

log = structlog.get_logger(__name__)

CONTROLLER: Final = "dragoman.io/control-plane"

SAME_WITHIN: Final = 360.0
"""Seconds: the same again within this time belongs to the series of the one before (client-go: tools/events)."""
_REMEMBERED: Final = 4096
_WAITING: Final = 200
_PER_SECOND: Final = 5.0
_NOTE: Final = 1024
"""Bytes that the API server takes (Kubernetes: events.k8s.io/v1, Event.note)."""


class Told(NamedTuple):
    """What is worth an Event."""

    reason: str
    action: str
    note: str
    normal: bool = False


class _Wanted(NamedTuple):
    key: ObjectKey
    resource: ApiResource
    uid: str
    told: Told


@dataclass(slots=True)
class _Series:
    name: str
    count: int
    at: float


def worth_telling(before: Status, now: Sequence[Condition]) -> Iterator[Told]:
    """Of conditions, those that an author should hear of, and that were not so before."""
    known = {entry["type"]: entry for entry in before.get("conditions", ())}
    for condition in now:
        was = known.get(condition.type, {})
        same = (was.get("status"), was.get("reason")) == (condition.status, condition.reason)
        told = _told(condition, was)
        if told is not None and not (same and was.get("observedGeneration") == condition.observed_generation):
            yield told


def _told(condition: Condition, was: Status) -> Told | None:
    match condition.type, condition.status, condition.reason:
        case (type_, "False", "Invalid") if type_ == ACCEPTED:
            return Told("Invalid", "Validate", condition.message)
        case (type_, "False", ("Rejected" | "Failed") as reason) if type_ == PROGRAMMED:
            return Told(reason, "Program", condition.message)
        case (type_, "True", _) if type_ == PROGRAMMED and was.get("reason") in ("Rejected", "Failed", "HeldBack"):
            return Told("Programmed", "Program", condition.message, normal=True)
        case (type_, "False", reason) if type_ == RESOLVED_REFS:
            return Told(reason, "Resolve", condition.message)
        case (type_, "True", _) if type_ == CONFLICTED:
            return Told("Conflicted", "Merge", condition.message)
    return None


class Events:
    """Tells them; `run` writes what `tell` was given."""

    def __init__(self, cluster: Cluster, replica: str) -> None:
        self._cluster = cluster
        self._replica = replica
        self._series: OrderedDict[tuple[ObjectKey, str, Told], _Series] = OrderedDict()
        self._waiting: asyncio.Queue[_Wanted] = asyncio.Queue(_WAITING)
        self._pace = Pace(_PER_SECOND)

    def tell(
        self, key: ObjectKey, resource: ApiResource, metadata: ObjectMeta, before: Status, now: Sequence[Condition]
    ) -> None:
        """Conditions of an object were written."""
        self.tell_of(key, resource, metadata.uid, worth_telling(before, now))

    def tell_of(self, key: ObjectKey, resource: ApiResource, uid: str, said: Iterable[Told]) -> None:
        """These things came to be so of an object."""
        for told in said:
            try:
                self._waiting.put_nowait(_Wanted(key, resource, uid, told))
            except asyncio.QueueFull:
                log.info("an event is left out, as there are many", object=str(key), reason=told.reason)

    async def run(self) -> None:
        """Write until cancelled."""
        while True:
            wanted = await self._waiting.get()
            await self._pace.turn()
            try:
                await self._write(wanted)
            except ApiError as error:
                log.info("an event is left out", object=str(wanted.key), reason=wanted.told.reason, error=str(error))

    async def _write(self, wanted: _Wanted) -> None:
        same = (wanted.key, wanted.uid, wanted.told)
        series = self._series.get(same)
        if series is not None and time.monotonic() < series.at + SAME_WITHIN:
            count = series.count + 1
            patch = {"series": {"count": count, "lastObservedTime": _now()}}
            await self._cluster.patch(EVENTS, series.name, patch, _namespace(wanted.key))
            series.count, series.at = count, time.monotonic()
            return
        document = self._document(wanted)
        await self._cluster.create(EVENTS, document, _namespace(wanted.key))
        self._series[same] = _Series(document["metadata"]["name"], 1, time.monotonic())
        self._series.move_to_end(same)
        while len(self._series) > _REMEMBERED:
            self._series.popitem(last=False)

    def _document(self, wanted: _Wanted) -> dict[str, Any]:
        key, resource, told = wanted.key, wanted.resource, wanted.told
        unlike = hashlib.blake2b(f"{key}{told}{time.time_ns()}".encode(), digest_size=8).hexdigest()
        return {
            "apiVersion": EVENTS.api_version,
            "kind": EVENTS.kind,
            "metadata": {"name": f"{key.name[:200]}.{unlike}", "namespace": _namespace(key)},
            "eventTime": _now(),
            "reportingController": CONTROLLER,
            "reportingInstance": self._replica[:128],
            "action": told.action,
            "reason": told.reason,
            "type": "Normal" if told.normal else "Warning",
            "note": _cut(told.note),
            "regarding": {
                "apiVersion": resource.api_version,
                "kind": resource.kind,
                "namespace": key.namespace,
                "name": key.name,
                "uid": wanted.uid,
            },
        }


def _cut(note: str) -> str:
    data = note.encode()
    return note if len(data) <= _NOTE else data[: _NOTE - len("…".encode())].decode(errors="ignore") + "…"


def _namespace(key: ObjectKey) -> str:
    return key.namespace or "default"


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")

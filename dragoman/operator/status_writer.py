"""Writes the status of objects: the leader's duty.

What is written is compared with what is there, so that nothing is written twice; changes that come together are one
write; a status that differs only in how many proxies have accepted waits until it has been a while. A write of a status
leaves the generation of its object as it is, so the source takes it for no change and no proxy hears of it.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from typing import Any, Final

import structlog

from crds.meta import ObjectKey
from crds.registry import ISTIO_KINDS, Kind
from dragoman.kube import ApiError, ApiResource, Cluster
from dragoman.kube.resources import CUSTOM_RESOURCE_DEFINITIONS
from dragoman.operator.events import Events
from dragoman.operator.replicas import Replicas
from dragoman.operator.report import version_of
from dragoman.operator.status_document import (
    Status,
    differs,
    differs_in_counts_only,
    is_shared,
    of_others,
    ours,
    status_of,
)
from dragoman.operator.work_queue import TryAgainError, WorkQueue
from dragoman.runtime import ControlPlane
from dragoman.runtime.conditions import Condition, Facts, conditions, pooled
from dragoman.sources.kubernetes.inventory import REVISION
from dragoman.sources.kubernetes.served import served
from dragoman.turns import in_turns
from xds.pace import Pace as Turns

log = structlog.get_logger(__name__)

FIELD_MANAGER: Final = "dragoman"

_ASK_AGAIN: Final = 1.0
_DISCOVER_AGAIN: Final = 10.0
"""Seconds: a namespace that is deleted takes many objects with it."""


@dataclass(frozen=True, slots=True)
class Pace:
    """How fast statuses are written. Times are in seconds."""

    settle: float = 0.3
    """Changes come together: waited before anything is written of them."""
    writes_per_second: float = 50.0
    """Of objects that changed (Istio: PILOT_STATUS_QPS allows 100)."""
    others_per_second: float = 10.0
    """Of those that did not."""
    counts: float = 30.0
    """Least time between writes of an object of which only the counts differ."""
    recount: float = 60.0
    """Between looks at proxies that came or went while no object changed."""
    reread: float = 300.0
    """Between looks at what is there, which others may have written."""
    replicas: float = 5.0
    """How long a new leader waits to know the other replicas."""


@dataclass(frozen=True, slots=True)
class _Known:
    """A status as it is on the API server, as far as it is ours."""

    uid: str = ""
    status: Status = field(default_factory=dict)
    written_at: float = -math.inf
    """When it was written from here."""


_NOTHING: Final = _Known()


class StatusWriter:
    """Follows `plane.statuses`, and what `replicas` tell, while `run` runs.

    Objects that belong to every revision (`istio.io/rev` is not set) are written by one control plane of all, and the
    others by one of their revision: `labelled` says which of them this writer sees to.
    """

    def __init__(
        self,
        cluster: Cluster,
        plane: ControlPlane,
        replicas: Replicas,
        events: Events,
        *,
        labelled: bool = False,
        pace: Pace | None = None,
    ) -> None:
        self._cluster = cluster
        self._plane = plane
        self._replicas = replicas
        self._events = events
        self._labelled = labelled
        self._pace = pace or Pace()
        self._served: Mapping[str, ApiResource] = {}
        self._known: dict[ObjectKey, _Known] = {}
        self._postponed: set[ObjectKey] = set()
        self._unshared: set[str] = set()
        """Kinds whose conditions are one list for all controllers."""
        self._refused: set[str] = set()
        """Kinds whose status the API server does not let be written."""
        self._doubtful: set[ObjectKey] = set()
        self._all_doubtful = False
        self._counts_due: set[ObjectKey] = set()
        self._news = asyncio.Event()
        self._sessions: frozenset[int] = frozenset()
        self._discovered_at = -math.inf
        self._works = False
        self.written = 0
        """Statuses written since the start."""
        self.failed = 0
        """Writes that failed."""
        plane.statuses.subscribe(self.doubt)
        replicas.subscribe(self.doubt)

    def doubt(self, keys: frozenset[ObjectKey] | None) -> None:
        """Something else may be to be said of these objects, or of all."""
        if self._works:
            if keys is None:
                self._all_doubtful = True
            else:
                self._doubtful |= keys
            self._news.set()

    async def run(self) -> None:
        """Write until cancelled; begins with what is there.

        Who has just changed an object waits for its status; what concerns all of them must not stand before that.
        """
        self._works = True
        paces = (self._pace.writes_per_second, self._pace.others_per_second)
        soon, later = (WorkQueue(partial(self._write, Turns(per_second)), workers=4) for per_second in paces)
        try:
            await self._begin()
            async with asyncio.TaskGroup() as tasks:
                for queue in (soon, later):
                    tasks.create_task(queue.run())
                tasks.create_task(self._follow(soon, later))
                tasks.create_task(self._recount())
                tasks.create_task(self._reread())
        finally:
            self._works = False

    async def _begin(self) -> None:
        await self._read_all()
        await self._replicas.complete(self._pace.replicas)
        self.doubt(None)

    async def _read_all(self) -> None:
        """Learn what is there. What cannot be read is written once more."""
        while True:
            if await self._discover():
                break
            await asyncio.sleep(_ASK_AGAIN)
        for kind, resource in self._served.items():
            try:
                documents = await self._cluster.list(resource)
            except ApiError as error:
                log.warning("cannot read statuses", resource=str(resource), error=str(error))
                continue
            for document in documents:
                metadata = document["metadata"]
                key = ObjectKey(kind, metadata.get("namespace", ""), metadata["name"])
                written_at = self._known.get(key, _NOTHING).written_at
                self._known[key] = _Known(metadata["uid"], ours(document.get("status") or {}), written_at)

    async def _discover(self) -> bool:
        try:
            found: Mapping[Kind, ApiResource] = await served(self._cluster, tuple(ISTIO_KINDS.values()))
        except ApiError as error:
            log.warning("cannot ask what the API server serves", error=str(error))
            return False
        self._discovered_at = time.monotonic()
        self._served = {kind.__name__: resource for kind, resource in found.items()}
        for kind, resource in self._served.items():
            try:
                definition = await self._cluster.get(CUSTOM_RESOURCE_DEFINITIONS, f"{resource.plural}.{resource.group}")
            except ApiError:
                # Then better to look before each write than to take away what is another's.
                self._unshared.add(kind)
            else:
                (self._unshared.discard if is_shared(definition) else self._unshared.add)(kind)
        return True

    async def _follow(self, soon: WorkQueue[ObjectKey], later: WorkQueue[ObjectKey]) -> None:
        while True:
            await self._news.wait()
            await asyncio.sleep(self._pace.settle)
            self._news.clear()
            doubtful, self._doubtful = self._doubtful, set()
            await self._compare(doubtful, soon)
            due, self._counts_due = self._counts_due, set()
            if self._all_doubtful:
                self._all_doubtful = False
                due.update(self._plane.statuses)
            await self._compare(due, later)

    async def _recount(self) -> None:
        while True:
            await asyncio.sleep(self._pace.recount)
            sessions = frozenset(map(id, self._plane.sessions))
            if sessions != self._sessions:
                self._sessions = sessions
                self.doubt(None)

    async def _reread(self) -> None:
        while True:
            await asyncio.sleep(self._pace.reread)
            self._refused.clear()
            await self._read_all()
            self.doubt(None)

    async def _compare(self, keys: Iterable[ObjectKey], queue: WorkQueue[ObjectKey]) -> None:
        """Queue what is to be written, in slices."""
        async for key in in_turns(keys):
            wanted = self._wanted(key)
            if wanted is None:
                self._known.pop(key, None)
            elif differs(self._known_of(key).status, wanted):
                self._queue_when_due(key, wanted, queue)

    def _queue_when_due(self, key: ObjectKey, wanted: Status, queue: WorkQueue[ObjectKey]) -> None:
        known = self._known_of(key)
        due = 0.0
        if differs_in_counts_only(known.status, wanted):
            due = known.written_at + self._pace.counts - time.monotonic()
        if due <= 0:
            queue.add(key)
        elif key not in self._postponed:
            self._postponed.add(key)
            asyncio.get_running_loop().call_later(due, self._look_later, key)

    def _look_later(self, key: ObjectKey) -> None:
        self._postponed.discard(key)
        self._counts_due.add(key)
        self._news.set()

    def _known_of(self, key: ObjectKey) -> _Known:
        """What is there; nothing for an object that has got its name from another."""
        known, metadata = self._known.get(key, _NOTHING), self._plane.statuses.metadata(key)
        return _NOTHING if metadata is None or metadata.uid != known.uid else known

    def _facts(self, key: ObjectKey) -> Facts | None:
        """None for an object that is gone, or that another writer sees to.

        Nor is anything said of one where a fault of ours comes between; the others are written all the same.
        """
        try:
            return self._gathered(key)
        except Exception:
            log.exception("nothing can be said of an object", object=str(key))
            return None

    def _gathered(self, key: ObjectKey) -> Facts | None:
        metadata = self._plane.statuses.metadata(key)
        if metadata is None or (REVISION in metadata.labels) != self._labelled:
            return None
        facts = self._plane.statuses.facts(key)
        obj = self._plane.world.objects.get(key)
        if facts is None or obj is None:
            return facts
        others, behind = self._replicas.of(key, version_of(obj.metadata))
        together = pooled((facts.programmed, *others))
        return replace(facts, programmed=together, behind=behind)

    def _wanted(self, key: ObjectKey) -> dict[str, Any] | None:
        facts = self._facts(key)
        if facts is None or key.kind not in self._served or key.kind in self._refused:
            return None
        return self._status(key, facts, conditions(facts))

    def _status(self, key: ObjectKey, facts: Facts, found: tuple[Condition, ...]) -> dict[str, Any]:
        return status_of(found, facts.problems, facts.generation, self._known_of(key).status, datetime.now(UTC))

    async def _write(self, turns: Turns, key: ObjectKey) -> None:
        await turns.turn()
        facts = self._facts(key)
        metadata = self._plane.statuses.metadata(key)
        resource = self._served.get(key.kind)
        if facts is None or metadata is None or resource is None or key.kind in self._refused:
            return
        before = self._known_of(key).status
        found = conditions(facts)
        status = self._status(key, facts, found)
        if not differs(before, status):
            return
        named = {"name": key.name, "namespace": key.namespace}
        if metadata.uid:
            # Never onto another object that has got the name since.
            named["uid"] = metadata.uid
        document = {"apiVersion": resource.api_version, "kind": resource.kind, "metadata": named, "status": status}
        try:
            if key.kind in self._unshared:
                stored = await self._cluster.get(resource, key.name, key.namespace)
                named["resourceVersion"] = stored["metadata"]["resourceVersion"]
                status["conditions"] = [*of_others(stored.get("status") or {}), *status["conditions"]]
            answer = await self._cluster.apply(resource, document, field_manager=FIELD_MANAGER, subresource="status")
        except ApiError as error:
            self.failed += 1
            if error.not_found:
                # The object went, or its kind.
                if time.monotonic() > self._discovered_at + _DISCOVER_AGAIN:
                    await self._discover()
                return
            if error.conflict:
                raise TryAgainError(str(error)) from None
            if error.unavailable:
                raise
            # Trying again would not help, until rights or definitions are others.
            log.warning("the status of a kind cannot be written", kind=key.kind, object=str(key), error=str(error))
            self._refused.add(key.kind)
            return
        self.written += 1
        self._known[key] = _Known(metadata.uid, ours(answer.get("status") or {}), time.monotonic())
        self._events.tell(key, resource, metadata, before, found)

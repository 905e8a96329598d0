"""The replicas of a control plane, each of which knows its own proxies only: what they tell one another.

Each has a Lease of its own, renewed while it lives, with its report in an annotation (see
`docs/decisions/pooled-counts.md`). A report is written when something in it changed, once a second at most, and only
while there is another replica to read it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

import structlog

from crds.meta import IstioObject, ObjectKey
from dragoman.kube import ApiError, Cluster
from dragoman.kube.resources import LEASES
from dragoman.operator.report import Report, Told, decoded, encoded, version_of
from dragoman.operator.watched import Watched
from dragoman.runtime import ControlPlane
from dragoman.runtime.programmed import Programmed
from dragoman.sources.kubernetes.inventory import REVISION
from dragoman.sources.kubernetes.reflector import Name
from dragoman.turns import in_turns

log = structlog.get_logger(__name__)

LABEL: Final = "dragoman.io/replica"
REPORT: Final = "dragoman.io/programmed"
STREAMS: Final = "dragoman.io/streams"
FIELD_MANAGER: Final = "dragoman-replica"

_PREFIX: Final = "dragoman-replica-"
_BURIED_AFTER: Final = 60.0
"""Seconds after which the Lease of a replica that died is taken away."""

_RELEASE_WITHIN: Final = 2.0


@dataclass(frozen=True, slots=True)
class Pace:
    """In seconds."""

    renew: float = 5.0
    lives: float = 15.0
    """How long a replica counts after its Lease was last seen to change."""
    settle: float = 0.2
    """Changes come together: waited before a report is written."""
    spacing: float = 1.0
    """Least time between two reports."""
    recount: float = 30.0
    """Between looks at proxies that came or went while no object changed."""


class _Other:
    """Another replica, as its Lease tells."""

    __slots__ = ("report", "revision", "seen_at", "streams", "text", "version")

    def __init__(self, revision: str) -> None:
        self.revision = revision
        self.version = ""
        self.text = ""
        self.streams = 0
        self.report = Report()
        self.seen_at = 0.0


class Replicas:
    """What the other replicas tell, and what is told to them.

    Callbacks given to `subscribe` are told of which objects another replica tells something else; None for all of them.
    """

    def __init__(
        self,
        cluster: Cluster,
        plane: ControlPlane,
        namespace: str,
        replica: str,
        revision: str = "default",
        pace: Pace | None = None,
    ) -> None:
        self._cluster = cluster
        self._plane = plane
        self._namespace = namespace
        self._replica = replica
        self._revision = revision
        self._subscribers: list[Callable[[frozenset[ObjectKey] | None], None]] = []
        self._pace = pace or Pace()
        self._others: dict[str, _Other] = {}
        self._told: dict[ObjectKey, Told] = {}
        self._doubtful: set[ObjectKey] = set()
        self._changed = asyncio.Event()
        self._listened = asyncio.Event()
        self._alive: frozenset[str] = frozenset()
        self._sessions: frozenset[int] = frozenset()
        self._last = ""
        """The report that is in the Lease."""
        self._leases = Watched(LEASES, self._heard, namespace=namespace, read=_lease)

    def subscribe(self, callback: Callable[[frozenset[ObjectKey] | None], None]) -> None:
        """Call back when the others have something new to tell."""
        self._subscribers.append(callback)

    # -- asked ------------------------------------------------------------------------------------------------------

    async def complete(self, within: float) -> bool:
        """Wait until the other replicas are known and have told something; whether they have, `within` seconds."""
        try:
            async with asyncio.timeout(within):
                while not (self._leases.listed and all(other.text for _, other in self._living())):
                    self._listened.clear()
                    await self._listened.wait()
        except TimeoutError:
            return False
        return True

    def of(self, key: ObjectKey, version: str) -> tuple[list[Programmed], tuple[str, ...]]:
        """What the others tell of a version of an object, and which of them have yet to take it in.

        A control plane of another revision may never do that: it is not waited for.
        """
        found: list[Programmed] = []
        behind: list[str] = []
        for name, other in self._living():
            told = other.report.objects.get(key)
            if told is not None and told.version == version:
                found.append(told.programmed)
            elif other.revision == self._revision and not other.report.silent:
                behind.append(name)
        return found, tuple(behind)

    @property
    def living(self) -> int:
        """How many others there are."""
        return sum(1 for _ in self._living())

    def streams(self) -> tuple[int, ...]:
        """How many proxies each of the others of this revision serves."""
        return tuple(other.streams for _, other in self._living() if other.revision == self._revision)

    def _living(self) -> Iterator[tuple[str, _Other]]:
        now = time.monotonic()
        for name, other in sorted(self._others.items()):
            if now < other.seen_at + self._pace.lives:
                yield name, other

    # -- run --------------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Tell and listen until cancelled; then take the Lease away, so that nobody waits for it."""
        self._plane.statuses.subscribe(self._doubt)
        self._doubtful.update(self._plane.statuses)
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._leases.run(self._cluster, self._listened.set))
                tasks.create_task(self._renew())
                tasks.create_task(self._tell())
                tasks.create_task(self._recount())
        finally:
            await self._leave()

    async def bury(self) -> None:
        """Take away the Leases of replicas that died: the leader's duty, until cancelled."""
        while True:
            await asyncio.sleep(_BURIED_AFTER)
            silent_since = time.monotonic() - _BURIED_AFTER
            for name in [name for name, other in self._others.items() if other.seen_at < silent_since]:
                try:
                    await self._cluster.delete(LEASES, _PREFIX + name, self._namespace)
                except ApiError as error:
                    log.info("could not take away the Lease of a dead replica", replica=name, error=str(error))

    def _doubt(self, keys: frozenset[ObjectKey]) -> None:
        self._doubtful |= keys
        self._changed.set()

    async def _renew(self) -> None:
        # Who says that it lives has something to tell: else all objects would seem to be on their way to it.
        while True:
            if await self._write(await self._report()):
                break
            await asyncio.sleep(self._pace.spacing)
        while True:
            self._follow_the_living()
            await asyncio.sleep(self._pace.renew)
            await self._write(None)

    async def _tell(self) -> None:
        while True:
            await self._changed.wait()
            await asyncio.sleep(self._pace.settle)
            self._changed.clear()
            if self._alive and self._last:
                report = await self._report()
                if report != self._last and await self._write(report):
                    await asyncio.sleep(self._pace.spacing)

    async def _report(self) -> str:
        await self._look()
        return await asyncio.to_thread(encoded, Report(dict(self._told)))

    async def _look(self) -> None:
        """Bring up to date what is told, in slices."""
        doubtful, self._doubtful = self._doubtful, set()
        async for key in in_turns(doubtful):
            obj = self._plane.world.objects.get(key)
            if isinstance(obj, IstioObject):
                found = self._plane.programming.of(key)
                if not found.translating:  # else it is told of when that is over
                    self._told[key] = Told(version_of(obj.metadata), found)
            else:
                self._told.pop(key, None)

    async def _recount(self) -> None:
        while True:
            await asyncio.sleep(self._pace.recount)
            sessions = frozenset(map(id, self._plane.sessions))
            if sessions != self._sessions:
                self._sessions = sessions
                self._doubt(frozenset(self._told))

    async def _write(self, report: str | None) -> bool:
        """Renew the Lease, with a report or the one before; whether that went well."""
        spec = {
            "holderIdentity": self._replica,
            "leaseDurationSeconds": max(1, int(self._pace.lives)),
            "renewTime": datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z"),
        }
        labels = {LABEL: "true", REVISION: self._revision}
        annotations = {STREAMS: str(len(self._plane.sessions))}
        metadata: dict[str, Any] = {"name": self._name, "namespace": self._namespace, "labels": labels}
        metadata["annotations"] = annotations | ({REPORT: report or self._last} if report or self._last else {})
        document = {"apiVersion": LEASES.api_version, "kind": LEASES.kind, "metadata": metadata, "spec": spec}
        try:
            if report is None and await self._patch({"metadata": {"annotations": annotations}, "spec": spec}):
                return True
            await self._cluster.apply(LEASES, document, field_manager=FIELD_MANAGER)
        except ApiError as error:
            log.warning("cannot tell the other replicas", error=str(error))
            return False
        self._last = report or self._last
        return True

    async def _patch(self, patch: dict[str, Any]) -> bool:
        """Renew a Lease that is there: its report, which may be long, stays where it is."""
        try:
            await self._cluster.patch(LEASES, self._name, patch, self._namespace)
        except ApiError as error:
            if error.not_found:
                return False
            raise
        return True

    @property
    def _name(self) -> str:
        return _PREFIX + self._replica

    async def _leave(self) -> None:
        try:
            async with asyncio.timeout(_RELEASE_WITHIN):
                await self._cluster.delete(LEASES, self._name, self._namespace)
        except (ApiError, TimeoutError) as error:
            log.info("could not take the Lease away", error=str(error) or "no answer")

    # -- heard ------------------------------------------------------------------------------------------------------

    def _heard(self, name: Name) -> None:
        self._listened.set()
        found: _Seen | None = self._leases.get(name)
        if found is None:
            self._others.pop(name[1].removeprefix(_PREFIX), None)
            self._follow_the_living()
            return
        if not found.replica or found.replica == self._replica:
            return
        other = self._others.setdefault(found.replica, _Other(found.revision))
        if other.version != found.version:
            other.version, other.seen_at = found.version, time.monotonic()
        other.streams = found.streams
        if other.text != found.report:
            other.text = found.report
            self._take(found.replica, other)
        self._follow_the_living()

    def _announce(self, keys: frozenset[ObjectKey] | None) -> None:
        for callback in self._subscribers:
            callback(keys)

    def _take(self, name: str, other: _Other) -> None:
        before = other.report.objects
        try:
            other.report = decoded(other.text) if other.text else Report()
        except ValueError as error:
            log.warning("another replica tells what is not understood", replica=name, error=str(error))
            other.report = Report()
        now = other.report.objects
        self._announce(frozenset(key for key in before.keys() | now.keys() if before.get(key) != now.get(key)))

    def _follow_the_living(self) -> None:
        alive = frozenset(name for name, _ in self._living())
        if alive != self._alive:
            new = alive - self._alive
            self._alive = alive
            log.info("replicas", others=sorted(alive))
            self._announce(None)
            if new:
                # It has heard nothing yet.
                self._changed.set()


@dataclass(frozen=True, slots=True)
class _Seen:
    replica: str
    revision: str
    version: str
    report: str
    streams: int


def _lease(document: dict[str, Any]) -> _Seen:
    metadata = document["metadata"]
    labels, annotations = metadata.get("labels") or {}, metadata.get("annotations") or {}
    streams = annotations.get(STREAMS, "")
    return _Seen(
        document["spec"].get("holderIdentity", "") if LABEL in labels else "",
        labels.get(REVISION, ""),
        metadata["resourceVersion"],
        annotations.get(REPORT, ""),
        int(streams) if streams.isdecimal() else 0,
    )

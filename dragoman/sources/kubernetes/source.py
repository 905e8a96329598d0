"""Objects from an API server, followed: one reflector for each kind that is served, and for each object that is named
by others of a kind that is not read as a whole."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Iterator, Mapping
from functools import partial
from types import TracebackType
from typing import Any, Final, NamedTuple, Self

import structlog

from crds.kubernetes import EndpointSlice, Ingress, IngressClass, Namespace, Node, Pod, Service
from crds.meta import ObjectKey, ObjectMeta
from crds.problem import Problem
from crds.registry import ISTIO_KINDS, KINDS, Kind
from dragoman.kube import ApiError, ApiResource, Cluster
from dragoman.kube.resources import CUSTOM_RESOURCE_DEFINITIONS
from dragoman.sources import problems
from dragoman.sources.change import Batch, Report
from dragoman.sources.kubernetes.following import follow
from dragoman.sources.kubernetes.inventory import Inventory
from dragoman.sources.kubernetes.judgement import Object
from dragoman.sources.kubernetes.reflector import Delta, Reflector
from dragoman.sources.kubernetes.served import served

log = structlog.get_logger(__name__)

KINDS_READ: Final[tuple[Kind, ...]] = (
    Namespace,
    Node,
    Service,
    EndpointSlice,
    Pod,
    Ingress,
    IngressClass,
    *ISTIO_KINDS.values(),
)
"""Kinds that are read as a whole, where they are served."""

_SELECTORS: Final[Mapping[Kind, str]] = {
    # A pod that has ended takes no part in anything, and clusters keep many of them.
    Pod: "status.phase!=Succeeded,status.phase!=Failed",
}

_DISCOVER_EVERY: Final = 60.0
"""Seconds: what the watch of CustomResourceDefinitions does not tell, as where it is not allowed."""
_SETTLING: Final = (0.0, 0.2, 0.5, 1.0, 2.0, 4.0)
"""Seconds between looks at what is served after a definition changed: it is not in force at once."""
_RETRY_FIRST, _RETRY_LONGEST = 0.2, 15.0
_REFERENCES_WITHIN: Final = 2.0
"""Longest time that changes wait for what they refer to, in seconds."""


class Scope(NamedTuple):
    """What one reflector follows: all objects of a resource, those of a namespace, or one."""

    resource: ApiResource
    namespace: str = ""
    name: str = ""

    @property
    def path(self) -> str:
        return self.resource.path(self.namespace or None)

    @property
    def selector(self) -> str:
        return f"metadata.name={self.name}" if self.name else ""

    def __str__(self) -> str:
        of = "/".join(part for part in (self.namespace, self.name) if part)
        return f"{self.resource} {of}" if of else str(self.resource)


class Followed(NamedTuple):
    """A reflector at work."""

    kind: Kind
    reflector: Reflector
    task: asyncio.Task[None]


class KubernetesSource:
    """A source of objects, used as an asynchronous context manager.

    `settings` names the ConfigMap of the mesh settings, namespace and name; `revision` is ours, empty for a control
    plane that takes in the objects of every one. `synced` comes before `load`, and `load` before `watch`. What was
    read stays when the API server goes, and when it comes back only what really differs is a change.
    """

    def __init__(self, cluster: Cluster, settings: tuple[str, str], revision: str = "") -> None:
        self._cluster = cluster
        self._settings = ObjectKey("ConfigMap", *settings)
        self._inventory = Inventory(settings, revision)
        self._followed: dict[Scope, Followed] = {}
        self._served: Mapping[Kind, ApiResource] | None = None
        self._first = Batch()
        self._denied: dict[Scope, Problem] = {}
        self._untold: list[Report] = []
        self._news = asyncio.Event()
        self._definitions_changed = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._broken: BaseException | None = None

    async def __aenter__(self) -> Self:
        self._start(self._discover())
        self._start(self._follow_definitions())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        tasks = tuple(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    @property
    def objects(self) -> Mapping[ObjectKey, Object]:
        """The objects in force."""
        return self._inventory.objects

    @property
    def followed(self) -> Mapping[Scope, Followed]:
        """The reflectors at work."""
        return self._followed

    def reports(self) -> tuple[Report, ...]:
        """All that is to be said of the objects as they are, and of kinds that cannot be read."""
        denied = (Report("", 0, None, problem) for _, problem in sorted(self._denied.items(), key=_path))
        return (*denied, *self._inventory.reports())

    def reports_of(self, key: ObjectKey) -> tuple[Report, ...]:
        """What is to be said of one object as it is."""
        return self._inventory.reports_of(key)

    def metadata(self, key: ObjectKey) -> ObjectMeta | None:
        """What the newest version of an object says of itself, broken or not; None where there is none."""
        return self._inventory.metadata(key)

    def location(self, key: ObjectKey) -> str | None:
        """Where the author of an object finds it, if that is not what it is called."""
        return self._inventory.location(key)

    async def synced(self) -> Self:
        """Wait until everything has been read once, but for what the API server refuses."""
        first = Batch()
        while True:
            await self._until(lambda: self._served is not None and self._settled(self._followed))
            first = _joined(first, self._batch())
            if not self._follow_references():
                break
        self._first = first
        return self

    def load(self) -> Batch:
        """All objects, as they were when `synced` returned."""
        first, self._first = self._first, Batch()
        return first

    async def watch(self) -> AsyncIterator[Batch]:
        """Batches of changes, without end."""
        while True:
            await self._until(lambda: bool(self._inventory) or bool(self._untold))
            batch = self._batch()
            if new := self._follow_references():
                # A gateway's listener goes out with its certificate.
                try:
                    async with asyncio.timeout(_REFERENCES_WITHIN):
                        await self._until(partial(self._settled, new))
                except TimeoutError:
                    log.warning("not waited for any longer", objects=list(map(str, new)))
                batch = _joined(batch, self._batch())
            if batch:
                yield batch

    # -- what is followed -------------------------------------------------------------------------------------------

    async def _discover(self) -> None:
        pause = _RETRY_FIRST
        while True:
            for settling in _SETTLING:
                await asyncio.sleep(settling)
                try:
                    found = await served(self._cluster, (*KINDS_READ, *map(KINDS.__getitem__, _REFERRED_TO)))
                except ApiError as error:
                    log.warning("cannot ask what the API server serves", error=str(error))
                    await asyncio.sleep(pause * random.uniform(0.5, 1.5))  # noqa: S311 - jitter
                    pause = min(2 * pause, _RETRY_LONGEST)
                    self._definitions_changed.set()
                    break
                pause = _RETRY_FIRST
                first = self._served is None
                if self._serve(found) or first:
                    break
            try:
                async with asyncio.timeout(_DISCOVER_EVERY):
                    await self._definitions_changed.wait()
            except TimeoutError:
                pass
            self._definitions_changed.clear()

    async def _follow_definitions(self) -> None:
        def deliver(deltas: Iterable[Delta]) -> None:
            if [None for _ in deltas]:
                self._definitions_changed.set()

        path = CUSTOM_RESOURCE_DEFINITIONS.path()
        await follow(self._cluster, path, Reflector(), deliver, metadata_only=True)

    def _serve(self, found: Mapping[Kind, ApiResource]) -> bool:
        """Follow what is served now; whether that is anything else than before."""
        before, self._served = self._served or {}, found
        if before == found:
            return False
        wanted = {Scope(resource): kind for kind, resource in found.items() if kind in KINDS_READ}
        for scope in [scope for scope, each in self._followed.items() if each.kind in KINDS_READ]:
            if scope not in wanted:
                self._leave(scope, taken_over=self._followed[scope].kind in found)
        for scope, kind in wanted.items():
            self._follow(scope, kind)
        self._follow_references()
        return True

    def _follow_references(self) -> tuple[Scope, ...]:
        """Follow what objects in force refer to; what is new of it."""
        wanted = dict(self._referred_to())
        for scope in [scope for scope, each in self._followed.items() if each.kind.__name__ in _REFERRED_TO]:
            if scope not in wanted:
                self._leave(scope)
        new = tuple(scope for scope in wanted if scope not in self._followed)
        for scope in new:
            self._follow(scope, wanted[scope])
        return new

    def _referred_to(self) -> Iterator[tuple[Scope, Kind]]:
        served = self._served or {}
        for key in {self._settings, *self._inventory.referred_to}:
            kind = KINDS[key.kind]
            if kind in served:
                yield Scope(served[kind], key.namespace, key.name), kind

    def _follow(self, scope: Scope, kind: Kind) -> None:
        if scope in self._followed:
            return
        reflector = Reflector(selector=scope.selector or _SELECTORS.get(kind, ""))
        deliver = partial(self._take, kind)
        task = self._start(follow(self._cluster, scope.path, reflector, deliver, partial(self._turned, scope)))
        self._followed[scope] = Followed(kind, reflector, task)

    def _leave(self, scope: Scope, *, taken_over: bool = False) -> None:
        """Follow something no longer; its objects go, unless another reflector takes them over."""
        kind, reflector, task = self._followed.pop(scope)
        task.cancel()
        self._denied.pop(scope, None)
        if not taken_over:
            self._take(kind, reflector.nothing())

    # -- what is heard ----------------------------------------------------------------------------------------------

    def _take(self, kind: Kind, deltas: Iterable[Delta]) -> None:
        self._inventory.take(kind, deltas)
        if self._inventory:
            self._news.set()

    def _turned(self, scope: Scope) -> None:
        """A reflector has listed all there is, or an answer is over."""
        if (followed := self._followed.get(scope)) is None:
            return
        error = followed.reflector.error
        if error is None:
            if self._denied.pop(scope, None) is not None:
                log.info("can be read again", resource=str(scope))
        elif error.forbidden and scope not in self._denied:
            problem = self._denied[scope] = problems.denied(str(scope), str(error))
            self._untold.append(Report("", 0, None, problem, kept_last_good=followed.reflector.listed))
        elif error.not_found:
            self._definitions_changed.set()
        self._news.set()

    def _batch(self) -> Batch:
        batch = self._inventory.batch()
        untold, self._untold = self._untold, []
        return Batch(batch.changes, (*untold, *batch.reports), batch.judged)

    def _settled(self, scopes: Iterable[Scope]) -> bool:
        return all(self._followed[scope].reflector.settled for scope in scopes if scope in self._followed)

    async def _until(self, condition: Callable[[], bool]) -> None:
        while True:
            if self._broken is not None:
                raise self._broken
            if condition():
                return
            self._news.clear()
            await self._news.wait()

    def _start(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._over)
        return task

    def _over(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._broken = error
            self._news.set()


_REFERRED_TO: Final = ("Secret", "ConfigMap", "ClusterTrustBundle")


def _path(item: tuple[Scope, Problem]) -> str:
    return str(item[0])


def _joined(one: Batch, other: Batch) -> Batch:
    changes = sorted((*one.changes, *other.changes), key=lambda change: change.key)
    return Batch(tuple(changes), (*one.reports, *other.reports), one.judged | other.judged)

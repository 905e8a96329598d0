"""Objects from an API server, followed: one reflector for each kind that is served, and for each object that is named
by others of a kind that is not read as a whole."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Collection, Coroutine, Iterable, Iterator, Mapping
from functools import partial
from types import TracebackType
from typing import Any, Final, NamedTuple, Self

import structlog

from crds.kubernetes import (
    ClusterTrustBundle,
    ConfigMap,
    EndpointSlice,
    Ingress,
    IngressClass,
    Namespace,
    Node,
    Pod,
    Secret,
    Service,
)
from crds.meta import ObjectKey, ObjectMeta
from crds.problem import Problem
from crds.registry import ISTIO_GROUPS, ISTIO_KINDS, Kind
from dragoman.kube import ApiError, ApiResource, Cluster
from dragoman.kube.resources import CUSTOM_RESOURCE_DEFINITIONS
from dragoman.sources import problems
from dragoman.sources.change import Batch, Report
from dragoman.sources.kubernetes.following import follow
from dragoman.sources.kubernetes.inventory import Inventory
from dragoman.sources.kubernetes.judgement import Object
from dragoman.sources.kubernetes.reflector import Delta, Reflector
from dragoman.sources.kubernetes.scopes import Scope, narrowest
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

_REFERRED_TO: Final[tuple[Kind, ...]] = (Secret, ConfigMap, ClusterTrustBundle)
"""Kinds of which only those objects are read that others refer to."""

_SELECTORS: Final[Mapping[Kind, str]] = {
    # A pod that has ended takes no part in anything, and clusters keep many of them.
    Pod: "status.phase!=Succeeded,status.phase!=Failed",
    # Where more than the named ones are read, at least not these (Istio: pilot/pkg/credentials/kube).
    Secret: "type!=helm.sh/release.v1,type!=kubernetes.io/service-account-token",
}

_DISCOVER_EVERY: Final = 60.0
"""Seconds: what the watch of CustomResourceDefinitions does not tell, as where it is not allowed."""
_SETTLING: Final = (0.0, 0.2, 0.5, 1.0, 2.0, 4.0)
"""Seconds between looks at what is served after a definition changed: it is not in force at once."""
_RETRY_FIRST, _RETRY_LONGEST = 0.2, 15.0
_REFERENCES_WITHIN: Final = 2.0
"""Longest time that changes wait for what they refer to, in seconds."""


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
        self._definitions = Reflector()
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
                    found = await served(self._cluster, (*KINDS_READ, *_REFERRED_TO))
                except ApiError as error:
                    log.warning("cannot ask what the API server serves", error=str(error))
                    await asyncio.sleep(pause * random.uniform(0.5, 1.5))  # noqa: S311 - jitter
                    pause = min(2 * pause, _RETRY_LONGEST)
                    self._definitions_changed.set()
                    break
                pause = _RETRY_FIRST
                self._serve(found)
                if self._as_defined(found):
                    break
            try:
                async with asyncio.timeout(_DISCOVER_EVERY):
                    await self._definitions_changed.wait()
            except TimeoutError:
                pass
            self._definitions_changed.clear()

    async def _follow_definitions(self) -> None:
        def deliver(deltas: Iterable[Delta]) -> None:
            if [delta for delta in deltas if delta.name[1].partition(".")[2] in ISTIO_GROUPS]:
                self._definitions_changed.set()

        path = CUSTOM_RESOURCE_DEFINITIONS.path()
        await follow(self._cluster, path, self._definitions, deliver, metadata_only=True)

    def _as_defined(self, found: Mapping[Kind, ApiResource]) -> bool:
        """Whether just those kinds are served that are defined, as far as that is known."""
        return not self._definitions.listed or all(
            (kind in found) == (("", f"{kind.resource.plural}.{kind.resource.group}") in self._definitions)
            for kind in ISTIO_KINDS.values()
        )

    def _serve(self, found: Mapping[Kind, ApiResource]) -> None:
        """Follow what is served now."""
        before = self._served or {}
        # What is not told of while an API server starts is not gone.
        kept = {kind: resource for kind, resource in before.items() if kind not in found and not self._gone(resource)}
        self._served = {**found, **kept}
        if before != self._served:
            self._follow_just(
                {Scope(resource): kind for kind, resource in self._served.items() if kind in KINDS_READ}, KINDS_READ
            )
            self._follow_references()

    def _gone(self, resource: ApiResource) -> bool:
        """Whether a resource that is not served was taken away. Kubernetes' own are not."""
        return (
            self._definitions.listed and resource.group in ISTIO_GROUPS and ("", str(resource)) not in self._definitions
        )

    def _follow_references(self) -> tuple[Scope, ...]:
        """Follow what objects in force refer to; what is new of it."""
        return self._follow_just(dict(self._referred_to()), _REFERRED_TO)

    def _referred_to(self) -> Iterator[tuple[Scope, Kind]]:
        keys = {self._settings, *self._inventory.referred_to}
        for kind in _REFERRED_TO:
            if (resource := (self._served or {}).get(kind)) is not None:
                named = (key for key in keys if key.kind == kind.__name__)
                for scope in narrowest(resource, named):
                    yield scope, kind

    def _follow_just(self, wanted: Mapping[Scope, Kind], of: Collection[Kind]) -> tuple[Scope, ...]:
        """Follow these scopes and no others of some kinds; what is new of them."""
        left = [scope for scope, each in self._followed.items() if each.kind in of and scope not in wanted]
        new = {scope: _reflector(scope, kind) for scope, kind in wanted.items() if scope not in self._followed}
        for scope in left:
            kind = self._followed[scope].kind
            self._leave(scope, [(each, heir) for each, heir in new.items() if wanted[each] is kind])
        for scope, reflector in new.items():
            self._follow(scope, wanted[scope], reflector)
        return tuple(new)

    def _follow(self, scope: Scope, kind: Kind, reflector: Reflector) -> None:
        deliver = partial(self._take, kind)
        task = self._start(follow(self._cluster, scope.path, reflector, deliver, partial(self._turned, scope)))
        self._followed[scope] = Followed(kind, reflector, task)

    def _leave(self, scope: Scope, successors: Iterable[tuple[Scope, Reflector]]) -> None:
        """Follow something no longer; its objects go, unless another reflector takes them over."""
        kind, reflector, task = self._followed.pop(scope)
        task.cancel()
        self._denied.pop(scope, None)
        for name in reflector.names:
            heir = next((each for covers, each in successors if covers.covers(name)), None)
            if heir is not None:
                heir.adopt(name)
            else:
                self._take(kind, [Delta(name, None)])

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
        elif followed.reflector.denied and scope not in self._denied:
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


def _reflector(scope: Scope, kind: Kind) -> Reflector:
    return Reflector(selector=scope.selector or _SELECTORS.get(kind, ""))


def _path(item: tuple[Scope, Problem]) -> str:
    return str(item[0])


def _joined(one: Batch, other: Batch) -> Batch:
    changes = sorted((*one.changes, *other.changes), key=lambda change: change.key)
    return Batch(tuple(changes), (*one.reports, *other.reports), one.judged | other.judged)

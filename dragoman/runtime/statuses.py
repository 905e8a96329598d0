"""What is to be said on each object of Istio's API, and when that may have changed."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Protocol

import structlog

from crds.authorizationpolicy import AuthorizationPolicy
from crds.meta import IstioObject, ObjectKey, ObjectMeta
from crds.problem import Problem
from crds.registry import ISTIO_KINDS
from dragoman.engine import Graph
from dragoman.mesh.authorizers import asks, disagreement, obstacles, unaskable
from dragoman.mesh.conflicts import conflicts_of, rivals
from dragoman.mesh.inputs import AUTHORIZATION_POLICIES
from dragoman.mesh.settings import root_namespace
from dragoman.runtime.conditions import Facts
from dragoman.runtime.credential_problems import CredentialProblem
from dragoman.runtime.credentials import Credentials
from dragoman.runtime.programming import Programming
from dragoman.sources.change import Batch, Report

log = structlog.get_logger(__name__)


class Judge(Protocol):
    """What a source knows of objects beside those in force."""

    def reports(self) -> tuple[Report, ...]: ...
    def reports_of(self, key: ObjectKey) -> tuple[Report, ...]: ...
    def metadata(self, key: ObjectKey) -> ObjectMeta | None: ...


class Statuses:
    """The facts about objects, gathered when they are asked for."""

    def __init__(
        self,
        graph: Graph,
        objects: Mapping[ObjectKey, Any],
        source: Judge,
        programming: Programming,
        credentials: Credentials,
    ) -> None:
        self._graph = graph
        self._objects = objects
        self._source = source
        self._programming = programming
        self._credentials = credentials
        self._unresolved: dict[ObjectKey, tuple[CredentialProblem, ...]] = {}
        self._obstacles: dict[str, str] = {}
        self._subscribers: list[Callable[[frozenset[ObjectKey]], None]] = []
        programming.subscribe(self._tell)

    def subscribe(self, callback: Callable[[frozenset[ObjectKey]], None]) -> None:
        """Call back with the objects of which something else may be to be said, Ingresses too."""
        self._subscribers.append(callback)

    def __iter__(self) -> Iterator[ObjectKey]:
        """The keys of all objects there are, in force or broken."""
        broken = {report.key for report in self._source.reports() if report.key is not None}
        yield from sorted(
            key for key in {*self._objects, *broken} if key.kind in ISTIO_KINDS and self.metadata(key) is not None
        )

    def metadata(self, key: ObjectKey) -> ObjectMeta | None:
        """What the newest version of an object says of itself; None for one that is gone, or that nobody wrote: what
        an Ingress stands for is no object of its author's."""
        return self._source.metadata(key)

    def facts(self, key: ObjectKey) -> Facts | None:
        """What conditions follow from; None for an object that is gone."""
        metadata = self.metadata(key)
        if metadata is None:
            return None
        obj = self._objects.get(key)
        problems = tuple(report.problem for report in self._source.reports_of(key))
        if not isinstance(obj, IstioObject):
            return Facts(metadata.generation, None, problems)
        return Facts(
            metadata.generation,
            obj.metadata.generation,
            problems,
            conflicts_of(self._graph, obj),
            self._of_credentials().get(key, ()),
            self._unasked(obj) if isinstance(obj, AuthorizationPolicy) else None,
            self._programming.of(key),
        )

    def took(self, batches: Iterable[Batch]) -> None:
        """Changes are in force."""
        if self._subscribers:
            try:
                self._tell(self._concerned(batches))
                self.follow_credentials()
                self._follow_authorizers()
            except Exception:
                # Who is to write a status may not keep the control plane from its work.
                log.exception("what is to be said of changed objects is not known")

    def follow_credentials(self) -> None:
        """Something may be wrong with other credentials than before."""
        before, self._unresolved = self._unresolved, self._of_credentials()
        keys = before.keys() | self._unresolved.keys()
        self._tell(frozenset(key for key in keys if before.get(key) != self._unresolved.get(key)))

    def _follow_authorizers(self) -> None:
        """Others may be to be asked than before: it is a setting of the mesh, or a service, that decides this."""
        before, self._obstacles = self._obstacles, obstacles(self._graph)
        if before != self._obstacles:
            names = before.keys() | self._obstacles.keys()
            changed = {name for name in names if before.get(name) != self._obstacles.get(name)}
            self._tell(
                frozenset(
                    key
                    for key, obj in self._objects.items()
                    if isinstance(obj, AuthorizationPolicy)
                    and obj.spec.provider is not None
                    and obj.spec.provider.name in changed
                )
            )

    def _unasked(self, policy: AuthorizationPolicy) -> Problem | None:
        """Why nobody is asked for a policy."""
        if not asks(policy):
            return None
        found = unaskable(self._graph, policy)
        return found or disagreement(policy, self._near(policy), root_namespace(self._graph))

    def _near(self, policy: AuthorizationPolicy) -> Iterator[AuthorizationPolicy]:
        """The policies that may hold for the same workloads."""
        root = root_namespace(self._graph)
        if policy.namespace == root:
            yield from (obj for obj in self._objects.values() if isinstance(obj, AuthorizationPolicy))
            return
        for namespace in (root, policy.namespace):
            yield from AUTHORIZATION_POLICIES(self._graph, namespace)

    def _of_credentials(self) -> dict[ObjectKey, tuple[CredentialProblem, ...]]:
        found: defaultdict[ObjectKey, tuple[CredentialProblem, ...]] = defaultdict(tuple)
        for problem in self._credentials.problems:
            for key in problem.objects:
                if key.kind in ISTIO_KINDS:
                    found[key] += (problem,)
        return dict(found)

    def _concerned(self, batches: Iterable[Batch]) -> frozenset[ObjectKey]:
        found: set[ObjectKey] = set()
        for batch in batches:
            found.update(key for key in batch.judged if key.kind in ISTIO_KINDS or key.kind == "Ingress")
            for change in batch.changes:
                if change.key.kind in ISTIO_KINDS:
                    found.add(change.key)
                    for obj in (change.old, change.new):
                        if isinstance(obj, IstioObject):
                            found |= rivals(self._graph, obj)
                        if isinstance(obj, AuthorizationPolicy) and asks(obj):
                            found.update(near.key for near in self._near(obj) if asks(near))
        return frozenset(found)

    def _tell(self, keys: frozenset[ObjectKey]) -> None:
        for callback in self._subscribers if keys else ():
            callback(keys)

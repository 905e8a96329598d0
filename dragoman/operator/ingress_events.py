"""What an author of an Ingress should hear of, as Events on it: the leader's duty.

An Ingress has no conditions (Kubernetes: networking.k8s.io/v1, IngressStatus). What Envoys reject and which credentials
are missing is known of the Gateways and VirtualServices that it stands for (see `dragoman.mesh.ingress`); of one that
several Ingresses share hears the oldest. What was told before a replica became the leader it tells once more.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

from crds.kubernetes import Ingress, IngressClass, Service
from crds.meta import IstioObject, ObjectKey
from crds.problem import Problem
from dragoman.kube.resources import INGRESSES
from dragoman.mesh.ingress import MADE, Translation, translate
from dragoman.mesh.settings import mesh_config
from dragoman.operator.events import Events, Told, worth_telling
from dragoman.operator.replicas import Replicas
from dragoman.operator.report import version_of
from dragoman.operator.status_document import Status
from dragoman.runtime import ControlPlane
from dragoman.runtime.conditions import Condition, Facts, conditions, pooled
from dragoman.runtime.programmed import Programmed

_SETTLE: Final = 0.3
"""Seconds: changes come together."""


@dataclass(frozen=True, slots=True)
class _Said:
    """What is to be said of one Ingress."""

    uid: str
    problems: tuple[Problem, ...] = ()
    conditions: tuple[Condition, ...] = ()

    @property
    def as_status(self) -> Status:
        """As `worth_telling` compares it."""
        return {
            "conditions": [
                {
                    "type": each.type,
                    "status": each.status,
                    "reason": each.reason,
                    "observedGeneration": each.observed_generation,
                }
                for each in self.conditions
            ]
        }


class IngressEvents:
    """Follows `plane.statuses`, and what `replicas` tell, while `run` runs."""

    def __init__(self, plane: ControlPlane, replicas: Replicas, events: Events) -> None:
        self._plane = plane
        self._replicas = replicas
        self._events = events
        self._said: dict[ObjectKey, _Said] = {}
        self._doubtful: set[ObjectKey] | None = None
        """Ingresses, and what they stand for, of which something else may be to be said; None for all."""
        self._news = asyncio.Event()
        plane.statuses.subscribe(self._doubt)
        replicas.subscribe(self._doubt)

    async def run(self) -> None:
        """Tell until cancelled; begins with what there is."""
        self._said.clear()
        self._doubt(None)
        try:
            while True:
                await self._news.wait()
                await asyncio.sleep(_SETTLE)
                self._news.clear()
                doubtful, self._doubtful = self._doubtful, set()
                await self._look(doubtful)
        finally:
            self._doubt(None)

    def _doubt(self, keys: frozenset[ObjectKey] | None) -> None:
        if keys is None:
            self._doubtful = None
            self._news.set()
        elif self._doubtful is not None and (
            found := {key for key in keys if key.kind == "Ingress" or MADE in key.name}
        ):
            self._doubtful |= found
            self._news.set()

    async def _look(self, doubtful: set[ObjectKey] | None) -> None:
        found = self._translation()
        problems: defaultdict[ObjectKey, list[Problem]] = defaultdict(list)
        for ingress, problem in found.problems:
            problems[ingress.key].append(problem)
        made: defaultdict[ObjectKey, list[IstioObject]] = defaultdict(list)
        for obj, ingress in (*found.gateways, *found.virtual_services):
            made[ingress.key].append(obj)
        ours = {ingress.key: ingress for _, ingress in found.gateways}
        self._said = {key: said for key, said in self._said.items() if key in ours}
        for key, ingress in ours.items():
            if doubtful is None or key in doubtful or any(obj.key in doubtful for obj in made[key]):
                self._tell(ingress, tuple(problems[key]), made[key])
                await asyncio.sleep(0)

    def _translation(self) -> Translation:
        objects = self._plane.world.objects
        ingresses = [obj for obj in objects.values() if isinstance(obj, Ingress)]
        classes = {obj.name: obj for obj in objects.values() if isinstance(obj, IngressClass)} if ingresses else {}

        def service(namespace: str, name: str) -> Service | None:
            found = objects.get(ObjectKey("Service", namespace, name))
            return found if isinstance(found, Service) else None

        return translate(ingresses, classes, mesh_config(self._plane.graph), service)

    def _tell(self, ingress: Ingress, problems: tuple[Problem, ...], made: list[IstioObject]) -> None:
        metadata = ingress.metadata
        known = self._said.get(ingress.key)
        before = known if known is not None and known.uid == metadata.uid else _Said(metadata.uid)
        now = _Said(metadata.uid, problems, conditions(self._facts(ingress, made)))
        self._said[ingress.key] = now
        told = (*_of_problems(before.problems, problems), *worth_telling(before.as_status, now.conditions))
        self._events.tell_of(ingress.key, INGRESSES, metadata.uid, told)

    def _facts(self, ingress: Ingress, made: list[IstioObject]) -> Facts:
        keys = {obj.key for obj in made}
        credentials = (each for each in self._plane.credentials.problems if not keys.isdisjoint(each.objects))
        parts = [self._programmed(obj) for obj in made]
        generation = ingress.metadata.generation
        return Facts(generation, generation, credentials=tuple(credentials), programmed=_together(parts))

    def _programmed(self, obj: IstioObject) -> Programmed:
        others, _ = self._replicas.of(obj.key, version_of(obj.metadata))
        return pooled((self._plane.programming.of(obj.key), *others))


def _together(parts: Sequence[Programmed]) -> Programmed:
    """How far an Ingress has come: a proxy has it once it has all that it stands for."""
    used = [part for part in parts if part.proxies]
    return replace(
        pooled(parts),
        proxies=max((part.proxies for part in used), default=0),
        accepted=min((part.accepted for part in used), default=0),
    )


def _of_problems(before: tuple[Problem, ...], now: tuple[Problem, ...]) -> Iterator[Told]:
    """Fields without effect, each once."""
    for problem in now:
        if problem not in before:
            note = f"{problem.code} {problem.path}: {problem.message}" + (
                f" ({problem.remedy})" if problem.remedy else ""
            )
            yield Told("NoEffect", "Validate", note)

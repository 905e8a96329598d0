"""The objects that Kubernetes Ingresses stand for, kept in step with them (see `dragoman.mesh.ingress`)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Final

from crds.kubernetes import Ingress, IngressClass, Service
from crds.kubernetes.configmap import ConfigMap
from crds.meshconfig import CONFIG_KEY, CONFIG_MAP, MeshConfig, parse
from crds.meta import ObjectKey
from crds.problem import Problem
from dragoman.mesh.ingress import translate
from dragoman.sources.change import Batch, Change, Report

_SETTINGS: Final = ObjectKey("ConfigMap", *CONFIG_MAP)


class Ingresses:
    """Adds to batches what follows from their changes of Ingresses, and of what decides about them."""

    def __init__(self, place: Callable[[ObjectKey], tuple[str, int]] = lambda key: ("", 0)) -> None:
        """`place` is the file and line of an object."""
        self._place = place
        self._ingresses: dict[ObjectKey, Ingress] = {}
        self._classes: dict[str, IngressClass] = {}
        self._made: dict[ObjectKey, object] = {}
        self._made_from: dict[ObjectKey, ObjectKey] = {}
        self._problems: dict[ObjectKey, tuple[Problem, ...]] = {}

    def extended(self, batch: Batch, objects: Mapping[ObjectKey, object]) -> Batch:
        """A batch with the changes of what Ingresses stand for, and what there is to say of those that are ours.

        `objects` are those in force, with its changes.
        """
        if not [None for change in batch.changes if self._concerns(change)]:
            return batch
        before = self._problems
        changes = (*batch.changes, *self._made_anew(objects))
        told = {key for key, found in self._problems.items() if before.get(key) != found}
        return replace(
            batch,
            changes=tuple(sorted(changes, key=lambda change: change.key)),
            reports=(*batch.reports, *(report for key in sorted(told) for report in self.reports_of(key))),
            judged=batch.judged | told | (before.keys() - self._problems.keys()),
        )

    def reports(self) -> tuple[Report, ...]:
        """All that is to be said of Ingresses as they are."""
        return tuple(report for key in sorted(self._problems) for report in self.reports_of(key))

    def reports_of(self, key: ObjectKey) -> tuple[Report, ...]:
        """What is to be said of one."""
        return tuple(Report(*self._place(key), key, found) for found in self._problems.get(key, ()))

    def origin(self, key: ObjectKey) -> ObjectKey | None:
        """The Ingress that an object was made from; None for one that somebody wrote."""
        return self._made_from.get(key)

    def _concerns(self, change: Change) -> bool:
        """Note a change; whether what is made of Ingresses may be another thing now."""
        match change.new if change.new is not None else change.old:
            case Ingress() as ingress:
                if change.new is None:
                    self._ingresses.pop(change.key, None)
                else:
                    self._ingresses[change.key] = ingress
                return True
            case IngressClass() as of:
                if change.new is None:
                    self._classes.pop(change.key.name, None)
                else:
                    self._classes[change.key.name] = of
                return bool(self._ingresses)
            case Service():
                # Ports may be named.
                return (change.key.namespace, change.key.name) in self._backends()
            case ConfigMap():
                return change.key == _SETTINGS and bool(self._ingresses)
        return False

    def _backends(self) -> Iterator[tuple[str, str]]:
        for ingress in self._ingresses.values():
            for rule in ingress.spec.rules:
                for path in rule.http.paths if rule.http is not None else ():
                    if path.backend.service is not None:
                        yield ingress.namespace, path.backend.service.name

    def _made_anew(self, objects: Mapping[ObjectKey, object]) -> Iterator[Change]:
        def service(namespace: str, name: str) -> Service | None:
            found = objects.get(ObjectKey("Service", namespace, name))
            return found if isinstance(found, Service) else None

        found = translate(self._ingresses.values(), self._classes, _mesh(objects), service)
        made = (*found.gateways, *found.virtual_services)
        problems: defaultdict[ObjectKey, tuple[Problem, ...]] = defaultdict(tuple)
        for ingress, problem in found.problems:
            problems[ingress.key] += (problem,)
        self._problems = dict(problems)
        before, self._made = self._made, {obj.key: obj for obj, _ in made}
        self._made_from = {obj.key: ingress.key for obj, ingress in made}
        for key in before.keys() | self._made.keys():
            was, now = before.get(key), self._made.get(key)
            if was != now:
                yield Change(key, was, now)


def _mesh(objects: Mapping[ObjectKey, object]) -> MeshConfig:
    settings = objects.get(_SETTINGS)
    if not isinstance(settings, ConfigMap) or CONFIG_KEY not in settings.data:
        return MeshConfig()
    return parse(settings.data[CONFIG_KEY])

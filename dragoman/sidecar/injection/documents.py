"""Sidecars in documents as files have them: pods, what makes pods, and lists of either (istioctl: kube-inject)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from crds.codes import problem
from crds.problem import Invalid, Problem
from dragoman.sidecar.injection.inject import NotInjected, inject
from dragoman.sidecar.injection.settings import InjectionSettings, Json, NamespaceFacts
from dragoman.sidecar.injection.workload import Workload

TEMPLATES: Final[Mapping[str, tuple[str, ...]]] = {
    "Pod": (),
    "Deployment": ("spec", "template"),
    "StatefulSet": ("spec", "template"),
    "DaemonSet": ("spec", "template"),
    "ReplicaSet": ("spec", "template"),
    "ReplicationController": ("spec", "template"),
    "Job": ("spec", "template"),
    "CronJob": ("spec", "jobTemplate", "spec", "template"),
}
"""Where each kind has its pod."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one object of a document. `reason` says why its pod gets no sidecar, None if it has one."""

    kind: str
    namespace: str
    name: str
    reason: str | None = None
    problems: tuple[Problem, ...] = ()

    def __str__(self) -> str:
        return f"{self.kind} {self.namespace}/{self.name}"


def inject_document(document: Json, *, namespace: str, settings: InjectionSettings) -> tuple[Json, tuple[Outcome, ...]]:
    """The document with sidecars, and what became of each pod in it; what has no pods stays as it is.

    `namespace` is for objects that name none. Objects with errors stay as they are; their outcomes have the errors.
    """
    outcomes: list[Outcome] = []
    return _object(document, namespace, settings, outcomes), tuple(outcomes)


def _object(document: Json, namespace: str, settings: InjectionSettings, outcomes: list[Outcome]) -> Json:
    if not isinstance(document, Mapping):
        return document
    kind = str(document.get("kind"))
    items = document.get("items")
    if kind.endswith("List") and isinstance(items, list):
        return {**document, "items": [_object(item, namespace, settings, outcomes) for item in items]}
    if kind not in TEMPLATES:
        return document
    metadata = document.get("metadata") or {}
    outcome = Outcome(kind, metadata.get("namespace") or namespace, metadata.get("name") or "")
    try:
        changed, outcome = _injected(document, kind, outcome, settings)
    except Invalid as error:
        changed, outcome = document, Outcome(kind, outcome.namespace, outcome.name, "errors", error.problems)
    outcomes.append(outcome)
    return changed


def _injected(
    document: Mapping[str, Json], kind: str, outcome: Outcome, settings: InjectionSettings
) -> tuple[Json, Outcome]:
    path = TEMPLATES[kind]
    pod = _at(document, path)
    if not isinstance(pod, Mapping) or not isinstance(pod.get("spec"), Mapping):
        where = ".".join((*path, "spec"))
        raise Invalid((problem("DRG0605", where, "there is no pod here", "correct the document"),))
    workload = None if kind == "Pod" else Workload(outcome.name, kind, str(document.get("apiVersion", "")))
    made = inject(pod, namespace=NamespaceFacts(outcome.namespace), settings=settings, workload=workload)
    if isinstance(made, NotInjected):
        return document, Outcome(kind, outcome.namespace, outcome.name, made.reason)
    prefix = ".".join(path)
    warnings = tuple(_placed(each, prefix) for each in made.warnings)
    return _with(document, path, made.pod), Outcome(kind, outcome.namespace, outcome.name, None, warnings)


def _at(document: Json, path: tuple[str, ...]) -> Json:
    for key in path:
        document = document.get(key) if isinstance(document, Mapping) else None
    return document


def _with(document: Mapping[str, Json], path: tuple[str, ...], value: Json) -> Json:
    if not path:
        return value
    return {**document, path[0]: _with(document[path[0]], path[1:], value)}


def _placed(found: Problem, prefix: str) -> Problem:
    return problem(found.code, f"{prefix}.{found.path}" if prefix else found.path, found.message, found.remedy)

"""A pod with a sidecar, as a function of the pod (Istio: pkg/kube/inject, injectPod)."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from crds.codes import problem
from crds.problem import Invalid, Problem
from dragoman.mesh.proxy_id import ProxyType
from dragoman.sidecar.injection import credentials, metadata, metrics, probes, proxy_container, values
from dragoman.sidecar.injection.annotations import OVERRIDES, TEMPLATES
from dragoman.sidecar.injection.capture_container import INIT, VALIDATION, capture_container
from dragoman.sidecar.injection.decision import refusal
from dragoman.sidecar.injection.options import Options, options
from dragoman.sidecar.injection.overlay import merge
from dragoman.sidecar.injection.patch import difference
from dragoman.sidecar.injection.proxy_bootstrap import Pod, bootstrap_text
from dragoman.sidecar.injection.proxy_container import PROBERS, PROMETHEUS, PROXY
from dragoman.sidecar.injection.reversal import drain_path, original
from dragoman.sidecar.injection.settings import InjectionSettings, Json, NamespaceFacts
from dragoman.sidecar.injection.workload import Workload, workload_of
from dragoman.sidecar.status_listener import ApplicationMetrics, Probe

_BUILT_IN: Final = {"sidecar": ProxyType.SIDECAR, "gateway": ProxyType.ROUTER}
_AUTO: Final = "auto"
_OURS: Final = (PROXY, INIT, VALIDATION)


@dataclass(frozen=True, slots=True)
class Injected:
    """The pod with its sidecar, warnings for its author, and the way there as a JSON Patch (RFC 6902)."""

    pod: Mapping[str, Json]
    patch: list[dict[str, Json]]
    warnings: tuple[Problem, ...] = ()


@dataclass(frozen=True, slots=True)
class NotInjected:
    """The pod stays as it is, and why."""

    reason: str


@dataclass(slots=True)
class _Draft:
    """What comes together of the containers while they are gone through."""

    probes: list[Probe] = field(default_factory=list)
    originals: dict[str, Json] = field(default_factory=dict)
    warnings: list[Problem] = field(default_factory=list)


def inject(
    pod: Mapping[str, Json],
    *,
    namespace: NamespaceFacts,
    settings: InjectionSettings,
    workload: Workload | None = None,
) -> Injected | NotInjected:
    """The pod with a sidecar, or why it gets none. Nothing is changed in place.

    `workload` is what the pod is of, where its own document does not say: the template of a Deployment in a file. A pod
    that was injected before is injected anew from what it was, so that injecting twice is injecting once. Raises
    `crds.problem.Invalid` with everything that is wrong with the pod's annotations.
    """
    if (why := refusal(pod, namespace, settings)) is not None:
        return NotInjected(why)
    before = original(pod)
    meta, spec = before["metadata"], before["spec"]
    kind, templates = _templates(meta.get("annotations") or {}, settings)
    for template in templates:
        meta = merge(meta, settings.templates[template].get("metadata") or {})
    labels, annotations = dict(meta.get("labels") or {}), dict(meta.get("annotations") or {})
    chosen, warnings = options(labels, annotations, namespace.name, settings)
    owner = workload or workload_of(pod)
    labels = metadata.with_labels(labels, owner)

    author = {key: _named(spec, key, _OURS) for key in ("containers", "initContainers")}
    draft = _Draft(warnings=list(warnings))
    merging = kind is ProxyType.SIDECAR and chosen.merge_metrics and chosen.status_port > 0
    application: ApplicationMetrics | None = None
    if merging:
        draft.originals[PROMETHEUS] = metrics.written(annotations)
        application, found = metrics.application(metrics.written(annotations))
        draft.warnings += found
        annotations = metrics.merged(annotations, chosen.status_port)
    after = _applications(spec, kind, chosen, draft)
    containers = [container["name"] for container in after.get("containers") or ()]
    facts = Pod(
        kind=kind,
        workload=owner,
        labels=labels,
        ports=[_port(port) for container in after.get("containers") or () for port in container.get("ports") or ()],
        containers=containers,
        drain_path=drain_path(pod) or _drain_path(namespace, meta, owner, settings),
        drain_delay=proxy_container.drain_delay(kind, chosen),
        probes=tuple(draft.probes),
        metrics=application,
    )
    proxy = proxy_container.proxy_container(
        kind, bootstrap_text(facts, chosen, settings), facts.drain_path, chosen, settings, draft.originals
    )
    after = _with_ours(after, kind, proxy, chosen, settings)
    for template in templates:
        after = merge(after, settings.templates[template].get("spec") or {})
    after = _in_order(_with_authors(after, author, draft), chosen)
    added = dict(credentials.as_annotations(credentials.control_plane(chosen.discovery_address)))
    if any(author.values()):
        written = {key: items for key, items in author.items() if items}
        added[OVERRIDES] = json.dumps(written, separators=(",", ":"), sort_keys=True)
    annotations = metadata.with_added(annotations, added, after["containers"], PROXY, settings)
    annotations |= metadata.status(_without(spec, author), after, settings)
    result = {**before, "metadata": {**meta, "labels": labels, "annotations": annotations}, "spec": after}
    return Injected(result, difference(pod, result), tuple(draft.warnings))


def _templates(annotations: Mapping[str, str], settings: InjectionSettings) -> tuple[ProxyType, tuple[str, ...]]:
    """Which built-in template, and which overlays after it."""
    written = annotations.get(TEMPLATES)
    known = {*_BUILT_IN, *settings.templates}
    names = settings.default_templates if written is None else values.items(written)
    if (wrong := values.among(known)(",".join(names))) is not None:
        raise Invalid((problem("DRG0601", f"metadata.annotations[{TEMPLATES}]", wrong),))
    built_in = [name for name in names if name in _BUILT_IN]
    if len(built_in) != 1:
        remedy = f"name one of {' and '.join(_BUILT_IN)}"
        raise Invalid((problem("DRG0601", f"metadata.annotations[{TEMPLATES}]", "not exactly one proxy", remedy),))
    return _BUILT_IN[built_in[0]], tuple(name for name in names if name in settings.templates)


def _applications(spec: Mapping[str, Json], kind: ProxyType, chosen: Options, draft: _Draft) -> dict[str, Json]:
    """The pod's spec without what the author wrote of our containers, with the others' probes led to the sidecar."""
    after = dict(spec)
    for key in ("initContainers", "containers"):
        kept = []
        for index, container in enumerate(spec.get(key) or ()):
            if container.get("name") in _OURS:
                continue
            if kind is ProxyType.SIDECAR and chosen.rewrite_probes and chosen.status_port:
                made = probes.rewrite(container, chosen.status_port, f"spec.{key}[{index}]")
                draft.probes += made.probes
                draft.warnings += made.problems
                if made.originals:
                    draft.originals.setdefault(PROBERS, {}).update(made.originals)
                container = made.container
            kept.append(container)
        if key in after:
            after[key] = kept
    return after


def _with_ours(
    spec: Mapping[str, Json], kind: ProxyType, proxy: Json, chosen: Options, settings: InjectionSettings
) -> dict[str, Json]:
    after = dict(spec)
    place = "initContainers" if "restartPolicy" in proxy else "containers"
    after[place] = [*(after.get(place) or ()), proxy]
    if kind is ProxyType.SIDECAR and (capture := capture_container(chosen, settings)) is not None:
        after["initContainers"] = [*(after.get("initContainers") or ()), capture]
    ours = proxy_container.volumes(chosen, settings)
    names = {volume["name"] for volume in ours}
    after["volumes"] = [*(volume for volume in spec.get("volumes") or () if volume.get("name") not in names), *ours]
    if settings.image_pull_secrets:
        known = [*(spec.get("imagePullSecrets") or ())]
        new = [{"name": name} for name in settings.image_pull_secrets if {"name": name} not in known]
        after["imagePullSecrets"] = [*known, *new]
    return after


def _with_authors(spec: Mapping[str, Json], author: Mapping[str, list[Json]], draft: _Draft) -> dict[str, Json]:
    """What the author wrote of our containers goes over what we made of them, wherever those stand."""
    after = dict(spec)
    for written in (*author["containers"], *author["initContainers"]):
        overlay = {key: value for key, value in written.items() if key != "image" or value != _AUTO}
        if overlay["name"] == PROXY and "args" in overlay:
            path = f"spec.containers[{PROXY}].args"
            draft.warnings.append(
                problem("DRG0604", path, "these take the place of the bootstrap, which is an argument")
            )
        for key in ("containers", "initContainers"):
            after[key] = [
                merge(container, overlay) if container.get("name") == overlay["name"] else container
                for container in after.get(key) or ()
            ]
    return {key: value for key, value in after.items() if value or key not in ("containers", "initContainers")}


def _in_order(spec: dict[str, Json], chosen: Options) -> dict[str, Json]:
    """Who starts before whom (Istio: pkg/kube/inject, reorderPod).

    A native sidecar starts before all other init containers, so that they are in the mesh; one that is no init
    container cannot carry their traffic yet, so capture comes after them.
    """
    containers, init = spec["containers"], spec.get("initContainers") or []
    first = chosen.config.hold_application_until_proxy_starts
    containers = sorted(containers, key=lambda each: (each.get("name") == PROXY) is not first)
    if any(each.get("name") == PROXY for each in init):
        ranks = {INIT: 0, VALIDATION: 0, PROXY: 1}
        init = sorted(init, key=lambda each: ranks.get(each.get("name"), 2))
    else:
        ranks = {VALIDATION: 0, INIT: 2}
        init = sorted(init, key=lambda each: ranks.get(each.get("name"), 1))
    return {**spec, "containers": containers, **({"initContainers": init} if init else {})}


def _named(spec: Mapping[str, Json], key: str, names: tuple[str, ...]) -> list[Json]:
    return [container for container in spec.get(key) or () if container.get("name") in names]


def _without(spec: Mapping[str, Json], author: Mapping[str, list[Json]]) -> dict[str, Json]:
    """The spec without the containers that are kept as overrides: they count as added."""
    return {
        key: [item for item in value if item not in author[key]] if key in author else value
        for key, value in spec.items()
    }


def _port(port: Mapping[str, Json]) -> dict[str, Json]:
    return {key: port[key] for key in ("name", "containerPort", "protocol") if key in port}


def _drain_path(
    namespace: NamespaceFacts, meta: Mapping[str, Json], owner: Workload, settings: InjectionSettings
) -> str:
    """Where the kubelet, which can only GET and proves nothing, asks to drain: a path that others cannot guess."""
    name = meta.get("name") or meta.get("generateName") or owner.name
    key = hmac.new(settings.drain_secret, f"{namespace.name}/{name}".encode(), hashlib.sha256).hexdigest()
    return f"/drain/{key[:32]}"

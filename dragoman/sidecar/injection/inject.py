"""A pod with a sidecar, as a function of the pod (Istio: pkg/kube/inject, injectPod)."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from crds.codes import problem
from crds.problem import Invalid, Problem
from dragoman.mesh.captured_by import CAPTURED_BY
from dragoman.mesh.proxy_id import ProxyType
from dragoman.sidecar.injection import assembly, credentials, metadata, metrics, proxy_container, values
from dragoman.sidecar.injection.annotations import OVERRIDES, TEMPLATES
from dragoman.sidecar.injection.assembly import Parts
from dragoman.sidecar.injection.decision import refusal
from dragoman.sidecar.injection.options import PROMETHEUS_PORT, Options, options
from dragoman.sidecar.injection.overlay import merge
from dragoman.sidecar.injection.patch import difference
from dragoman.sidecar.injection.proxy_bootstrap import Pod, bootstrap_text
from dragoman.sidecar.injection.proxy_container import PROBERS, PROMETHEUS, PROXY
from dragoman.sidecar.injection.reversal import drain_path, original
from dragoman.sidecar.injection.settings import InjectionSettings, Json, NamespaceFacts
from dragoman.sidecar.injection.workload import Workload, workload_of

_BUILT_IN: Final = {"sidecar": ProxyType.SIDECAR, "gateway": ProxyType.ROUTER}


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


def inject(
    pod: Mapping[str, Json],
    *,
    namespace: NamespaceFacts,
    settings: InjectionSettings,
    workload: Workload | None = None,
    nonce: str = "",
) -> Injected | NotInjected:
    """The pod with a sidecar, or why it gets none. Nothing is changed in place.

    `workload` is what the pod is of, where its own document does not say: the template of a Deployment in a file. With
    a `nonce` the path that drains this pod is another one than whoever else asks about such a pod is told. A pod that
    was injected before is injected anew from what it was, so that injecting twice is injecting once. Raises
    `crds.problem.Invalid` with everything that is wrong with the pod's annotations.
    """
    if (why := refusal(pod, namespace, settings)) is not None:
        return NotInjected(why)
    before = original(pod)
    meta, spec = before["metadata"], before["spec"]
    kind, templates = _templates(meta.get("annotations") or {}, settings)
    for template in templates:
        meta = merge(meta, template.get("metadata") or {})
    annotations = dict(meta.get("annotations") or {})
    chosen, warnings = options(meta.get("labels") or {}, annotations, namespace.name, settings)
    owner = workload or workload_of(pod)
    labels = metadata.with_labels(meta.get("labels") or {}, kind, owner)
    parts = assembly.taken_apart(spec, kind, chosen)
    scraped = metrics.written(annotations)
    merging = chosen.merge_metrics and chosen.status_port > 0
    proxy_ports = (chosen.status_port, PROMETHEUS_PORT)
    application, unscraped = metrics.application(scraped, proxy_ports) if merging else (None, ())
    apps = parts.spec.get("containers") or ()
    facts = Pod(
        kind=kind,
        workload=owner,
        labels=labels,
        ports=[_port(port) for container in apps for port in container.get("ports") or ()],
        containers=[container["name"] for container in apps],
        drain_path=drain_path(pod) or _drain_path(namespace, meta, owner, settings, nonce),
        drain_delay=proxy_container.drain_delay(kind, chosen),
        probes=parts.probes,
        metrics=application,
    )
    kept = ({PROMETHEUS: scraped} if merging else {}) | ({PROBERS: parts.originals} if parts.originals else {})
    proxy = proxy_container.proxy_container(
        kind, bootstrap_text(facts, chosen, settings), facts.drain_path, chosen, settings, kept
    )
    after = assembly.with_ours(parts.spec, kind, proxy, chosen, settings)
    for template in templates:
        after = merge(after, template.get("spec") or {})
    after = assembly.in_order(assembly.with_authors(after, parts.author), chosen)
    if merging:
        annotations = metrics.merged(annotations, chosen.status_port)
    ours = _added(kind, chosen, parts)
    annotations = metadata.with_added(annotations, ours, after["containers"], PROXY, settings)
    annotations |= metadata.status(assembly.without_authors(spec, parts.author), after, settings)
    result = {**before, "metadata": {**meta, "labels": labels, "annotations": annotations}, "spec": after}
    return Injected(result, difference(pod, result), (*warnings, *unscraped, *parts.problems))


def _added(kind: ProxyType, chosen: Options, parts: Parts) -> dict[str, str]:
    """The annotations that a second injection, the volumes of this one, and the control plane need."""
    added = dict(credentials.as_annotations(credentials.control_plane(chosen.discovery_address)))
    if written := {key: containers for key, containers in parts.author.items() if containers}:
        added[OVERRIDES] = json.dumps(written, separators=(",", ":"), sort_keys=True)
    if kind is ProxyType.SIDECAR:
        added[CAPTURED_BY] = chosen.interception
    return added


def _templates(
    annotations: Mapping[str, str], settings: InjectionSettings
) -> tuple[ProxyType, tuple[Mapping[str, Json], ...]]:
    """Which built-in template, and the overlays after it."""
    written = annotations.get(TEMPLATES)
    known = {*_BUILT_IN, *settings.templates}
    names = settings.default_templates if written is None else values.items(written)
    if (wrong := values.among(known)(",".join(names))) is not None:
        raise Invalid((problem("DRG0601", f"metadata.annotations[{TEMPLATES}]", wrong),))
    built_in = [name for name in names if name in _BUILT_IN]
    if len(built_in) != 1:
        remedy = f"name one of {' and '.join(_BUILT_IN)}"
        raise Invalid((problem("DRG0601", f"metadata.annotations[{TEMPLATES}]", "not exactly one proxy", remedy),))
    return _BUILT_IN[built_in[0]], tuple(settings.templates[name] for name in names if name in settings.templates)


def _port(port: Mapping[str, Json]) -> dict[str, Json]:
    return {key: port[key] for key in ("name", "containerPort", "protocol") if key in port}


def _drain_path(
    namespace: NamespaceFacts, meta: Mapping[str, Json], owner: Workload, settings: InjectionSettings, nonce: str
) -> str:
    """Where the kubelet, which can only GET and proves nothing, asks to drain: a path that others cannot guess."""
    name = meta.get("name") or meta.get("generateName") or owner.name
    whose = "/".join(filter(None, (namespace.name, name, nonce)))
    key = hmac.new(settings.drain_secret, whose.encode(), hashlib.sha256).hexdigest()
    return f"/drain/{key[:32]}"

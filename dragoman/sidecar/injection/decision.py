"""Whether a pod gets a sidecar (Istio: pkg/kube/inject, injectRequired, and the selectors of its webhooks)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from crds.labelselector import LabelSelector
from dragoman.sidecar.injection.settings import InjectionSettings, Json, NamespaceFacts

INJECT: Final = "sidecar.istio.io/inject"
REVISION: Final = "istio.io/rev"
NAMESPACE_SWITCH: Final = "istio-injection"
DEFAULT_REVISION: Final = "default"


def refusal(pod: Mapping[str, Json], namespace: NamespaceFacts, settings: InjectionSettings) -> str | None:
    """Why this pod gets no sidecar, None if it gets one."""
    metadata = pod.get("metadata") or {}
    labels = metadata.get("labels") or {}
    if (pod.get("spec") or {}).get("hostNetwork"):
        return "hostNetwork: capture would change the network of the node"
    if namespace.name in settings.ignored_namespaces:
        return f"namespace {namespace.name} is left out"
    chosen = wanted(labels, metadata.get("annotations") or {})
    if namespace.labels is not None and (why := _unselected(labels, namespace.labels, settings)):
        return why
    return _by_policy(chosen, labels, settings)


def wanted(labels: Mapping[str, str], annotations: Mapping[str, str]) -> bool | None:
    """What the pod itself says, the label before the annotation; None when it says nothing that is understood."""
    written = labels.get(INJECT, annotations.get(INJECT, ""))
    return {"true": True, "false": False}.get(written)


def _unselected(labels: Mapping[str, str], of_namespace: Mapping[str, str], settings: InjectionSettings) -> str | None:
    """Why no webhook would have been called: the namespace's labels go before the pod's."""
    if labels.get(INJECT) == "false":
        return f"label {INJECT} is false"
    ours = settings.tags | {settings.revision}
    switch, revision = of_namespace.get(NAMESPACE_SWITCH), of_namespace.get(REVISION)
    if switch is not None:
        if switch != "enabled":
            return f"namespace label {NAMESPACE_SWITCH} is {switch}"
        return None if DEFAULT_REVISION in ours else f"{NAMESPACE_SWITCH} means the revision {DEFAULT_REVISION}"
    revision = revision if revision is not None else labels.get(REVISION)
    if revision is not None:
        return None if revision in ours else f"{REVISION} is {revision}, which is not this control plane's"
    if labels.get(INJECT) == "true":
        return None if DEFAULT_REVISION in ours else f"label {INJECT} means the revision {DEFAULT_REVISION}"
    return f"neither the namespace nor the pod asks: label {NAMESPACE_SWITCH}, {REVISION} or {INJECT}"


def _selects(selector: LabelSelector, labels: Mapping[str, str]) -> bool:
    """Whether it selects the pod; an empty one, which elsewhere selects everything, selects nothing here."""
    return bool(selector.match_labels or selector.match_expressions) and selector.matches(labels)


def _by_policy(chosen: bool | None, labels: Mapping[str, str], settings: InjectionSettings) -> str | None:
    if chosen is None:
        if any(_selects(selector, labels) for selector in settings.never_inject):
            return "a selector of neverInjectSelector matches"
        if any(_selects(selector, labels) for selector in settings.always_inject):
            return None
        return None if settings.policy == "enabled" else "policy: disabled"
    return None if chosen else f"{INJECT} is false"

"""A pod as it was before it was injected, so that injecting twice is injecting once.

The API server may show a pod to a webhook a second time, and files that were injected may come again (Kubernetes:
"Dynamic Admission Control", reinvocation).
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Final

from dragoman.mesh.captured_by import CAPTURED_BY
from dragoman.sidecar.injection import metrics, probes
from dragoman.sidecar.injection.annotations import OVERRIDES, STATUS
from dragoman.sidecar.injection.proxy_container import PROBERS, PROMETHEUS, PROXY
from dragoman.sidecar.injection.settings import Json

LISTS: Final = ("initContainers", "containers", "volumes", "imagePullSecrets")
"""The parts of a pod that the status names additions to (Istio: SidecarInjectionStatus)."""

_DRAIN_PATH: Final = re.compile(r"/drain/[0-9a-f]{32}")


def original(pod: Mapping[str, Json]) -> dict[str, Json]:
    """The pod as its author wrote it, as far as that can be told; one that was never injected is as it is."""
    metadata, spec = dict(pod.get("metadata") or {}), dict(pod.get("spec") or {})
    annotations = dict(metadata.get("annotations") or {})
    status = _document(annotations.pop(STATUS, ""))
    if not status:
        return {**pod, "metadata": metadata, "spec": spec}
    kept = _kept(spec)
    overrides = _document(annotations.pop(OVERRIDES, ""))
    annotations.pop(CAPTURED_BY, None)
    for key in LISTS:
        if key not in spec:
            continue
        added = set(status.get(key) or ())
        rest = [item for item in spec[key] if item.get("name") not in added]
        rest += overrides.get(key) or ()
        spec[key] = rest
        if not rest:
            del spec[key]
    for key in ("containers", "initContainers"):
        if key in spec:
            spec[key] = [probes.restore(container, kept[PROBERS]) for container in spec[key]]
    if kept[PROMETHEUS] is not None:
        annotations = metrics.restored(annotations, kept[PROMETHEUS])
    metadata["annotations"] = annotations
    return {**pod, "metadata": metadata, "spec": spec}


def _kept(spec: Mapping[str, Json]) -> Mapping[str, Json]:
    """What the variables of the sidecar keep of the original."""
    written = {variable.get("name"): variable.get("value", "") for variable in _proxy(spec).get("env") or ()}
    return {
        PROBERS: _document(written.get(PROBERS, "")),
        PROMETHEUS: _document(written[PROMETHEUS]) if PROMETHEUS in written else None,
    }


def drain_path(pod: Mapping[str, Json]) -> str | None:
    """The path that the pod's sidecar was given to drain, None for a pod that was never injected."""
    if STATUS not in ((pod.get("metadata") or {}).get("annotations") or {}):
        return None
    hook = (_proxy(pod.get("spec") or {}).get("lifecycle") or {}).get("preStop") or {}
    path: str = (hook.get("httpGet") or {}).get("path", "")
    return path if _DRAIN_PATH.fullmatch(path) else None


def _proxy(spec: Mapping[str, Json]) -> Mapping[str, Json]:
    places = (*(spec.get("containers") or ()), *(spec.get("initContainers") or ()))
    return next((container for container in places if container.get("name") == PROXY), {})


def _document(text: str) -> Mapping[str, Json]:
    try:
        found = json.loads(text)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}

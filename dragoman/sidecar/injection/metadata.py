"""Labels and annotations that injection adds, under Istio's names; what the author wrote stays."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Final

from dragoman.mesh.proxy_id import ProxyType
from dragoman.sidecar.injection.annotations import STATUS
from dragoman.sidecar.injection.reversal import LISTS
from dragoman.sidecar.injection.settings import InjectionSettings, Json
from dragoman.sidecar.injection.workload import Workload

_NAME: Final = "service.istio.io/canonical-name"
_REVISION: Final = "service.istio.io/canonical-revision"
_TLS_MODE: Final = "security.istio.io/tlsMode"
_DEFAULT_CONTAINERS: Final = ("kubectl.kubernetes.io/default-container", "kubectl.kubernetes.io/default-logs-container")
_LABEL_LENGTH: Final = 63


def with_labels(written: Mapping[str, str], kind: ProxyType, workload: Workload) -> dict[str, str]:
    """The pod's labels (Istio: pkg/model/label, CanonicalServiceName and …Revision).

    A gateway is none of those whom clients of the mesh greet with mutual TLS by themselves: its listeners are what its
    Gateways say.
    """
    canonical = written.get("app.kubernetes.io/name") or written.get("app") or workload.name
    revision = written.get("app.kubernetes.io/version") or written.get("version") or "latest"
    added = {
        _TLS_MODE: "istio" if kind is ProxyType.SIDECAR else "",
        _NAME: canonical[:_LABEL_LENGTH].rstrip("-_."),
        _REVISION: revision,
    }
    return {**{key: value for key, value in added.items() if value}, **written}


def with_added(
    written: Mapping[str, str],
    added: Mapping[str, str],
    containers: list[Json],
    sidecar: str,
    settings: InjectionSettings,
) -> dict[str, str]:
    """The pod's annotations, but the status; those of `added` are ours, win, and come last."""
    first = next((container["name"] for container in containers if container.get("name") != sidecar), None)
    defaults = dict.fromkeys(_DEFAULT_CONTAINERS, first) if first is not None else {}
    ours = {**added, "istio.io/rev": settings.revision}
    others = {**settings.injected_annotations, **defaults, **written}
    return {**{key: value for key, value in others.items() if key not in ours}, **ours}


def status(before: Mapping[str, Json], after: Mapping[str, Json], settings: InjectionSettings) -> dict[str, str]:
    """The annotation that names what was added to which part of the pod (Istio: SidecarInjectionStatus)."""
    added = {}
    for key in LISTS:
        known = {item.get("name") for item in before.get(key) or ()}
        added[key] = [item["name"] for item in after.get(key) or () if item.get("name") not in known] or None
    return {STATUS: json.dumps({**added, "revision": settings.revision}, separators=(",", ":"))}

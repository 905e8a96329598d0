"""Which workload a pod is of, as far as its own document tells (Istio: pkg/kube/util, GetDeployMetaFromPod)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from dragoman.sidecar.injection.settings import Json

_SCHEDULED: Final = re.compile(r"-\d{8,10}\Z")  # the minute that a CronJob adds to the names of its Jobs
_HASH: Final = "pod-template-hash"


@dataclass(frozen=True, slots=True)
class Workload:
    """Kind, API version and name of what owns a pod in the end; a pod that nothing owns is its own workload."""

    name: str
    kind: str = "Pod"
    api_version: str = "v1"


def workload_of(pod: Mapping[str, Json]) -> Workload:
    """The workload of a pod as the API server shows it to a webhook, where it often has no name yet."""
    metadata = pod.get("metadata") or {}
    name = metadata.get("name") or metadata.get("generateName", "").rstrip("-")
    owners = (owner for owner in metadata.get("ownerReferences") or () if owner.get("controller"))
    if (owner := next(owners, None)) is None:
        return Workload(name)
    made = Workload(owner.get("name", ""), owner.get("kind", ""), owner.get("apiVersion", ""))
    template = (metadata.get("labels") or {}).get(_HASH, "")
    if made.kind == "ReplicaSet" and template and made.name.endswith(f"-{template}"):
        return Workload(made.name.removesuffix(f"-{template}"), "Deployment", made.api_version)
    if made.kind == "Job" and _SCHEDULED.search(made.name):
        return Workload(_SCHEDULED.sub("", made.name), "CronJob", made.api_version)
    return made

"""Which identity a pod runs as."""

from __future__ import annotations

from typing import NamedTuple

from dragoman.engine import Graph, query
from dragoman.mesh.settings import mesh_config
from dragoman.mesh.workloads import workload


class PodIdentity(NamedTuple):
    """What a pod's certificate says: trust domain, namespace and service account, and the workload's name."""

    trust_domain: str
    namespace: str
    service_account: str
    workload: str


@query
def identity_of(g: Graph, namespace: str, pod: str) -> PodIdentity | None:
    """The identity of a pod, None for a pod that does not exist."""
    found = workload(g, namespace, pod)
    if found is None:
        return None
    return PodIdentity(mesh_config(g).trust_domain, namespace, found.service_account, found.name)

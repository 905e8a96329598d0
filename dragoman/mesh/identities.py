"""Which identity a pod runs as."""

from __future__ import annotations

from typing import NamedTuple

from dragoman.engine import Graph, query
from dragoman.mesh.inputs import PODS
from dragoman.mesh.settings import mesh_config
from dragoman.mesh.workloads import CLUSTER_ID, workload


class PodIdentity(NamedTuple):
    """What a pod's certificate says: whom policies know it as, and how metrics describe it. Labels may be empty."""

    trust_domain: str
    namespace: str
    service_account: str
    workload: str
    app: str
    version: str
    canonical_service: str
    canonical_revision: str
    cluster: str
    uid: str = ""
    """Kubernetes' name of this very pod, which a later one of the same name has not."""


@query
def identity_of(g: Graph, namespace: str, pod: str) -> PodIdentity | None:
    """The identity of a pod, None for a pod that does not exist."""
    found = workload(g, namespace, pod)
    written = PODS(g, (namespace, pod))
    if found is None or written is None:
        return None
    return PodIdentity(
        trust_domain=mesh_config(g).trust_domain,
        namespace=namespace,
        service_account=found.service_account,
        workload=found.name,
        app=found.label("app"),
        version=found.label("version"),
        canonical_service=found.canonical_name,
        canonical_revision=found.canonical_revision,
        cluster=CLUSTER_ID,
        uid=written.metadata.uid,
    )

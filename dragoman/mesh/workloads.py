"""Workloads: pods as the mesh sees them.

Names follow Istio (pkg/kube/util: GetDeployMetaFromPod; pkg/model/label: CanonicalServiceName): a pod of a ReplicaSet
is of its Deployment, and the canonical service is the app's name unless a label says otherwise.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass

from crds.kubernetes.pod import Pod
from dragoman.engine import Graph, consult, query
from dragoman.mesh.inputs import NODES, PODS, PODS_BY_LABEL
from dragoman.mesh.labels import Labels, labels_of

CLUSTER_ID = "Kubernetes"
"""Name of the cluster in telemetry, Istio's default for a single one."""

TLS_MODE_LABEL = "security.istio.io/tlsMode"
"""`istio` on pods that speak the mesh's mutual TLS: set by the injector (Istio API: labels)."""


class Interception(enum.StrEnum):
    """How traffic reaches the sidecar (Istio API: annotation `sidecar.istio.io/interceptionMode`)."""

    REDIRECT = "REDIRECT"
    TPROXY = "TPROXY"
    NONE = "NONE"
    """Nothing captures traffic: the proxy binds its listeners itself and applications call its HTTP proxy."""


@dataclass(frozen=True, slots=True)
class Locality:
    region: str = ""
    zone: str = ""
    subzone: str = ""


@dataclass(frozen=True, slots=True)
class Workload:
    """One pod. `ports` are its named container ports; `name` is that of the Deployment or other owner."""

    namespace: str
    pod: str
    name: str
    labels: Labels
    annotations: Labels
    service_account: str
    addresses: tuple[str, ...]
    ports: tuple[tuple[str, int], ...]
    node: str
    ready: bool
    terminating: bool
    speaks_mtls: bool
    uid: str

    def label(self, key: str) -> str:
        return dict(self.labels).get(key, "")

    @property
    def canonical_name(self) -> str:
        return (
            self.label("service.istio.io/canonical-name")
            or self.label("app.kubernetes.io/name")
            or self.label("app")
            or self.name
        )

    @property
    def canonical_revision(self) -> str:
        return (
            self.label("service.istio.io/canonical-revision")
            or self.label("app.kubernetes.io/version")
            or self.label("version")
            or "latest"
        )


@query
def workload(g: Graph, namespace: str, pod: str) -> Workload | None:
    """The workload of a pod, None for an unknown pod or one without an address."""
    written = PODS(g, (namespace, pod))
    if written is None:
        return None
    status = written.status
    listed = tuple(entry.ip for entry in status.pod_ips if entry.ip) or ((status.pod_ip,) if status.pod_ip else ())
    if not listed or status.phase in ("Succeeded", "Failed"):
        return None
    labels = labels_of(written.metadata.labels)
    ports = {
        (port.name, port.container_port)
        for container in written.spec.containers
        for port in container.ports
        if port.name
    }
    return Workload(
        namespace=namespace,
        pod=pod,
        name=_owner(written),
        labels=labels,
        annotations=labels_of(written.metadata.annotations),
        service_account=written.spec.service_account_name or "default",
        addresses=listed,
        ports=tuple(sorted(ports)),
        node=written.spec.node_name or "",
        ready=_ready(written),
        terminating=written.metadata.deletion_timestamp is not None,
        speaks_mtls=(TLS_MODE_LABEL, "istio") in labels,
        uid=written.metadata.uid,
    )


def _ready(pod: Pod) -> bool:
    """Kubernetes' Ready condition; a pod written by hand without a status for it is ready."""
    return all(condition.status == "True" for condition in pod.status.conditions if condition.type == "Ready")


def _owner(pod: Pod) -> str:
    owner = next((o for o in pod.metadata.owner_references if o.controller), None)
    if owner is None:
        return pod.metadata.name
    template = (pod.metadata.labels or {}).get("pod-template-hash")
    if owner.kind == "ReplicaSet" and template and owner.name.endswith(f"-{template}"):
        return owner.name[: -len(template) - 1]
    return owner.name


@query
def workloads(g: Graph, namespace: str, selector: Labels) -> tuple[Workload, ...]:
    """Workloads of a namespace whose labels include `selector`, which must not be empty, by pod name.

    Only pods with the first of the selector's labels are looked at: a new pod costs the services that may select it.
    """
    found: list[Workload] = []
    for pod in PODS_BY_LABEL(g, (namespace, *min(selector))):
        candidate = consult(g, workload, namespace, pod)
        if candidate is not None and selector <= candidate.labels:
            # Read again as a part of the value: pods that were only looked at are no origin of it.
            workload(g, namespace, pod)
            found.append(candidate)
    return tuple(found)


@query
def node_locality(g: Graph, node: str) -> Locality:
    """Region, zone and subzone, from a node's well-known labels and Istio's `topology.istio.io/subzone`."""
    found = NODES(g, node)
    labels = (found.metadata.labels or {}) if found is not None else {}
    return Locality(
        labels.get("topology.kubernetes.io/region", ""),
        labels.get("topology.kubernetes.io/zone", ""),
        labels.get("topology.istio.io/subzone", ""),
    )

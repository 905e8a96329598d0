"""The Kubernetes objects of pods and services, as a cluster would have them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

CREATED = "2026-01-01T00:00:00Z"
DOMAIN = "cluster.local"

EMPTY: Mapping[str, str] = {}


@dataclass(frozen=True, slots=True)
class Port:
    """A port of a Service; `target` is the pods' (the same where it is None)."""

    name: str
    number: int
    target: int | None = None
    app_protocol: str | None = None


@dataclass(frozen=True, slots=True, eq=False)
class ServiceSpec:
    """A Service, equal only to itself. `address` is its cluster IP; None makes it headless."""

    name: str
    namespace: str
    address: str | None
    ports: tuple[Port, ...]
    selector: Mapping[str, str]

    @property
    def names(self) -> Sequence[str]:
        """Its names for everyone; inside its own namespace it is `name` as well."""
        return (
            f"{self.name}.{self.namespace}",
            f"{self.name}.{self.namespace}.svc",
            f"{self.name}.{self.namespace}.svc.{DOMAIN}",
        )

    def selects(self, pod: "PodSpec") -> bool:
        """Whether a pod is one of its endpoints."""
        return pod.namespace == self.namespace and self.selector.items() <= pod.labels.items()


@dataclass(frozen=True, slots=True)
class PodSpec:
    """A pod as the API server knows it."""

    name: str
    namespace: str
    address: str
    service_account: str
    labels: Mapping[str, str]
    ready: bool = True
    annotations: Mapping[str, str] = field(default_factory=dict)
    more_addresses: tuple[str, ...] = ()


def namespace(name: str) -> Mapping[str, Any]:
    """A Namespace."""
    return _object("v1", "Namespace", name, None, labels={"kubernetes.io/metadata.name": name})


def service(spec: ServiceSpec) -> Mapping[str, Any]:
    """A Service."""
    ports = [
        {
            "name": port.name,
            "port": port.number,
            "protocol": "TCP",
            "targetPort": port.target or port.number,
            **({"appProtocol": port.app_protocol} if port.app_protocol else {}),
        }
        for port in spec.ports
    ]
    address = spec.address or "None"
    return {
        **_object("v1", "Service", spec.name, spec.namespace),
        "spec": {
            "type": "ClusterIP",
            "clusterIP": address,
            "clusterIPs": [address],
            "selector": dict(spec.selector),
            "ports": ports,
        },
    }


def endpoint_slice(spec: ServiceSpec, pods: Sequence[PodSpec]) -> Mapping[str, Any]:
    """The EndpointSlice that the controller of Kubernetes makes for a Service and its pods."""
    endpoints = [
        {
            "addresses": [pod.address],
            "conditions": {"ready": pod.ready, "serving": pod.ready, "terminating": False},
            "nodeName": "node",
            "targetRef": {"kind": "Pod", "name": pod.name, "namespace": pod.namespace},
        }
        for pod in pods
    ]
    return {
        **_object(
            "discovery.k8s.io/v1",
            "EndpointSlice",
            f"{spec.name}-slice",
            spec.namespace,
            labels={"kubernetes.io/service-name": spec.name},
        ),
        "addressType": "IPv4",
        "endpoints": endpoints,
        "ports": [
            {
                "name": port.name,
                "port": port.target or port.number,
                "protocol": "TCP",
                **({"appProtocol": port.app_protocol} if port.app_protocol else {}),
            }
            for port in spec.ports
        ],
    }


def pod(spec: PodSpec) -> Mapping[str, Any]:
    """A running Pod."""
    return {
        **_object("v1", "Pod", spec.name, spec.namespace, labels=spec.labels, annotations=spec.annotations),
        "spec": {
            "serviceAccountName": spec.service_account,
            "nodeName": "node",
            "containers": [{"name": "application", "image": "application"}],
        },
        "status": {
            "phase": "Running",
            "podIP": spec.address,
            "podIPs": [{"ip": address} for address in (spec.address, *spec.more_addresses)],
            "conditions": [{"type": "Ready", "status": str(spec.ready)}],
        },
    }


def mesh_settings(text: str) -> Mapping[str, Any]:
    """The ConfigMap with MeshConfig, whose YAML is `text`."""
    return {**_object("v1", "ConfigMap", "istio", "istio-system"), "data": {"mesh": text}}


def marker(number: int) -> Mapping[str, Any]:
    """An object that concerns nobody, and whose label tells how much of the folder the control plane has read."""
    return {
        **_object("security.istio.io/v1", "PeerAuthentication", "marker", "marker", labels={"number": str(number)}),
        "spec": {},
    }


def _object(
    api_version: str,
    kind: str,
    name: str,
    namespace: str | None,
    *,
    labels: Mapping[str, str] = EMPTY,
    annotations: Mapping[str, str] = EMPTY,
) -> Mapping[str, Any]:
    return {
        "apiVersion": api_version,
        "kind": kind,
        "metadata": {
            "name": name,
            **({"namespace": namespace} if namespace else {}),
            "creationTimestamp": CREATED,
            **({"labels": dict(labels)} if labels else {}),
            **({"annotations": dict(annotations)} if annotations else {}),
        },
    }

"""The Kubernetes objects that the charts make: what they are, and where the API server keeps them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, NamedTuple, TypeAlias

from dragoman.kube import ApiResource
from dragoman.kube.resources import (
    CONFIG_MAPS,
    CUSTOM_RESOURCE_DEFINITIONS,
    DAEMON_SETS,
    DEPLOYMENTS,
    MUTATING_WEBHOOK_CONFIGURATIONS,
    NAMESPACES,
    SERVICE_ACCOUNTS,
    SERVICES,
    VALIDATING_WEBHOOK_CONFIGURATIONS,
)

Document: TypeAlias = dict[str, Any]

_RBAC: Final = "rbac.authorization.k8s.io"
_ADMISSION: Final = "admissionregistration.k8s.io"

RESOURCES: Final[Mapping[str, ApiResource]] = {
    resource.kind: resource
    for resource in (
        NAMESPACES,
        CUSTOM_RESOURCE_DEFINITIONS,
        ApiResource(_ADMISSION, "v1", "validatingadmissionpolicies", "ValidatingAdmissionPolicy", namespaced=False),
        ApiResource(
            _ADMISSION, "v1", "validatingadmissionpolicybindings", "ValidatingAdmissionPolicyBinding", namespaced=False
        ),
        SERVICE_ACCOUNTS,
        ApiResource(_RBAC, "v1", "clusterroles", "ClusterRole", namespaced=False),
        ApiResource(_RBAC, "v1", "clusterrolebindings", "ClusterRoleBinding", namespaced=False),
        ApiResource(_RBAC, "v1", "roles", "Role"),
        ApiResource(_RBAC, "v1", "rolebindings", "RoleBinding"),
        CONFIG_MAPS,
        SERVICES,
        DEPLOYMENTS,
        DAEMON_SETS,
        ApiResource("autoscaling", "v2", "horizontalpodautoscalers", "HorizontalPodAutoscaler"),
        ApiResource("policy", "v1", "poddisruptionbudgets", "PodDisruptionBudget"),
        ApiResource("networking.k8s.io", "v1", "networkpolicies", "NetworkPolicy"),
        ApiResource("monitoring.coreos.com", "v1", "servicemonitors", "ServiceMonitor"),
        ApiResource("monitoring.coreos.com", "v1", "podmonitors", "PodMonitor"),
        ApiResource("monitoring.coreos.com", "v1", "prometheusrules", "PrometheusRule"),
        MUTATING_WEBHOOK_CONFIGURATIONS,
        VALIDATING_WEBHOOK_CONFIGURATIONS,
    )
}
"""By kind, in the order in which they are applied: what others need comes before them."""

_RANKS: Final = {kind: rank for rank, kind in enumerate(RESOURCES)}


class Identity(NamedTuple):
    """What tells an object from all others; `namespace` is empty where the kind has none."""

    kind: str
    namespace: str
    name: str

    @property
    def resource(self) -> ApiResource:
        """Where it is kept."""
        return RESOURCES[self.kind]

    @property
    def rank(self) -> int:
        """Its place in the order of applying."""
        return _RANKS[self.kind]

    def __str__(self) -> str:
        return f"{self.kind} {self.namespace}/{self.name}" if self.namespace else f"{self.kind} {self.name}"


def identity(document: Document) -> Identity:
    """The identity of an object of the charts."""
    metadata = document["metadata"]
    return Identity(document["kind"], metadata.get("namespace", ""), metadata["name"])

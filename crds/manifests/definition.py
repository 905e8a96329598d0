"""CustomResourceDefinitions: how an API server is to serve our kinds.

Groups, names, versions, short names, categories and columns are those of Istio's own definitions, so that ours may
take their place, and theirs ours, with all objects that are stored (Istio: manifests/charts/base).
"""

from collections.abc import Mapping
from typing import Any

from crds.manifests.descriptions import summary
from crds.manifests.rules import CONSTRAINTS
from crds.manifests.schema import schema_of
from crds.manifests.status import STATUS
from crds.meta import IstioObject
from crds.registry import ISTIO_KINDS
from crds.shape import message_of

_AGE = ("Age", "date", ".metadata.creationTimestamp")
_COLUMNS: Mapping[str, tuple[tuple[str, str, str], ...]] = {
    "VirtualService": (("Gateways", "string", ".spec.gateways"), ("Hosts", "string", ".spec.hosts"), _AGE),
    "DestinationRule": (("Host", "string", ".spec.host"), _AGE),
    "ServiceEntry": (
        ("Hosts", "string", ".spec.hosts"),
        ("Location", "string", ".spec.location"),
        ("Resolution", "string", ".spec.resolution"),
        _AGE,
    ),
    "WorkloadEntry": (_AGE, ("Address", "string", ".spec.address")),
    "AuthorizationPolicy": (("Action", "string", ".spec.action"), _AGE),
    "PeerAuthentication": (("Mode", "string", ".spec.mtls.mode"), _AGE),
}
_CONDITIONS = ("Accepted", "Programmed")
"""Columns of ours, for `kubectl get -o wide`."""

_WITHOUT_SPEC = frozenset(
    ("EnvoyFilter", "ProxyConfig", "AuthorizationPolicy", "PeerAuthentication", "RequestAuthentication", "Telemetry")
)
"""Kinds of which an object without a spec means something."""


def definition(kind: type[IstioObject]) -> dict[str, Any]:
    """The CustomResourceDefinition of a kind, as a document for an API server (apiextensions.k8s.io/v1)."""
    resource, name = kind.resource, kind.__name__
    schema = _schema(kind)
    columns = _columns(name)
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {
            "name": f"{resource.plural}.{resource.group}",
            "labels": {"app.kubernetes.io/name": "dragoman", "app.kubernetes.io/component": "crds"},
            # Helm deletes what it installed, and an API server deletes every object with its definition.
            "annotations": {"helm.sh/resource-policy": "keep"},
        },
        "spec": {
            "group": resource.group,
            "names": {
                "kind": name,
                "listKind": f"{name}List",
                "plural": resource.plural,
                "singular": name.lower(),
                **({"shortNames": list(resource.short_names)} if resource.short_names else {}),
                "categories": ["istio-io", resource.group.replace(".", "-")],
            },
            "scope": "Namespaced",
            "versions": [
                {
                    "name": version,
                    "served": True,
                    "storage": version == resource.storage,
                    "additionalPrinterColumns": columns,
                    "schema": {"openAPIV3Schema": schema},
                    "subresources": {"status": {}},
                }
                for version in resource.versions
            ],
        },
    }


def definitions() -> list[dict[str, Any]]:
    """Those of every kind."""
    return [definition(kind) for kind in ISTIO_KINDS.values()]


def _schema(kind: type[IstioObject]) -> dict[str, Any]:
    spec = message_of(kind).fields["spec"].shape
    here = CONSTRAINTS[kind].fields["spec"] if kind in CONSTRAINTS else {}
    return {
        "type": "object",
        "description": summary(kind),
        "properties": {"spec": {"description": "What is wanted.", **schema_of(spec, here)}, "status": STATUS},
        **({} if kind.__name__ in _WITHOUT_SPEC else {"required": ["spec"]}),
    }


def _columns(kind: str) -> list[dict[str, Any]]:
    columns: list[dict[str, Any]] = [
        {"name": name, "type": type_, "jsonPath": path} for name, type_, path in _COLUMNS.get(kind, (_AGE,))
    ]
    for condition in _CONDITIONS:
        path = f'.status.conditions[?(@.type=="{condition}")].status'
        columns.append({"name": condition, "type": "string", "jsonPath": path, "priority": 1})
    return columns

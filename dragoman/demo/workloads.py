"""What the demo runs: read from the Pods of its own YAML, as a kubelet would.

A pod's first container says how its program is started. Its sidecar, or the gateway that it is, is an Envoy of its own.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import yaml

from dragoman.mesh.proxy_id import ProxyId, ProxyType
from dragoman.sidecar import Node

_TEMPLATES = "inject.istio.io/templates"
"""Istio API, annotations: `gateway` marks a pod that is a gateway proxy itself."""


@dataclass(frozen=True, slots=True)
class Workload:
    """One pod. `command` is empty for a gateway, which has no program beside its proxy."""

    namespace: str
    pod: str
    address: str
    labels: Mapping[str, str]
    service_account: str
    gateway: bool
    command: tuple[str, ...]
    environment: Mapping[str, str]
    port: int
    """Where its proxy takes requests."""

    @property
    def proxy_id(self) -> str:
        """`pod.namespace`, as the control plane calls its proxy."""
        return f"{self.pod}.{self.namespace}"

    def node(self, http_proxy_port: int) -> Node:
        """How its Envoy introduces itself."""
        return Node(
            ProxyId(
                ProxyType.ROUTER if self.gateway else ProxyType.SIDECAR,
                self.address,
                self.pod,
                self.namespace,
                f"{self.namespace}.svc.cluster.local",
            ),
            service_account=self.service_account,
            workload=self.pod,
            labels=self.labels,
            interception_mode="NONE",
            http_proxy_port=None if self.gateway else http_proxy_port,
        )


def workloads(texts: Iterable[str]) -> tuple[Workload, ...]:
    """The pods in texts of multi-document YAML, by address."""
    documents = (document for text in texts for document in yaml.safe_load_all(text))
    pods = (_workload(document) for document in documents if document and document["kind"] == "Pod")
    return tuple(sorted(pods, key=lambda workload: workload.address))


def _workload(pod: Mapping[str, Any]) -> Workload:
    metadata, spec = pod["metadata"], pod["spec"]
    container = spec["containers"][0]
    return Workload(
        namespace=metadata["namespace"],
        pod=metadata["name"],
        address=pod["status"]["podIP"],
        labels=metadata["labels"],
        service_account=spec["serviceAccountName"],
        gateway=metadata.get("annotations", {}).get(_TEMPLATES) == "gateway",
        command=(*container.get("command", ()), *container.get("args", ())),
        environment={variable["name"]: variable["value"] for variable in container.get("env", ())},
        port=container["ports"][0]["containerPort"],
    )

"""How a proxy introduces itself to the control plane: Envoy's node, in Istio's terms."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from envoy_data_plane.envoy.config.core.v3 import Locality
from envoy_data_plane.envoy.config.core.v3 import Node as EnvoyNode

from dragoman.codec import struct
from dragoman.mesh.key_folder import KEY_FOLDER
from dragoman.mesh.proxy_id import ProxyId

Json = None | bool | float | int | str | list["Json"] | Mapping[str, "Json"]
InterceptionMode = Literal["REDIRECT", "TPROXY", "NONE"]


@dataclass(frozen=True, slots=True)
class Node:
    """A proxy's node. Every field but `id` may be left out; the control plane trusts none of them for identity.

    `locality` is `region/zone/subzone`, as far as known; `istio_version` the version of Istio's API that the proxy was
    made for; `key_folder` where the pod keeps its own key, instead of having one sent. `metadata` adds further keys of
    Istio's NodeMetadata (Istio: pkg/model/proxy.go), and wins over the fields here.
    """

    id: ProxyId
    service_account: str = "default"
    workload: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    cluster_id: str = "Kubernetes"
    mesh_id: str = "cluster.local"
    locality: str = ""
    interception_mode: InterceptionMode = "REDIRECT"
    http_proxy_port: int | None = None
    istio_version: str | None = None
    key_folder: str | None = None
    metadata: Mapping[str, Json] = field(default_factory=dict)

    @property
    def cluster(self) -> str:
        """Envoy's `node.cluster`, the service name in traces: `<app>.<namespace>`."""
        app = self.labels.get("service.istio.io/canonical-name") or self.labels.get("app") or self.workload
        return f"{app or self.id.name}.{self.id.namespace}"

    def to_envoy(self) -> EnvoyNode:
        """The node as Envoy sends it with its first request."""
        region, zone, sub_zone, *_ = [*self.locality.split("/"), "", "", ""]
        return EnvoyNode(
            id=str(self.id),
            cluster=self.cluster,
            locality=Locality(region=region, zone=zone, sub_zone=sub_zone) if self.locality else None,
            metadata=struct(self._metadata()),
        )

    def _metadata(self) -> dict[str, Json]:
        metadata: dict[str, Json] = {
            "NAMESPACE": self.id.namespace,
            "SERVICE_ACCOUNT": self.service_account,
            "WORKLOAD_NAME": self.workload or self.id.name,
            "LABELS": dict(self.labels),
            "INSTANCE_IPS": self.id.address,
            "CLUSTER_ID": self.cluster_id,
            "MESH_ID": self.mesh_id,
            "INTERCEPTION_MODE": self.interception_mode,
        }
        if self.http_proxy_port is not None:
            metadata["HTTP_PROXY_PORT"] = str(self.http_proxy_port)  # Istio's NodeMetadata has it as a string
        if self.istio_version is not None:
            metadata["ISTIO_VERSION"] = self.istio_version
        if self.key_folder is not None:
            metadata[KEY_FOLDER] = self.key_folder
        return metadata | dict(self.metadata)

"""How a proxy introduces itself to the control plane: Envoy's node, in Istio's terms."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

from envoy_data_plane.envoy.config.core.v3 import Locality
from envoy_data_plane.envoy.config.core.v3 import Node as EnvoyNode

from dragoman.codec import struct

Json = None | bool | float | int | str | list["Json"] | Mapping[str, "Json"]
ProxyType = Literal["sidecar", "router", "waypoint", "ztunnel"]
InterceptionMode = Literal["REDIRECT", "TPROXY", "NONE"]

_TYPES: Final = ("sidecar", "router", "waypoint", "ztunnel")


class InvalidNodeIdError(ValueError):
    """A node id is not `type~ip~name.namespace~domain`."""


@dataclass(frozen=True, slots=True)
class NodeId:
    """`type~ip~name.namespace~domain` (Istio: pilot/pkg/model/context.go, ParseServiceNodeWithMetadata)."""

    type: ProxyType
    ip: str
    name: str
    namespace: str
    domain: str

    @classmethod
    def parse(cls, text: str) -> NodeId:
        """The id that `text` spells; raises `InvalidNodeIdError` naming what is wrong."""
        parts = text.split("~")
        if len(parts) != 4:
            raise InvalidNodeIdError(f"{text!r} has {len(parts)} parts instead of type~ip~name.namespace~domain")
        proxy_type, ip, qualified_name, domain = parts
        # A pod's name may hold dots, a namespace's cannot.
        name, _, namespace = qualified_name.rpartition(".")
        if proxy_type not in _TYPES:
            raise InvalidNodeIdError(f"{text!r}: type {proxy_type!r} is not one of {', '.join(_TYPES)}")
        if not name or not namespace:
            raise InvalidNodeIdError(f"{text!r}: {qualified_name!r} is not name.namespace")
        return cls(proxy_type, ip, name, namespace, domain)  # type: ignore[arg-type]

    def __str__(self) -> str:
        return f"{self.type}~{self.ip}~{self.name}.{self.namespace}~{self.domain}"


@dataclass(frozen=True, slots=True)
class Node:
    """A proxy's node. Every field but `id` may be left out; the control plane trusts none of them for identity.

    `locality` is `region/zone/subzone`, as far as known; `istio_version` the version of Istio's API that the proxy was
    made for. `metadata` adds further keys of Istio's NodeMetadata (Istio: pkg/model/proxy.go), and wins over the
    fields here.
    """

    id: NodeId
    service_account: str = "default"
    workload: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    cluster_id: str = "Kubernetes"
    mesh_id: str = "cluster.local"
    locality: str = ""
    interception_mode: InterceptionMode = "REDIRECT"
    http_proxy_port: int | None = None
    istio_version: str | None = None
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
            "INSTANCE_IPS": self.id.ip,
            "CLUSTER_ID": self.cluster_id,
            "MESH_ID": self.mesh_id,
            "INTERCEPTION_MODE": self.interception_mode,
        }
        if self.http_proxy_port is not None:
            metadata["HTTP_PROXY_PORT"] = str(self.http_proxy_port)  # Istio's NodeMetadata has it as a string
        if self.istio_version is not None:
            metadata["ISTIO_VERSION"] = self.istio_version
        return metadata | dict(self.metadata)

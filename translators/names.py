"""Names of Envoy resources, as Istio gives them: tools, dashboards and EnvoyFilters match on them.

Istio: pilot/pkg/model/service.go (BuildSubsetKey, BuildInboundSubsetKey), pkg/config/... route names in
pilot/pkg/networking/core/httproute.go and pilot/pkg/model/gateway.go (gatewayRDSRouteName).
"""

from __future__ import annotations

from sys import intern

BLACK_HOLE = "BlackHoleCluster"
PASSTHROUGH = "PassthroughCluster"
INBOUND_PASSTHROUGH = "InboundPassthroughCluster"

VIRTUAL_OUTBOUND = "virtualOutbound"
VIRTUAL_INBOUND = "virtualInbound"
HTTP_PROXY_ROUTE = "http_proxy"

WORKLOAD_CERTIFICATE = "default"
"""SDS name of the workload's own certificate."""
ROOT_CERTIFICATES = "ROOTCA"
"""SDS name of the mesh's trust anchors."""


def outbound_cluster(port: int, subset: str, host: str) -> str:
    """The name of a cluster and of its endpoints; one string for all that refer to it."""
    return intern(f"outbound|{port}|{subset}|{host}")


def outbound_sni(port: int, subset: str, host: str) -> str:
    """The server name a mesh client asks for (Istio: BuildDNSSrvSubsetKey)."""
    return f"outbound_.{port}_.{subset}_.{host}"


def inbound_cluster(port: int) -> str:
    """`port` is the workload's port, not the service's."""
    return f"inbound|{port}||"


def listener(address: str, port: int) -> str:
    """`address` is the first of those that it listens on: `0.0.0.0_80`, `::_80`."""
    return f"{address}_{port}"


def stat_name(cluster: str) -> str:
    """A trailing semicolon lets the bootstrap's tag pattern find the end of the name (Istio: envoy_bootstrap.json)."""
    return f"{cluster};"

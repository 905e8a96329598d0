"""Clusters to the application behind a sidecar (Istio: pilot/pkg/networking/core/cluster.go, buildInboundClusters)."""

from __future__ import annotations

from datetime import timedelta

from envoy_data_plane.envoy.config.cluster.v3 import (
    Cluster,
    ClusterDiscoveryType,
    ClusterLbPolicy,
    ClusterOriginalDstLbConfig,
)
from envoy_data_plane.envoy.config.core.v3 import Address, BindConfig, ExtraSourceAddress, Metadata, SocketAddress
from envoy_data_plane.envoy.config.endpoint.v3 import (
    ClusterLoadAssignment,
    Endpoint,
    LbEndpoint,
    LocalityLbEndpoints,
)

from crds.meshconfig import InboundTrafficPolicyMode
from dragoman.codec import Encoded, struct
from dragoman.engine import Graph, query
from dragoman.mesh.families import Families
from dragoman.mesh.inbound import InboundPort
from dragoman.mesh.settings import mesh_config
from dragoman.mesh.workloads import Interception
from translators.addresses import tcp_address, unix_address
from translators.circuit_breakers import circuit_breakers
from translators.clusters import named
from translators.names import INBOUND_PASSTHROUGH, inbound_cluster, stat_name
from translators.protocol_options import passthrough_options, protocol_options

_FOR_EVER = timedelta(days=60)
"""Envoy's longest cleanup interval in use by Istio: the one host of an inbound cluster never goes away."""


def endpoint_of(g: Graph, port: int, written: tuple[str, int] | None, families: Families) -> tuple[str, int] | None:
    """Where the application takes a workload port: as the Sidecar resource says of it, else as the mesh says of all.

    An empty address is the one that was dialled, None just what was dialled.
    """
    local = mesh_config(g).inbound_traffic_policy.mode is InboundTrafficPolicyMode.LOCALHOST
    return (families.loopbacks[0], port) if written is None and local else written


@query
def inbound_cluster_of(
    g: Graph, port: InboundPort, endpoint: tuple[str, int] | None, mode: Interception, families: Families
) -> Encoded:
    """The cluster of one workload port, of which `endpoint` is what the Sidecar resource says; see `endpoint_of`.

    With `Interception.TPROXY` the listener has connections come from the client's address.
    """
    mesh = mesh_config(g)
    name = inbound_cluster(port.number)
    endpoint = endpoint_of(g, port.number, endpoint, families)
    cluster = Cluster(
        name=name,
        alt_stat_name=stat_name(name),
        connect_timeout=mesh.connect_timeout,
        circuit_breakers=circuit_breakers(None, None),
        metadata=_metadata(port),
    )
    if endpoint is None or not endpoint[0]:
        cluster.type = ClusterDiscoveryType.ORIGINAL_DST
        cluster.lb_policy = ClusterLbPolicy.CLUSTER_PROVIDED
        cluster.cleanup_interval = _FOR_EVER
        if endpoint is not None:
            cluster.original_dst_lb_config = ClusterOriginalDstLbConfig(upstream_port_override=endpoint[1])
        if mode is not Interception.TPROXY:
            cluster.upstream_bind_config = _bound_to_inbound_source(families)
    else:
        cluster.type = ClusterDiscoveryType.STATIC
        cluster.load_assignment = ClusterLoadAssignment(
            cluster_name=name,
            endpoints=[LocalityLbEndpoints(lb_endpoints=[LbEndpoint(endpoint=Endpoint(address=_address(endpoint)))])],
        )
    protocol_options(cluster, port.protocol, None)
    return Encoded.of(cluster)


def _metadata(port: InboundPort) -> Metadata:
    istio: dict[str, object] = {"default_original_port": port.service_port}
    if port.host:
        istio |= {"host": port.host, "name": port.service, "namespace": port.namespace}
        istio["services"] = [{"host": port.host, "name": port.service, "namespace": port.namespace}]
    return Metadata(filter_metadata={"istio": struct(istio)})


def _address(endpoint: tuple[str, int]) -> Address:
    address, port = endpoint
    return tcp_address(address, port) if port else unix_address(address)


def _bound_to_inbound_source(families: Families) -> BindConfig:
    """Of several sources Envoy takes the first of the family of its destination."""
    first, *others = (SocketAddress(address=source, port_value=0) for source in families.inbound_sources)
    return BindConfig(
        source_address=first, extra_source_addresses=[ExtraSourceAddress(address=other) for other in others]
    )


@query
def inbound_passthrough_cluster(g: Graph, mode: Interception, families: Families) -> Encoded:
    """The address that was dialled, on ports that no service names."""
    cluster = Cluster(
        name=INBOUND_PASSTHROUGH,
        alt_stat_name=stat_name(INBOUND_PASSTHROUGH),
        type=ClusterDiscoveryType.ORIGINAL_DST,
        lb_policy=ClusterLbPolicy.CLUSTER_PROVIDED,
        connect_timeout=mesh_config(g).connect_timeout,
        circuit_breakers=circuit_breakers(None, None),
        metadata=named(INBOUND_PASSTHROUGH),
    )
    if mode is not Interception.TPROXY:
        cluster.upstream_bind_config = _bound_to_inbound_source(families)
    passthrough_options(cluster)
    return Encoded.of(cluster)

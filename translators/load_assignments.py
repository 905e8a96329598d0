"""Endpoints of outbound clusters, by locality (Istio: pilot/pkg/xds/endpoints/endpoint_builder.go).

A mesh has ten times as many endpoints as other things, and one that moves has all of its service written anew. So they
are joined on the wire from what they share, which is what the pods of a workload tell of themselves, and an address.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache

from envoy_data_plane.envoy.config.core.v3 import HealthStatus, Locality, Metadata
from envoy_data_plane.envoy.config.endpoint.v3 import ClusterLoadAssignment, LbEndpoint, LocalityLbEndpoints

from dragoman.codec import ENDPOINT, Encoded, encode, frame, struct
from dragoman.engine import Graph, query
from dragoman.mesh.endpoints import Endpoint, Health, endpoints
from dragoman.mesh.labels import Labels, labels_of
from dragoman.mesh.rules import RuleKeys, merged_rule
from dragoman.mesh.services import service
from dragoman.mesh.workloads import CLUSTER_ID
from translators.addresses import tcp_address
from translators.names import outbound_cluster
from translators.upstream_tls import TLS_MODE


@query
def subset_labels(g: Graph, rules: RuleKeys, subset: str) -> Labels:
    """Labels that endpoints of a subset carry; a rule's other fields do not reach its endpoints."""
    rule = merged_rule(g, rules) if subset else None
    found = rule.subset(subset) if rule is not None else None
    return labels_of(found.labels) if found is not None else frozenset()


@query
def load_assignment(g: Graph, namespace: str, name: str, number: int, subset: str, labels: Labels) -> Encoded | None:
    """The endpoints of one cluster: those of the port, narrowed to the subset's labels.

    A service without endpoints has an empty assignment: an undelivered one would hold back every later answer.
    """
    found = service(g, namespace, name)
    port = found.port(number) if found is not None else None
    if found is None or port is None:
        return None
    cluster = outbound_cluster(number, subset, found.host)
    chosen = [e for e in endpoints(g, namespace, name, port.name) if labels <= e.labels]
    payload = encode(ClusterLoadAssignment(cluster_name=cluster)) + b"".join(_localities(chosen))
    return Encoded.of_payload(ENDPOINT, cluster, payload)


def _localities(chosen: list[Endpoint]) -> Iterator[bytes]:
    """Elements of `ClusterLoadAssignment.endpoints` (2)."""
    healthy = [e for e in chosen if e.health is Health.HEALTHY]
    # Draining endpoints serve only where nothing else is left (Kubernetes: "serving terminating endpoints").
    shown = healthy or [e for e in chosen if e.health is Health.DRAINING]
    by_locality: dict[tuple[str, str, str], list[Endpoint]] = {}
    for endpoint in shown:
        place = endpoint.locality
        by_locality.setdefault((place.region, place.zone, place.subzone), []).append(endpoint)
    for names, members in sorted(by_locality.items()):
        weight = encode(LocalityLbEndpoints(load_balancing_weight=len(members)))
        yield frame(2, b"".join((_locality(*names), *map(_lb_endpoint, members), weight)))


@lru_cache(maxsize=1024)
def _locality(region: str, zone: str, subzone: str) -> bytes:
    """`LocalityLbEndpoints.locality`; nothing where it is not known."""
    locality = Locality(region=region, zone=zone, sub_zone=subzone) if region or zone else None
    return encode(LocalityLbEndpoints(locality=locality))


def _lb_endpoint(endpoint: Endpoint) -> bytes:
    """An element of `LocalityLbEndpoints.lb_endpoints` (2), of which `endpoint` is field 1, and of that `address` 1,
    `hostname` 3 and `additional_addresses` 4, which have an `address` (1) too."""
    address = frame(1, encode(tcp_address(endpoint.address, endpoint.port)))
    if endpoint.additional:
        # An Envoy that knows a host by its first address does not look at the others again, unless its locality or its
        # name is another (Envoy: upstream_impl.cc, updateDynamicHostList). Slices of the two families come one by one.
        address += frame(3, ",".join(endpoint.addresses).encode())
    for other in endpoint.additional:
        address += frame(4, frame(1, encode(tcp_address(other, endpoint.port))))
    return frame(2, frame(1, address) + _rest(endpoint))


def _rest(endpoint: Endpoint) -> bytes:
    labels = dict(endpoint.labels)
    return _rest_of(
        endpoint.mtls,
        endpoint.workload,
        endpoint.namespace,
        labels.get("app", ""),
        labels.get("version", ""),
        endpoint.canonical_name,
        endpoint.canonical_revision,
    )


@lru_cache(maxsize=4096)
def _rest_of(
    mtls: bool, workload: str, namespace: str, app: str, version: str, canonical_name: str, canonical_revision: str
) -> bytes:
    """All of an endpoint but its addresses: the same for the pods of a workload.

    Metadata picks the transport (Envoy: `envoy.transport_socket_match`) and names the workload in telemetry: `workload`
    is Istio's form (pkg/model, WorkloadMetadata); the rest are the labels of metrics, which formats can read one by one
    (translators.metric_labels). What is not there falls back on `app`, on `version` or on unknown.
    """
    metadata = {}
    if mtls:
        metadata["envoy.transport_socket_match"] = struct({TLS_MODE: "istio"})
    if workload:
        named = {
            "workload": ";".join((workload, namespace, canonical_name, canonical_revision, CLUSTER_ID)),
            "name": workload,
            "namespace": namespace,
            "app": app,
            "version": version,
            "canonical_service": canonical_name if canonical_name != app else "",
            "canonical_revision": canonical_revision if canonical_revision != version else "",
            "cluster": CLUSTER_ID,
        }
        metadata["istio"] = struct({key: value for key, value in named.items() if value})
    return encode(
        LbEndpoint(
            health_status=HealthStatus.HEALTHY,
            load_balancing_weight=1,
            metadata=Metadata(filter_metadata=metadata) if metadata else None,
        )
    )

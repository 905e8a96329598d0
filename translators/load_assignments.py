"""Endpoints of outbound clusters, by locality (Istio: pilot/pkg/xds/endpoints/endpoint_builder.go)."""

from __future__ import annotations

from collections.abc import Iterable

from envoy_data_plane.envoy.config.core.v3 import HealthStatus, Locality, Metadata
from envoy_data_plane.envoy.config.endpoint.v3 import (
    ClusterLoadAssignment,
    EndpointAdditionalAddress,
    LbEndpoint,
    LocalityLbEndpoints,
)
from envoy_data_plane.envoy.config.endpoint.v3 import (
    Endpoint as EndpointMessage,
)

from dragoman.codec import Encoded, struct
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
    return Encoded.of(
        ClusterLoadAssignment(
            cluster_name=outbound_cluster(number, subset, found.host),
            endpoints=_localities(e for e in endpoints(g, namespace, name, port.name) if labels <= e.labels),
        )
    )


def _localities(endpoints: Iterable[Endpoint]) -> list[LocalityLbEndpoints]:
    chosen = list(endpoints)
    healthy = [e for e in chosen if e.health is Health.HEALTHY]
    # Draining endpoints serve only where nothing else is left (Kubernetes: "serving terminating endpoints").
    shown = healthy or [e for e in chosen if e.health is Health.DRAINING]
    by_locality: dict[tuple[str, str, str], list[Endpoint]] = {}
    for endpoint in shown:
        place = endpoint.locality
        by_locality.setdefault((place.region, place.zone, place.subzone), []).append(endpoint)
    return [
        LocalityLbEndpoints(
            locality=Locality(region=region, zone=zone, sub_zone=subzone) if region or zone else None,
            load_balancing_weight=len(members),
            lb_endpoints=[_lb_endpoint(member) for member in members],
        )
        for (region, zone, subzone), members in sorted(by_locality.items())
    ]


def _lb_endpoint(endpoint: Endpoint) -> LbEndpoint:
    return LbEndpoint(
        endpoint=EndpointMessage(
            address=tcp_address(endpoint.address, endpoint.port),
            additional_addresses=[
                EndpointAdditionalAddress(address=tcp_address(address, endpoint.port))
                for address in endpoint.additional
            ],
        ),
        health_status=HealthStatus.HEALTHY,
        load_balancing_weight=1,
        metadata=_metadata(endpoint),
    )


def _metadata(endpoint: Endpoint) -> Metadata | None:
    """What picks the transport (Envoy: `envoy.transport_socket_match`) and names the workload in telemetry."""
    found = {}
    if endpoint.mtls:
        found["envoy.transport_socket_match"] = struct({TLS_MODE: "istio"})
    if endpoint.workload:
        found["istio"] = struct(_workload(endpoint))
    return Metadata(filter_metadata=found) if found else None


def _workload(endpoint: Endpoint) -> dict[str, object]:
    """`workload` is Istio's form (pkg/model, WorkloadMetadata); the rest are the labels of metrics, which formats can
    read one by one (translators.metric_labels). What is not there falls back on `app`, on `version` or on unknown."""
    labels = dict(endpoint.labels)
    app, version = labels.get("app", ""), labels.get("version", "")
    names = (
        endpoint.workload,
        endpoint.namespace,
        endpoint.canonical_name,
        endpoint.canonical_revision,
        CLUSTER_ID,
    )
    found = {
        "workload": ";".join(names),
        "name": endpoint.workload,
        "namespace": endpoint.namespace,
        "app": app,
        "version": version,
        "canonical_service": endpoint.canonical_name if endpoint.canonical_name != app else "",
        "canonical_revision": endpoint.canonical_revision if endpoint.canonical_revision != version else "",
        "cluster": CLUSTER_ID,
    }
    return {key: value for key, value in found.items() if value}

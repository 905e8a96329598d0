"""The labels of Istio's standard metrics: their order, and where each proxy finds their values.

Istio: "Istio Standard Metrics"; order as in its own Envoy filter (istio.stats). Of its own workload a proxy knows what
its node says; of a server's workload what the endpoint's metadata says; of a client's what its certificate says. No
header is ever believed.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping

from translators.coalesce import UNKNOWN, Operator, first_of
from translators.workload_state import Attribute, local, peer

HTTP_LABELS = (
    "reporter",
    "source_workload",
    "source_canonical_service",
    "source_canonical_revision",
    "source_workload_namespace",
    "source_principal",
    "source_app",
    "source_version",
    "source_cluster",
    "destination_workload",
    "destination_workload_namespace",
    "destination_principal",
    "destination_app",
    "destination_version",
    "destination_service",
    "destination_canonical_service",
    "destination_canonical_revision",
    "destination_service_name",
    "destination_service_namespace",
    "destination_cluster",
    "request_protocol",
    "response_code",
    "grpc_response_status",
    "response_flags",
    "connection_security_policy",
)
TCP_LABELS = tuple(label for label in HTTP_LABELS if label not in ("response_code", "grpc_response_status"))

_WORKLOAD_LABELS = {
    Attribute.WORKLOAD: "workload",
    Attribute.NAMESPACE: "workload_namespace",
    Attribute.APP: "app",
    Attribute.VERSION: "version",
    Attribute.CANONICAL_SERVICE: "canonical_service",
    Attribute.CANONICAL_REVISION: "canonical_revision",
    Attribute.CLUSTER: "cluster",
}

# What clusters say of their service (translators.clusters, translators.inbound_clusters), endpoints of their workload
# (translators.load_assignments): filter metadata `istio`.
_UPSTREAM = {
    Attribute.WORKLOAD: ("name",),
    Attribute.NAMESPACE: ("namespace",),
    Attribute.APP: ("app",),
    Attribute.VERSION: ("version",),
    Attribute.CANONICAL_SERVICE: ("canonical_service", "app"),
    Attribute.CANONICAL_REVISION: ("canonical_revision", "version"),
    Attribute.CLUSTER: ("cluster",),
}


class Traffic(enum.Enum):
    """Which end of which connections a label is read at."""

    OUTBOUND = enum.auto()
    """From the workload."""
    GATEWAY = enum.auto()
    """Through a gateway."""
    INBOUND_MTLS = enum.auto()
    """To the workload, from a client whose certificate was verified."""
    INBOUND_PLAIN = enum.auto()
    """To the workload, from a client that nothing is known of."""


def http_labels(traffic: Traffic) -> tuple[tuple[str, str], ...]:
    """Names and formats of the labels of requests."""
    grpc = "'content-type' in request.headers && request.headers['content-type'].startsWith('application/grpc')"
    return _ordered(
        HTTP_LABELS,
        {
            **_ends(traffic, _host_header(traffic)),
            "request_protocol": f"%CEL({grpc} ? 'grpc' : 'http')%",
            "response_code": "%RESPONSE_CODE%",
            # Istio leaves this one empty, not "unknown", where there is none.
            "grpc_response_status": "%GRPC_STATUS_NUMBER%",
            "response_flags": "%RESPONSE_FLAGS%",
        },
    )


def tcp_labels(traffic: Traffic) -> tuple[tuple[str, str], ...]:
    """Names and formats of the labels of connections."""
    return _ordered(
        TCP_LABELS,
        {**_ends(traffic, ()), "request_protocol": "tcp", "response_flags": "%RESPONSE_FLAGS%"},
    )


def _host_header(traffic: Traffic) -> tuple[Operator, ...]:
    """Where no service is known a client names what it asked for. Behind others' requests that would let anyone invent
    values (Istio: `disable_host_header_fallback` of inbound listeners and gateways)."""
    return (Operator("REQ", ":AUTHORITY"),) if traffic is Traffic.OUTBOUND else ()


def _ends(traffic: Traffic, host: tuple[Operator, ...]) -> dict[str, str]:
    service = {
        "destination_service": first_of(_cluster("host"), *host),
        "destination_service_name": first_of(_cluster("name")),
        "destination_service_namespace": first_of(_cluster("namespace")),
    }
    if traffic in (Traffic.OUTBOUND, Traffic.GATEWAY):
        return service | {
            "reporter": "source",
            **_workload("source", {a: str(local(a)) for a in Attribute}),
            "source_principal": first_of(Operator("UPSTREAM_LOCAL_URI_SAN")),
            **_workload("destination", {a: first_of(*map(_endpoint, keys)) for a, keys in _UPSTREAM.items()}),
            "destination_principal": first_of(Operator("UPSTREAM_PEER_URI_SAN")),
            "connection_security_policy": UNKNOWN,
        }
    verified = traffic is Traffic.INBOUND_MTLS
    return service | {
        "reporter": "destination",
        **_workload("source", {a: str(peer(a)) if verified else UNKNOWN for a in Attribute}),
        "source_principal": first_of(Operator("DOWNSTREAM_PEER_URI_SAN")) if verified else UNKNOWN,
        **_workload("destination", {a: str(local(a)) for a in Attribute}),
        "destination_principal": first_of(Operator("DOWNSTREAM_LOCAL_URI_SAN")) if verified else UNKNOWN,
        "connection_security_policy": "mutual_tls" if verified else "none",
    }


def _workload(end: str, values: Mapping[Attribute, str]) -> dict[str, str]:
    return {f"{end}_{_WORKLOAD_LABELS[attribute]}": value for attribute, value in values.items()}


def _cluster(key: str) -> Operator:
    return Operator("CLUSTER_METADATA", f"istio:{key}")


def _endpoint(key: str) -> Operator:
    return Operator("UPSTREAM_METADATA", f"istio:{key}")


def _ordered(names: tuple[str, ...], values: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    return tuple((name, values[name]) for name in names)

"""Merge semantics: what a patch replaces, merges and appends."""

from datetime import timedelta

import pytest
from envoy_data_plane.envoy.config.cluster.v3 import (
    CircuitBreakers,
    CircuitBreakersThresholds,
    Cluster,
    ClusterLbPolicy,
    ClusterRingHashLbConfig,
    OutlierDetection,
)
from envoy_data_plane.envoy.config.core.v3 import Metadata, TransportSocket
from envoy_data_plane.envoy.extensions.transport_sockets.tls.v3 import DownstreamTlsContext, UpstreamTlsContext
from google.protobuf.message import DecodeError

from dragoman.codec import CLUSTER, encode, from_json, merge, pack, struct, to_json


def merged(base: Cluster, patch: Cluster) -> dict[str, object]:
    return to_json(CLUSTER, merge(CLUSTER, encode(base), encode(patch)))


def test_scalars_replace_and_absent_ones_stay() -> None:
    base = Cluster(name="a", lb_policy=ClusterLbPolicy.MAGLEV, alt_stat_name="s")
    assert merged(base, Cluster(name="b")) == {"name": "b", "lbPolicy": "MAGLEV", "altStatName": "s"}
    # proto3 has no way to say "set to the default" for such a field.
    assert merged(base, Cluster(lb_policy=ClusterLbPolicy.ROUND_ROBIN))["lbPolicy"] == "MAGLEV"


def test_durations_are_replaced_not_added_up() -> None:
    base, patch = Cluster(connect_timeout=timedelta(seconds=1.5)), Cluster(connect_timeout=timedelta(seconds=2))
    assert merged(base, patch) == {"connectTimeout": "2s"}
    assert merged(base, Cluster(connect_timeout=timedelta())) == {"connectTimeout": "0s"}


def test_wrapped_zeros_replace() -> None:
    base = Cluster(outlier_detection=OutlierDetection(consecutive_5xx=5, max_ejection_percent=50))
    patch = Cluster(outlier_detection=OutlierDetection(consecutive_5xx=0))
    assert merged(base, patch) == {"outlierDetection": {"consecutive5xx": 0, "maxEjectionPercent": 50}}


def test_repeated_fields_append() -> None:
    def thresholds(number: int) -> Cluster:
        return Cluster(circuit_breakers=CircuitBreakers(thresholds=[CircuitBreakersThresholds(max_requests=number)]))

    assert merged(thresholds(1), thresholds(2)) == {
        "circuitBreakers": {"thresholds": [{"maxRequests": 1}, {"maxRequests": 2}]}
    }


def test_map_entries_replace_by_key() -> None:
    base = Cluster(metadata=Metadata(filter_metadata={"a": struct({"x": 1, "y": 2}), "b": struct({"z": 1})}))
    patch = Cluster(metadata=Metadata(filter_metadata={"a": struct({"x": 3})}))
    assert merged(base, patch) == {"metadata": {"filterMetadata": {"a": {"x": 3}, "b": {"z": 1}}}}


def test_an_any_is_replaced() -> None:
    base = Cluster(transport_socket=TransportSocket(name="t", typed_config=pack(UpstreamTlsContext(sni="a"))))
    patch = Cluster(transport_socket=TransportSocket(typed_config=pack(DownstreamTlsContext())))
    assert to_json(CLUSTER, merge(CLUSTER, encode(base), encode(patch))) == {
        "transportSocket": {
            "name": "t",
            "typedConfig": {
                "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext"
            },
        }
    }


def test_a_member_of_a_oneof_displaces_the_other() -> None:
    base = from_json(CLUSTER, {"type": "EDS", "ringHashLbConfig": {"minimumRingSize": "5"}})
    patch = from_json(CLUSTER, {"clusterType": {"name": "x"}, "maglevLbConfig": {}})
    assert to_json(CLUSTER, merge(CLUSTER, base, patch)) == {"clusterType": {"name": "x"}, "maglevLbConfig": {}}


def test_merging_nothing_changes_nothing() -> None:
    base = encode(
        Cluster(
            name="a",
            ring_hash_lb_config=ClusterRingHashLbConfig(),
            metadata=Metadata(filter_metadata={"a": struct({})}),
        )
    )
    assert merge(CLUSTER, base, b"") == base
    assert merge(CLUSTER, b"", base) == base


def test_fields_newer_than_this_program_survive() -> None:
    assert merge(CLUSTER, b"\xfa\x3e\x03new", b"\x0a\x01a").endswith(b"\xfa\x3e\x03new")


def test_broken_bytes_are_an_error() -> None:
    with pytest.raises(DecodeError):
        merge(CLUSTER, b"\xff", b"")

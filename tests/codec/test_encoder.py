"""What the stock encoder gets wrong, and what a generated one could."""

import math
import struct
from datetime import UTC, datetime, timedelta

import pytest
from envoy_data_plane.envoy.config.cluster.v3 import Cluster, ClusterDiscoveryType, OutlierDetection
from envoy_data_plane.envoy.config.core.v3 import (
    Address,
    ConfigSource,
    Locality,
    Metadata,
    RuntimeDouble,
    SelfConfigSource,
    SocketAddress,
)
from envoy_data_plane.envoy.config.route.v3 import RetryPolicy, RouteAction
from envoy_data_plane.envoy.extensions.transport_sockets.tls.v3 import CertificateValidationContext
from envoy_data_plane.envoy.service.discovery.v3 import DeltaDiscoveryRequest
from envoy_data_plane.google.protobuf import Duration, Struct
from google.protobuf.duration_pb2 import Duration as UpbDuration

from dragoman.codec import decode, encode, value


@pytest.mark.parametrize(
    ("duration", "seconds", "nanos"),
    [
        (timedelta(seconds=-0.5), 0, -500_000_000),
        (timedelta(seconds=-1.25), -1, -250_000_000),
        (timedelta(seconds=-2), -2, 0),
        (timedelta(microseconds=-1), 0, -1000),
        (timedelta(microseconds=1), 0, 1000),
        (timedelta(days=40_000, microseconds=999_999), 3_456_000_000, 999_999_000),
        (timedelta(), 0, 0),
    ],
)
def test_durations_keep_sign_and_microseconds(duration: timedelta, seconds: int, nanos: int) -> None:
    read = decode(Cluster, encode(Cluster(connect_timeout=duration))).connect_timeout
    assert (read.seconds, read.nanos) == (seconds, nanos)
    assert read.ToTimedelta() == duration


def test_a_duration_message_keeps_nanoseconds() -> None:
    assert encode(Duration(seconds=-1, nanos=-1)) == UpbDuration(seconds=-1, nanos=-1).SerializeToString()


def test_a_zero_duration_is_present() -> None:
    assert decode(RouteAction, encode(RouteAction(timeout=timedelta()))).HasField("timeout")
    assert not decode(RouteAction, encode(RouteAction())).HasField("timeout")


def test_timestamps_before_the_epoch_count_forward() -> None:
    from envoy_data_plane.envoy.admin.v3 import BootstrapConfigDump

    moment = datetime(1969, 12, 31, 23, 59, 58, 500_000, tzinfo=UTC)
    read = decode(BootstrapConfigDump, encode(BootstrapConfigDump(last_updated=moment))).last_updated
    assert (read.seconds, read.nanos) == (-2, 500_000_000)
    with pytest.raises(TypeError):
        encode(BootstrapConfigDump(last_updated=datetime(2026, 1, 1)))


def test_a_wrapped_zero_is_present() -> None:
    assert encode(OutlierDetection(consecutive_5xx=0)) == b"\x0a\x00"
    assert encode(OutlierDetection()) == b""


def test_a_zero_in_a_oneof_is_present() -> None:
    read = decode(SocketAddress, encode(SocketAddress(address="::", port_value=0)))
    assert read.WhichOneof("port_specifier") == "port_value"
    assert decode(Cluster, encode(Cluster(type=ClusterDiscoveryType.STATIC))).WhichOneof("cluster_discovery_type")


def test_an_empty_message_is_present() -> None:
    assert decode(Address, encode(Address(socket_address=SocketAddress()))).HasField("socket_address")


def test_an_empty_message_in_a_list_is_an_element() -> None:
    # The stock encoder writes a field of number 1 there instead.
    from envoy_data_plane.envoy.config.endpoint.v3 import ClusterLoadAssignment, LocalityLbEndpoints

    assignment = ClusterLoadAssignment(endpoints=[LocalityLbEndpoints(), LocalityLbEndpoints(priority=1)])
    assert [group.priority for group in decode(ClusterLoadAssignment, encode(assignment)).endpoints] == [0, 1]


def test_negative_zero_is_a_value() -> None:
    read = decode(RuntimeDouble, encode(RuntimeDouble(default_value=-0.0)))
    assert math.copysign(1, read.default_value) == -1
    assert encode(RuntimeDouble(default_value=0.0)) == b""
    assert encode(value(-0.0)) == b"\x11" + struct.pack("<d", -0.0)


def test_maps_are_written_in_the_order_of_keys() -> None:
    def message(keys: str) -> Metadata:
        return Metadata(filter_metadata={key: Struct(fields={k: value(k) for k in keys}) for key in keys})

    assert encode(message("cab")) == encode(message("abc")) == encode(message("bca"))
    versions = {"b": "2", "a": "1", "é": "3", "aa": "4"}
    request = DeltaDiscoveryRequest(initial_resource_versions=versions)
    assert dict(decode(DeltaDiscoveryRequest, encode(request)).initial_resource_versions) == versions


def test_a_field_called_self() -> None:
    assert decode(ConfigSource, encode(ConfigSource(self=SelfConfigSource()))).HasField("self")


def test_unknown_fields_are_kept() -> None:
    locality = Locality(region="eu")
    locality._unknown_fields = b"\xfa\x3e\x03new"
    assert encode(locality) == b"\x0a\x02eu\xfa\x3e\x03new"
    assert decode(Locality, encode(locality)).SerializeToString() == encode(locality)


def test_packed_repeated_numbers() -> None:
    codes = [503, 0, 2**32 - 1]
    encoded = encode(RetryPolicy(retriable_status_codes=codes))
    assert list(decode(RetryPolicy, encoded).retriable_status_codes) == codes
    assert encoded.count(b"\x3a") == 1


def test_mutated_fields_are_written() -> None:
    cluster = Cluster(name="a")
    cluster.name = "b"
    assert decode(Cluster, encode(cluster)).name == "b"


def test_a_true_integer_is_one_and_a_number_is_a_bool() -> None:
    socket = SocketAddress(port_value=80)
    socket.port_value = True
    socket.ipv4_compat = 2  # type: ignore[assignment]
    read = decode(SocketAddress, encode(socket))
    assert (read.port_value, read.ipv4_compat) == (1, True)


@pytest.mark.parametrize("port", [-1, 2**64, "80", 80.5])
def test_what_a_field_cannot_hold_is_an_error(port: object) -> None:
    socket = SocketAddress()
    socket.port_value = port  # type: ignore[assignment]
    with pytest.raises((TypeError, ValueError)):
        encode(socket)


def test_only_messages_are_encoded() -> None:
    context = CertificateValidationContext()
    context.trusted_ca = {"filename": "ca.pem"}  # type: ignore[assignment]
    for wrong in (context, "text", None):
        with pytest.raises(TypeError):
            encode(wrong)  # type: ignore[arg-type]

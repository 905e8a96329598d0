"""Canonical JSON both ways: names, Any, and what is not known."""

from datetime import timedelta

import pytest
from betterproto2 import Message
from envoy_data_plane.envoy.config.cluster.v3 import Cluster, OutlierDetection
from envoy_data_plane.envoy.config.core.v3 import Metadata, TransportSocket, TypedExtensionConfig
from envoy_data_plane.envoy.config.trace.v3 import ZipkinConfig
from envoy_data_plane.envoy.extensions.transport_sockets.s2a.v3 import S2AConfiguration
from envoy_data_plane.google.protobuf import Any, Empty
from google.protobuf.message import DecodeError

from dragoman.codec import (
    CLUSTER,
    EXTENSION_CONFIG,
    InvalidJsonError,
    UnknownTypeError,
    decode,
    encode,
    from_json,
    pack,
    struct,
    to_json,
    type_url,
)

CORE = "envoy.config.core.v3"
HTTP_CONNECTION_MANAGER = "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
PATH_OPERATION = "envoy.type.http.v3.PathTransformation.Operation"

UNKNOWN = Any(type_url="type.googleapis.com/acme.v1.Extension", value=b"\xff\x00\x01")


@pytest.mark.parametrize(
    ("cls", "field", "name", "content"),
    [
        (OutlierDetection, "consecutive_5xx", "consecutive5xx", 7),
        (OutlierDetection, "enforcing_consecutive_5xx", "enforcingConsecutive5xx", 100),
        (ZipkinConfig, "trace_id_128bit", "traceId128bit", True),
        (S2AConfiguration, "s2a_address", "s2aAddress", "127.0.0.1:1"),
    ],
)
def test_names_that_the_stock_printer_gets_wrong(cls: type[Message], field: str, name: str, content: object) -> None:
    encoded = encode(cls(**{field: content}))
    assert to_json(cls, encoded) == {name: content}
    assert from_json(cls, {name: content}) == from_json(cls, {field: content}) == encoded


@pytest.mark.parametrize(
    ("message", "snake", "camel", "content"),
    [
        (f"{CORE}.Http1ProtocolOptions", "accept_http_10", "acceptHttp10", True),
        (f"{CORE}.Http1ProtocolOptions", "default_host_for_http_10", "defaultHostForHttp10", "a.example"),
        (f"{CORE}.Http1ProtocolOptions", "ignore_http_11_upgrade", "ignoreHttp11Upgrade", [{"exact": "h2c"}]),
        (HTTP_CONNECTION_MANAGER, "proxy_100_continue", "proxy100Continue", True),
        (PATH_OPERATION, "normalize_path_rfc_3986", "normalizePathRfc3986", {}),
    ],
)
def test_names_that_the_stock_parser_refuses(message: str, snake: str, camel: str, content: object) -> None:
    encoded = from_json(message, {camel: content})
    assert encoded
    assert from_json(message, {snake: content}) == encoded
    assert to_json(message, encoded) == {camel: content}


def test_any_is_expanded_both_ways() -> None:
    inner = Cluster(name="inner", connect_timeout=timedelta(seconds=1))
    outer = TypedExtensionConfig(name="x", typed_config=pack(TransportSocket(name="t", typed_config=pack(inner))))
    json = to_json(EXTENSION_CONFIG, encode(outer))
    assert json == {
        "name": "x",
        "typedConfig": {
            "@type": type_url(TransportSocket),
            "name": "t",
            "typedConfig": {"@type": CLUSTER, "name": "inner", "connectTimeout": "1s"},
        },
    }
    assert from_json(EXTENSION_CONFIG, json) == encode(outer)


def test_an_any_of_unknown_type_survives_at_any_depth() -> None:
    metadata = Metadata(filter_metadata={"f": struct({"k": "v"})}, typed_filter_metadata={"a": UNKNOWN, "b": UNKNOWN})
    outer = TypedExtensionConfig(typed_config=pack(Cluster(name="c", metadata=metadata)))
    json = to_json(EXTENSION_CONFIG, encode(outer))
    opaque = {"@type": UNKNOWN.type_url, "value": "/wAB"}
    assert json["typedConfig"]["metadata"]["typedFilterMetadata"] == {"a": opaque, "b": opaque}
    assert from_json(EXTENSION_CONFIG, json) == encode(outer)


def test_unknown_any_beside_known_wrappers_and_lists() -> None:
    from envoy_data_plane.envoy.config.listener.v3 import Filter, FilterChain, Listener

    listener = Listener(
        name="l",
        filter_chains=[
            FilterChain(filters=[Filter(name="u", typed_config=UNKNOWN), Filter(name="e", typed_config=pack(Empty()))])
        ],
    )
    json = to_json(Listener, encode(listener))
    assert json["filterChains"][0]["filters"][0]["typedConfig"]["value"] == "/wAB"
    assert from_json(Listener, json) == encode(listener)


def test_an_unknown_any_given_as_fields_is_refused() -> None:
    wrong = {"typedConfig": {"@type": UNKNOWN.type_url, "someField": 1}}
    with pytest.raises(InvalidJsonError):
        from_json(EXTENSION_CONFIG, wrong)


def test_an_any_that_lies_about_its_content_is_an_error() -> None:
    broken = TypedExtensionConfig(typed_config=Any(type_url=CLUSTER, value=b"\xff"))
    with pytest.raises(DecodeError):
        to_json(EXTENSION_CONFIG, encode(broken))


def test_an_empty_any() -> None:
    assert to_json(TypedExtensionConfig, encode(TypedExtensionConfig(typed_config=Any()))) == {"typedConfig": {}}
    assert from_json(TypedExtensionConfig, {"typedConfig": {}}) == encode(TypedExtensionConfig(typed_config=Any()))


@pytest.mark.parametrize(
    ("json", "named"),
    [
        ({"nme": "x"}, "nme"),
        ({"connectTimeout": "soon"}, "connectTimeout"),
        ({"type": "NEVER"}, "type"),
        ({"transportSocket": {"typedConfig": {"@type": CLUSTER, "lbPolicyy": 1}}}, "lbPolicyy"),
    ],
)
def test_wrong_json_names_the_field(json: dict[str, object], named: str) -> None:
    with pytest.raises(InvalidJsonError, match=named):
        from_json(CLUSTER, json)


def test_negative_durations_round_trip() -> None:
    assert from_json(Cluster, {"connectTimeout": "-0.500s"}) == encode(Cluster(connect_timeout=timedelta(seconds=-0.5)))
    nanos = from_json(Cluster, {"connectTimeout": "0.000000001s"})
    assert to_json(Cluster, nanos) == {"connectTimeout": "0.000000001s"}


def test_fields_newer_than_this_program_survive_decoding() -> None:
    newer = encode(Cluster(name="c")) + b"\xfa\x3e\x03new"
    assert decode(Cluster, newer).SerializeToString() == newer
    assert to_json(Cluster, newer) == {"name": "c"}


@pytest.mark.parametrize(
    "url", ["", "x", "acme.v1.Extension", "envoy.config.cluster.v3.Nothing", "envoy..v3.Cluster", "os.Path"]
)
def test_unknown_types(url: str) -> None:
    for operation in (lambda: decode(url, b""), lambda: to_json(url, b""), lambda: from_json(url, {})):
        with pytest.raises(UnknownTypeError):
            operation()

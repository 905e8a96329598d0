"""Resources on the wire: names, versions, references."""

import dataclasses
import importlib

import pytest
from envoy_data_plane.envoy.config.cluster.v3 import Cluster
from envoy_data_plane.envoy.config.core.v3 import TypedExtensionConfig
from envoy_data_plane.envoy.config.endpoint.v3 import ClusterLoadAssignment
from envoy_data_plane.envoy.config.listener.v3 import Listener
from envoy_data_plane.envoy.config.route.v3 import RouteConfiguration
from envoy_data_plane.envoy.extensions.transport_sockets.tls.v3 import Secret

import dragoman.codec
from dragoman.codec import (
    CLUSTER,
    ENDPOINT,
    EXTENSION_CONFIG,
    LISTENER,
    ROUTE,
    SECRET,
    Encoded,
    UnknownTypeError,
    decode,
    encode,
    pack,
    type_url,
)


@pytest.mark.parametrize(
    ("url", "message"),
    [
        (CLUSTER, Cluster(name="x")),
        (ENDPOINT, ClusterLoadAssignment(cluster_name="x")),
        (LISTENER, Listener(name="x")),
        (ROUTE, RouteConfiguration(name="x")),
        (SECRET, Secret(name="x")),
        (EXTENSION_CONFIG, TypedExtensionConfig(name="x")),
    ],
)
def test_resources_have_their_type_and_name(url: str, message: Cluster) -> None:
    resource = Encoded.of(message)
    assert (resource.type_url, resource.name, resource.payload) == (url, "x", encode(message))
    assert type_url(type(message)) == url


def test_the_version_is_of_the_content_alone() -> None:
    one = Encoded.of(Cluster(name="x"))
    other = Encoded.of(Cluster(name="x"), refs=frozenset({(ENDPOINT, "x")}))
    assert one.version == other.version
    assert one != other
    assert one.version != Encoded.of(Cluster(name="y")).version
    # `b2sum -l 64` of the payload, pinned: replicas of different releases must agree on it.
    assert one.version == "46cc7b931720e536"
    assert one == Encoded.of_payload(CLUSTER, "x", b"\x0a\x01x")


def test_resources_are_values() -> None:
    resource = Encoded.of(Cluster(name="x"))
    assert {resource: 1}[Encoded.of(Cluster(name="x"))] == 1
    with pytest.raises(dataclasses.FrozenInstanceError):
        resource.name = "y"  # type: ignore[misc]


def test_pack_keeps_type_and_content() -> None:
    packed = pack(Cluster(name="x"))
    assert packed.type_url == CLUSTER
    assert decode(packed.type_url, packed.value).name == "x"


def test_only_registered_messages_have_a_type_url() -> None:
    with pytest.raises(UnknownTypeError):
        type_url(int)  # type: ignore[arg-type]


def test_all_that_is_exported_exists() -> None:
    module = importlib.reload(dragoman.codec)
    assert all(hasattr(module, name) for name in module.__all__)

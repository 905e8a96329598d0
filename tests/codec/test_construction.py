"""Trusted constructors behave as the validating ones do for right arguments, and can be left out."""

import copy
import dataclasses
import os
import subprocess
import sys

import pytest
from envoy_data_plane.envoy.config.cluster.v3 import (
    Cluster,
    ClusterDiscoveryType,
    ClusterEdsClusterConfig,
    ClusterLbPolicy,
)
from envoy_data_plane.envoy.config.core.v3 import Address, ConfigSource, SelfConfigSource
from envoy_data_plane.google.protobuf import Duration

from dragoman import trusted_messages
from dragoman.codec import encode
from dragoman.codec.messages import CelMatcher


def test_fields_not_given_have_their_defaults() -> None:
    cluster = Cluster(name="a")
    assert (cluster.name, cluster.alt_stat_name, cluster.type, cluster.connect_timeout) == ("a", "", None, None)
    assert cluster.lb_policy is ClusterLbPolicy.ROUND_ROBIN
    assert (cluster.filters, cluster.typed_extension_protocol_options) == ([], {})
    assert cluster == Cluster(name="a")
    assert "name='a'" in repr(cluster)


def test_containers_are_not_shared_between_instances() -> None:
    first, second = Cluster(), Cluster()
    first.filters.append(None)  # type: ignore[arg-type]
    first.typed_extension_protocol_options["a"] = None  # type: ignore[assignment]
    assert (second.filters, second.typed_extension_protocol_options) == ([], {})


def test_misspelt_fields_are_refused() -> None:
    with pytest.raises((TypeError, ValueError), match="nme"):
        Cluster(nme="a")  # type: ignore[call-arg]


def test_a_field_called_self_and_positional_arguments() -> None:
    source = SelfConfigSource()
    assert ConfigSource(self=source).self is source
    assert Duration(1, 2) == Duration(seconds=1, nanos=2)


def test_copies_are_equal_and_apart() -> None:
    original = Cluster(name="a", eds_cluster_config=ClusterEdsClusterConfig(service_name="s"))
    for copied in (copy.deepcopy(original), dataclasses.replace(original)):
        assert encode(copied) == encode(original)
        copied.name = "b"
    assert original.name == "a"


STRICT_ONLY = """
import warnings
warnings.simplefilter("ignore")
from dragoman.codec import encode
from envoy_data_plane.envoy.config.cluster.v3 import Cluster, ClusterDiscoveryType
from envoy_data_plane.envoy.config.core.v3 import TypedExtensionConfig

def attempt(**fields):
    try:
        Cluster(**fields)
    except ValueError:
        return "refused"
    return "accepted"

print(attempt(name="a"), attempt(name=5), attempt(filters=None))
print(attempt(type=ClusterDiscoveryType.EDS, cluster_type={}))
print(encode(Cluster(name="a", type=ClusterDiscoveryType.EDS)).hex())
"""


def run(script: str, **environment: str) -> list[str]:
    inherited = {key: text for key, text in os.environ.items() if key != "DRAGOMAN_STRICT"}
    done = subprocess.run(
        [sys.executable, "-c", script], env=inherited | environment, capture_output=True, text=True, check=True
    )
    return done.stdout.splitlines()


def test_strict_mode_validates_and_encodes_the_same() -> None:
    encoded = encode(Cluster(name="a", type=ClusterDiscoveryType.EDS)).hex()
    assert run(STRICT_ONLY, DRAGOMAN_STRICT="1") == ["accepted refused refused", "refused", encoded]
    assert run(STRICT_ONLY) == ["accepted accepted accepted", "accepted", encoded]


LATE_AND_EARLY = """
import warnings
warnings.simplefilter("ignore")
from envoy_data_plane.envoy.config.cluster.v3 import Cluster
import dragoman
from envoy_data_plane.envoy.config.listener.v3 import Listener
print(Cluster(name=1).name, Listener(name=2).name)
"""


def test_classes_imported_before_and_after_the_codec_are_trusted() -> None:
    assert run(LATE_AND_EARLY) == ["1 2"]


@pytest.mark.skipif(trusted_messages.STRICT, reason="nothing is replaced in strict mode")
def test_no_validator_is_made() -> None:
    assert not hasattr(Address, "__pydantic_validator__")
    assert not hasattr(CelMatcher, "__pydantic_validator__")

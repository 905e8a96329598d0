"""Synthesised descriptors against Envoy's own, and how lazily they are made."""

import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from betterproto2 import Message
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.descriptor_pb2 import DescriptorProto, EnumDescriptorProto, FieldDescriptorProto

from dragoman.codec import messages, schema
from dragoman.codec.runtime import TYPES, Types
from tests.codec.envoy_descriptors import ENVOY, declarations
from tests.codec.random_messages import v3_classes

Declarations = tuple[dict[str, DescriptorProto], dict[str, EnumDescriptorProto]]

# Experimental, and changed between the release envoy-data-plane was made of and Envoy 1.40.
CHANGED = {"envoy.extensions.filters.http.mcp_json_rest_bridge.v3.ServerInfo.supported_protocol_versions"}


@pytest.fixture(scope="module")
def classes() -> list[type[Message]]:
    return v3_classes()


@pytest.fixture(scope="module")
def envoy() -> Declarations:
    return declarations(ENVOY)


def oneof(message: DescriptorProto, field: FieldDescriptorProto) -> str | None:
    return message.oneof_decl[field.oneof_index].name if field.HasField("oneof_index") else None


def differences(ours: Descriptor, message: DescriptorProto, enums: dict[str, EnumDescriptorProto]) -> Iterator[str]:
    """Yield how our fields differ from Envoy's; fields that only Envoy has are newer and do not count."""
    written = DescriptorProto()
    ours.CopyToProto(written)
    entries = {nested.name: nested for nested in message.nested_type}
    for nested in ours.nested_types:
        if nested.GetOptions().map_entry:
            yield from differences(nested, entries[nested.name], enums)
    theirs = {field.number: field for field in message.field}
    for field in written.field:
        where = f"{ours.full_name}.{field.name}"
        if where in CHANGED:
            continue
        if field.number not in theirs:
            yield f"{where} is not in Envoy"
            continue
        other = theirs[field.number]
        for aspect in ("name", "type", "label", "proto3_optional"):
            if getattr(field, aspect) != getattr(other, aspect):
                yield f"{where}: {aspect} is {getattr(other, aspect)} in Envoy"
        if oneof(written, field) != oneof(message, other):
            yield f"{where}: in oneof {oneof(message, other)} in Envoy"
        described: FieldDescriptor = ours.fields_by_number[field.number]
        if other.json_name and described.json_name != other.json_name:
            yield f"{where}: named {other.json_name} in Envoy's JSON"
        if field.type == FieldDescriptorProto.TYPE_MESSAGE and field.type_name != other.type_name:
            yield f"{where}: {field.type_name} is {other.type_name} in Envoy"
        if field.type == FieldDescriptorProto.TYPE_ENUM:
            values = {(value.name, value.number) for value in described.enum_type.values}
            if extra := values - {(value.name, value.number) for value in enums[other.type_name[1:]].value}:
                yield f"{where}: {extra} are not in Envoy's {other.type_name}"


@pytest.mark.envoy
def test_every_field_is_as_envoy_itself_has_it(classes: list[type[Message]], envoy: Declarations) -> None:
    declared, enums = envoy
    found = [cls for cls in classes if schema.full_name(cls) in declared]
    assert len(found) > 1300
    wrong = [
        difference
        for cls in found
        for difference in differences(TYPES.message_class(cls).DESCRIPTOR, declared[schema.full_name(cls)], enums)
    ]
    assert wrong == []


@pytest.mark.envoy
def test_our_own_messages_are_complete(envoy: Declarations) -> None:
    declared, _ = envoy
    for name in messages.__all__:
        cls = getattr(messages, name)
        if (full_name := schema.full_name(cls)).startswith("istio."):
            continue  # Envoy does not know them
        ours = {field.number for field in TYPES.message_class(cls).DESCRIPTOR.fields}
        assert ours == {field.number for field in declared[full_name].field}, full_name


@pytest.mark.envoy
@pytest.mark.parametrize(
    "name",
    [
        "envoy.config.cluster.v3.Cluster",
        "envoy.config.listener.v3.Listener",
        "envoy.config.route.v3.RouteConfiguration",
        "envoy.extensions.access_loggers.stats.v3.Config",
        "envoy.extensions.filters.http.credential_injector.v3.CredentialInjector",
        "envoy.extensions.filters.http.set_filter_state.v3.Config",
        "envoy.extensions.filters.http.upstream_codec.v3.UpstreamCodec",
        "envoy.extensions.filters.listener.set_filter_state.v3.Config",
        "envoy.extensions.filters.network.set_filter_state.v3.Config",
        "envoy.extensions.http.injected_credentials.generic.v3.Generic",
        "envoy.extensions.transport_sockets.tls.cert_selectors.on_demand_secret.v3.Config",
        "envoy.extensions.transport_sockets.tls.v3.Secret",
    ],
)
def test_what_the_mesh_is_made_of_exists_in_both(name: str, envoy: Declarations) -> None:
    ours = {field.name for field in TYPES.message_class(name).DESCRIPTOR.fields}
    theirs = {field.name for field in envoy[0][name].field}
    # Added in 1.40; nothing in the mesh needs them yet.
    assert theirs - ours <= {"queuing_policies", "stats_matcher", "route_specifiers"}


def test_type_urls_lead_to_the_module_that_defines_them(classes: list[type[Message]]) -> None:
    for cls in classes:
        if not cls.__module__.startswith("dragoman."):
            assert cls.__module__ == f"envoy_data_plane.{schema.package_of(schema.full_name(cls))}"


def test_types_built_in_any_order_are_the_same(classes: list[type[Message]]) -> None:
    names = sorted(schema.full_name(cls) for cls in classes if ".config.route." in schema.full_name(cls))
    forwards, backwards = Types(), Types()
    for name in names:
        forwards.message_class(name)
    for name in reversed(names):
        backwards.message_class(name)
    for name in names:
        one, other = DescriptorProto(), DescriptorProto()
        forwards.message_class(name).DESCRIPTOR.CopyToProto(one)
        backwards.message_class(name).DESCRIPTOR.CopyToProto(other)
        assert one == other


def test_types_are_built_by_several_threads_at_once(classes: list[type[Message]]) -> None:
    types, names = Types(), [schema.full_name(cls) for cls in classes[::20]]
    with ThreadPoolExecutor(8) as threads:
        built = list(threads.map(types.message_class, names * 3))
    assert [cls.DESCRIPTOR.full_name for cls in built] == names * 3
    assert built[: len(names)] == built[len(names) : 2 * len(names)]


def test_a_type_inside_an_any_is_imported_when_it_is_read() -> None:
    script = """
import sys, warnings
warnings.simplefilter("ignore")
from dragoman.codec import from_json, to_json
router = "envoy_data_plane.envoy.extensions.filters.http.router.v3"
assert router not in sys.modules
json = {"typedConfig": {"@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router",
                        "suppressEnvoyHeaders": True}}
url = "type.googleapis.com/envoy.config.core.v3.TypedExtensionConfig"
assert to_json(url, from_json(url, json)) == json
assert router in sys.modules

own = "type.googleapis.com/xds.type.matcher.v3.CelMatcher"
assert "dragoman.codec.messages" not in sys.modules
assert to_json(own, from_json(own, {"description": "d"})) == {"description": "d"}
"""
    subprocess.run([sys.executable, "-c", script], check=True)

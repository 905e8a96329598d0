"""TypedStruct: a configuration given as JSON together with the type it stands for.

Sources: cncf/xds xds/type/v3/typed_struct.proto and udpa/type/v1/typed_struct.proto. Istio's EnvoyFilter and Wasm
configurations use both names.
"""

import betterproto2
from envoy_data_plane.google.protobuf import Struct
from envoy_data_plane.message_pool import default_message_pool
from pydantic.dataclasses import dataclass


@dataclass(eq=False, repr=False, config={"extra": "forbid"})
class TypedStruct(betterproto2.Message):
    """xds.type.v3.TypedStruct."""

    type_url: "str" = betterproto2.field(1, betterproto2.TYPE_STRING)
    value: "Struct | None" = betterproto2.field(2, betterproto2.TYPE_MESSAGE, optional=True)


@dataclass(eq=False, repr=False, config={"extra": "forbid"})
class UdpaTypedStruct(betterproto2.Message):
    """udpa.type.v1.TypedStruct, the older name of the same thing."""

    type_url: "str" = betterproto2.field(1, betterproto2.TYPE_STRING)
    value: "Struct | None" = betterproto2.field(2, betterproto2.TYPE_MESSAGE, optional=True)


default_message_pool.register_message("xds.type.v3", "TypedStruct", TypedStruct)
default_message_pool.register_message("udpa.type.v1", "TypedStruct", UdpaTypedStruct)

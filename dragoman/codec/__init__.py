"""Protobuf for the rest of the project.

Messages are built with envoy-data-plane's dataclasses and written by `encode`; everything that reads goes through
google.protobuf's C runtime. betterproto2's own `bytes()`, `parse()`, `to_dict()` and `from_dict()` are never used: they
are 30 to 3000 times slower and wrong in places.
"""

from dragoman.codec.canonical_json import InvalidJsonError, decode, from_json, to_json
from dragoman.codec.encoded import (
    CLUSTER,
    ENDPOINT,
    EXTENSION_CONFIG,
    LISTENER,
    ROUTE,
    SECRET,
    Encoded,
    Ref,
    content_hash,
    pack,
)
from dragoman.codec.encoder import encode
from dragoman.codec.merge import merge
from dragoman.codec.schema import UnknownTypeError, type_url
from dragoman.codec.structs import struct, value
from dragoman.codec.wire import frame

__all__ = [
    "CLUSTER",
    "ENDPOINT",
    "EXTENSION_CONFIG",
    "LISTENER",
    "ROUTE",
    "SECRET",
    "Encoded",
    "InvalidJsonError",
    "Ref",
    "UnknownTypeError",
    "content_hash",
    "decode",
    "encode",
    "frame",
    "from_json",
    "merge",
    "pack",
    "struct",
    "to_json",
    "type_url",
    "value",
]

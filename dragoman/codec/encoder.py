"""Protobuf encoding by one generated function per message class.

The stock encoder validates every nested message again and looks up every default under `warnings.catch_warnings`; it is
thirty times slower and depends on global state. The generated functions read the instance's `__dict__` and write fields
in the order of their numbers and maps in the order of their keys, so that equal messages always have equal bytes.

The order of keys is that of google.protobuf's deterministic serialisation (text ascending, but a prefix after what it
is a prefix of; numbers descending, unsigned): a resource that was merged with a patch or read from JSON has the same
bytes, and so the same version, as one that was built.
"""

import struct
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Final

import betterproto2
from betterproto2 import FieldMetadata, Message

from dragoman.codec import schema
from dragoman.codec.wire import FIXED32, FIXED64, LENGTH_DELIMITED, VARINT, signed_varint, tag, varint, zigzag_varint

_Encoder = Callable[[Message], bytes]

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)
_BOOL: Final = (b"\x00", b"\x01")
_FIXED_FORMATS: Final = {
    "double": "<d",
    "float": "<f",
    "fixed32": "<I",
    "fixed64": "<Q",
    "sfixed32": "<i",
    "sfixed64": "<q",
}
_WIRE_TYPES: Final = (
    dict.fromkeys(betterproto2.WIRE_VARINT_TYPES, VARINT)
    | dict.fromkeys(betterproto2.WIRE_FIXED_32_TYPES, FIXED32)
    | dict.fromkeys(betterproto2.WIRE_FIXED_64_TYPES, FIXED64)
    | dict.fromkeys(betterproto2.WIRE_LEN_DELIM_TYPES, LENGTH_DELIMITED)
)


def encode_duration(value: timedelta) -> bytes:
    """Encode a google.protobuf.Duration, whose seconds and nanos have the same sign."""
    seconds, microseconds = divmod(abs(value) // _MICROSECOND, 1_000_000)
    sign = -1 if value < timedelta() else 1
    return _seconds_and_nanos(sign * seconds, sign * microseconds * 1000)


def encode_timestamp(value: datetime) -> bytes:
    """Encode a google.protobuf.Timestamp, whose nanos always count forward. A naive datetime raises `TypeError`."""
    seconds, microseconds = divmod((value - _EPOCH) // _MICROSECOND, 1_000_000)
    return _seconds_and_nanos(seconds, microseconds * 1000)


def _seconds_and_nanos(seconds: int, nanos: int) -> bytes:
    return (b"\x08" + signed_varint(seconds) if seconds else b"") + (b"\x10" + signed_varint(nanos) if nanos else b"")


def _prefix_last(key: str) -> str:
    """Sort key by which a text comes after those that it is a prefix of."""
    return key + "\U0010ffff"


def _unsigned(key: int) -> int:
    """Sort key that puts negative numbers above the positive ones, as their two's complement is."""
    return key & 0xFFFF_FFFF_FFFF_FFFF


_NAMESPACE: Final[dict[str, object]] = {
    "unsigned": _unsigned,
    "prefix_last": _prefix_last,
    "varint": varint,
    "signed_varint": signed_varint,
    "zigzag_varint": zigzag_varint,
    "encode_duration": encode_duration,
    "encode_timestamp": encode_timestamp,
    "BOOL": _BOOL,
} | {f"pack_{kind}": struct.Struct(fmt).pack for kind, fmt in _FIXED_FORMATS.items()}


def _scalar(kind: str, value: str) -> str:
    """Return the expression that encodes a number without its tag."""
    match kind:
        case "bool":
            return f"BOOL[not not {value}]"
        case "enum" | "int32" | "int64":
            return f"signed_varint({value})"
        case "uint32" | "uint64":
            return f"varint({value})"
        case "sint32" | "sint64":
            return f"zigzag_varint({value})"
        case _:
            return f"pack_{kind}({value})"


def _is_set(kind: str, value: str) -> str:
    """Return the condition under which a scalar without presence is on the wire."""
    if kind in ("double", "float"):
        # Zero means all bits zero: -0.0 is a value like any other.
        return f"pack_{kind}({value}) != {bytes(8 if kind == 'double' else 4)!r}"
    return value


def _body(kind: str, value: str, unwrap: Callable[[], type[Message]] | None) -> str:
    """Return the expression for the payload of a length-delimited value."""
    match kind:
        case "string":
            return f"{value}.encode()"
        case "bytes":
            return value
    if unwrap is None:
        return f"encoders[{value}.__class__]({value})"
    wrapper = unwrap()
    match wrapper.__name__:
        case "Duration":
            return f"encode_duration({value})"
        case "Timestamp":
            return f"encode_timestamp({value})"
    ((_, meta),) = schema.fields(wrapper)
    inner, key = meta.proto_type, tag(1, _WIRE_TYPES[meta.proto_type])
    if inner in ("string", "bytes"):
        payload = _body(inner, value, None)
        return f"({key!r} + varint(len(s := {payload})) + s if {value} else b'')"
    return f"({key!r} + {_scalar(inner, value)} if {_is_set(inner, value)} else b'')"


def _entry(key: bytes, kind: str, value: str, unwrap: Callable[[], type[Message]] | None) -> str:
    """Return the expression for a value with its tag."""
    if _WIRE_TYPES[kind] == LENGTH_DELIMITED:
        return f"{key!r} + varint(len(b := {_body(kind, value, unwrap)})) + b"
    return f"{key!r} + {_scalar(kind, value)}"


def _field(name: str, meta: FieldMetadata) -> list[str]:
    """Return the statements that append one field to `out`."""
    kind, unwrap = meta.proto_type, meta.unwrap
    read, framed = f"v = fields[{name!r}]", tag(meta.number, LENGTH_DELIMITED)
    if meta.map_meta:
        key, value = meta.map_meta
        order = "key=prefix_last" if key.proto_type == "string" else "key=unsigned, reverse=True"
        return [
            read,
            "if v:",
            f"    for k in sorted(v, {order}):",
            "        x = v[k]",
            f"        e = {_entry(tag(1, _WIRE_TYPES[key.proto_type]), key.proto_type, 'k', None)}",
            f"        e += {_entry(tag(2, _WIRE_TYPES[value.proto_type]), value.proto_type, 'x', value.unwrap)}",
            f"        add({framed!r} + varint(len(e)) + e)",
        ]
    if meta.repeated:
        if kind in betterproto2.PACKED_TYPES:
            packed = f"b''.join([{_scalar(kind, 'x')} for x in v])"
            return [read, "if v:", f"    b = {packed}", f"    add({framed!r} + varint(len(b)) + b)"]
        return [read, "if v:", "    for x in v:", f"        add({_entry(framed, kind, 'x', unwrap)})"]
    presence = meta.optional or meta.group or kind == "message"
    condition = "v is not None" if presence else _is_set(kind, "v")
    return [read, f"if {condition}:", f"    add({_entry(tag(meta.number, _WIRE_TYPES[kind]), kind, 'v', unwrap)})"]


def _generate(cls: type[Message]) -> _Encoder:
    lines = [line for field, meta in schema.fields(cls) for line in _field(field.name, meta)]
    source = "\n    ".join(
        [
            "def encode(message):",
            "fields = message.__dict__",
            "out = []",
            "add = out.append",
            *lines,
            # What a parser kept but did not understand: protobuf.dev, "Unknown Fields".
            "if unknown := fields.get('_unknown_fields'):",
            "    add(unknown)",
            "return b''.join(out)",
        ]
    )
    namespace = _NAMESPACE | {"encoders": _encoders}
    # The source is made of field names, tags and fixed expressions only; nothing in it comes from outside.
    exec(compile(source, f"<encoder of {cls.__module__}.{cls.__name__}>", "exec"), namespace)  # noqa: S102
    return namespace["encode"]  # type: ignore[return-value]


class _Encoders(dict[type[Message], _Encoder]):
    """Encoders by class, generated when a class is first met."""

    def __missing__(self, cls: type[Message]) -> _Encoder:
        encoder = self[cls] = _generate(cls)
        return encoder


_encoders: Final = _Encoders()


def encode(message: Message) -> bytes:
    """Return the deterministic wire form of a message: fields by number, maps by key.

    Raises `TypeError` or `ValueError` for a value that its field cannot hold.
    """
    return _encoders[message.__class__](message)

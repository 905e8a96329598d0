"""Protobuf descriptors written from envoy-data-plane's dataclasses, as protoc would write them from .proto files."""

from collections.abc import Iterable
from typing import Final

import betterproto2
from betterproto2 import FieldMetadata, Message
from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    EnumDescriptorProto,
    FieldDescriptorProto,
    FileDescriptorProto,
)

from dragoman.codec import schema

_TYPES: Final = {
    kind: getattr(FieldDescriptorProto, f"TYPE_{kind.upper()}")
    for kind in (*betterproto2.WIRE_VARINT_TYPES, *betterproto2.FIXED_TYPES, "string", "bytes", "message")
}
_LABELS: Final = {False: FieldDescriptorProto.LABEL_OPTIONAL, True: FieldDescriptorProto.LABEL_REPEATED}


def top_level(name: str) -> str:
    """Return the full name of the outermost message that contains the message `name`."""
    package = schema.package_of(name)
    return f"{package}.{name[len(package) + 1 :].partition('.')[0]}"


def enum_package(enum: type[betterproto2.Enum]) -> str:
    """Return the package that an enum is declared in, on its own."""
    # Values of an enum are named in the scope around it, and dataclasses do not tell which message an enum was nested
    # in: a package per enum keeps equal value names apart. Neither the wire nor JSON shows an enum's full name.
    return f"{enum.__module__}.{enum.__name__}"


def enum_descriptor(enum: type[betterproto2.Enum]) -> EnumDescriptorProto:
    """Describe an enum."""
    descriptor = EnumDescriptorProto(name=enum.__name__)
    renamed = enum.betterproto_value_to_renamed_proto_names()
    # proto3 wants the zero value first.
    members = sorted(enum.__members__.items(), key=lambda item: (item[1].value != 0, item[1].value))
    if len({member.value for _, member in members}) != len(members):
        descriptor.options.allow_alias = True
    for name, member in members:
        descriptor.value.add(name=renamed.get(member.value, name), number=member.value)
    return descriptor


class Unit:
    """A top-level message with everything nested in it, and the names of what their fields refer to."""

    def __init__(self, name: str, classes: Iterable[type[Message]]) -> None:
        self.name = name
        self.classes = sorted(classes, key=schema.full_name)
        self.messages: dict[str, None] = {}  # top-level messages, in a stable order
        self.enums: set[type[betterproto2.Enum]] = set()
        self._targets: dict[tuple[type[Message], str], type] = {}
        for cls in self.classes:
            for field, meta in schema.fields(cls):
                value = meta.map_meta[1] if meta.map_meta else meta
                if value.proto_type not in ("message", "enum"):
                    continue
                target = value.unwrap() if value.unwrap else schema.field_type(cls, field)
                self._targets[cls, field.name] = target
                if schema.is_message(target):
                    self.messages[top_level(schema.full_name(target))] = None
                else:
                    self.enums.add(target)

    def write(self, file: FileDescriptorProto) -> None:
        """Append this unit's messages to `file`."""
        written: dict[str, DescriptorProto] = {}
        for cls in self.classes:  # by name, so that a message precedes those nested in it
            name = schema.full_name(cls)
            parent, _, short = name.rpartition(".")
            descriptor = written[parent].nested_type.add() if parent in written else file.message_type.add()
            descriptor.name = short
            self._write_fields(descriptor, cls, name)
            written[name] = descriptor

    def _write_fields(self, descriptor: DescriptorProto, cls: type[Message], name: str) -> None:
        oneofs: dict[str, int] = {}
        optional: list[FieldDescriptorProto] = []
        for field, meta in schema.fields(cls):
            # A name that is a Python keyword has an underscore appended.
            target, proto_name = self._targets.get((cls, field.name)), field.name.rstrip("_")
            if meta.map_meta:
                entry = descriptor.nested_type.add(name=proto_name.title().replace("_", "") + "Entry")
                entry.options.map_entry = True
                key, value = meta.map_meta
                _write_field(entry, "key", key, None)
                _write_field(entry, "value", value, target)
                descriptor.field.add(
                    name=proto_name,
                    number=meta.number,
                    label=FieldDescriptorProto.LABEL_REPEATED,
                    type=FieldDescriptorProto.TYPE_MESSAGE,
                    type_name=f".{name}.{entry.name}",
                )
                continue
            written = _write_field(descriptor, proto_name, meta, target)
            if meta.group:
                if meta.group not in oneofs:
                    oneofs[meta.group] = len(oneofs)
                    descriptor.oneof_decl.add(name=meta.group)
                written.oneof_index = oneofs[meta.group]
            elif meta.optional and meta.proto_type != "message":
                optional.append(written)
        for written in optional:  # the oneof that stands for proto3's "optional" comes after the real ones
            written.proto3_optional = True
            written.oneof_index = len(descriptor.oneof_decl)
            descriptor.oneof_decl.add(name=f"_{written.name}")


def _write_field(
    descriptor: DescriptorProto, name: str, meta: FieldMetadata, target: type | None
) -> FieldDescriptorProto:
    field = descriptor.field.add(
        name=name, number=meta.number, label=_LABELS[bool(meta.repeated)], type=_TYPES[meta.proto_type]
    )
    if target is None:
        return field
    if schema.is_message(target):
        field.type_name = f".{schema.full_name(target)}"
    else:
        field.type_name = f".{enum_package(target)}.{target.__name__}"
    return field

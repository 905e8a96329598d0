"""Message classes of google.protobuf's C runtime, synthesised from envoy-data-plane's metadata.

Everything that reads protobuf (parsing, JSON, merging) is done by that runtime: it is hundreds of times faster than
betterproto2 and canonical. It needs descriptors, and no package ships Envoy's .proto files, so the descriptors are
written here from the dataclasses. They are built when a type is first asked for, together with the types it reaches:
the start of the process pays nothing, and a type found only inside an Any costs nothing until such an Any is read.

Messages that refer to each other in a cycle must share a file, and a file has one package. Original .proto files never
import each other in a cycle, so each strongly connected component of top-level messages fits in one file.
"""

import threading
from collections.abc import Iterable, Iterator
from typing import Final

import betterproto2
from betterproto2 import FieldMetadata
from betterproto2 import Message as DataMessage
from google.protobuf import (
    any_pb2,
    descriptor_pb2,
    duration_pb2,
    empty_pb2,
    field_mask_pb2,
    message_factory,
    struct_pb2,
    timestamp_pb2,
    wrappers_pb2,
)
from google.protobuf.descriptor import Descriptor
from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    EnumDescriptorProto,
    FieldDescriptorProto,
    FileDescriptorProto,
)
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import Message

from dragoman.codec import schema

_TYPES: Final = {
    kind: getattr(FieldDescriptorProto, f"TYPE_{kind.upper()}")
    for kind in (*betterproto2.WIRE_VARINT_TYPES, *betterproto2.FIXED_TYPES, "string", "bytes", "message")
}
_LABELS: Final = {False: FieldDescriptorProto.LABEL_OPTIONAL, True: FieldDescriptorProto.LABEL_REPEATED}
_WELL_KNOWN: Final = (
    any_pb2,
    descriptor_pb2,
    duration_pb2,
    empty_pb2,
    field_mask_pb2,
    struct_pb2,
    timestamp_pb2,
    wrappers_pb2,
)


def _top_level(name: str) -> str:
    """Return the full name of the outermost message that contains the message `name`."""
    package = schema.package_of(name)
    return f"{package}.{name[len(package) + 1 :].partition('.')[0]}"


class Types:
    """Resolves dataclasses, full names and type URLs to the runtime's message classes."""

    def __init__(self) -> None:
        self._pool = DescriptorPool()
        self._lock = threading.RLock()
        self._file_of: dict[str, str] = {}  # top-level message or enum → file
        self._classes: dict[type[DataMessage] | str, type[Message]] = {}
        for module in _WELL_KNOWN:
            self._pool.AddSerializedFile(module.DESCRIPTOR.serialized_pb)
            for name in module.DESCRIPTOR.message_types_by_name:
                self._file_of[f"google.protobuf.{name}"] = module.DESCRIPTOR.name

    def message_class(self, of: type[DataMessage] | str) -> type[Message]:
        """Return the runtime's class for a dataclass, type URL or full name. Raises `schema.UnknownTypeError`."""
        found = self._classes.get(of)
        if found is None:
            cls = schema.message_class(of) if isinstance(of, str) else of
            found = message_factory.GetMessageClass(self._descriptor(schema.full_name(cls)))
            self._classes[of] = found
        return found

    def _descriptor(self, full_name: str) -> Descriptor:
        with self._lock:
            if _top_level(full_name) not in self._file_of:
                for component in _Reachable(self._file_of).components(_top_level(full_name)):
                    self._add_messages(component)
            return self._pool.FindMessageTypeByName(full_name)

    def _add_messages(self, component: "list[_Unit]") -> None:
        file = FileDescriptorProto(name=f"{component[0].name}.proto", syntax="proto3")
        file.package = schema.package_of(component[0].name)
        dependencies: set[str] = set()
        for unit in component:
            self._file_of[unit.name] = file.name
        for unit in component:
            unit.write(file)
            dependencies.update(self._file_of[name] for name in unit.messages)
            dependencies.update(map(self._enum_file, unit.enums))
        file.dependency.extend(sorted(dependencies - {file.name}))
        self._pool.AddSerializedFile(file.SerializeToString())

    def _enum_file(self, enum: type[betterproto2.Enum]) -> str:
        package = _enum_package(enum)
        if package not in self._file_of:
            file = FileDescriptorProto(name=f"{package}.proto", package=package, syntax="proto3")
            file.enum_type.append(_enum(enum))
            self._pool.AddSerializedFile(file.SerializeToString())
            self._file_of[package] = file.name
        return self._file_of[package]


def _enum_package(enum: type[betterproto2.Enum]) -> str:
    # Values of an enum are named in the scope around it, and dataclasses do not tell which message an enum was nested
    # in: a package per enum keeps equal value names apart. Neither the wire nor JSON shows an enum's full name.
    return f"{enum.__module__}.{enum.__name__}"


def _enum(enum: type[betterproto2.Enum]) -> EnumDescriptorProto:
    descriptor = EnumDescriptorProto(name=enum.__name__)
    renamed = enum.betterproto_value_to_renamed_proto_names()
    # proto3 wants the zero value first.
    members = sorted(enum.__members__.items(), key=lambda item: (item[1].value != 0, item[1].value))
    if len({member.value for _, member in members}) != len(members):
        descriptor.options.allow_alias = True
    for name, member in members:
        descriptor.value.add(name=renamed.get(member.value, name), number=member.value)
    return descriptor


class _Unit:
    """A top-level message with everything nested in it, and the names of what their fields refer to."""

    def __init__(self, name: str, classes: Iterable[type[DataMessage]]) -> None:
        self.name = name
        self.classes = sorted(classes, key=schema.full_name)
        self.messages: dict[str, None] = {}  # top-level messages, in a stable order
        self.enums: set[type[betterproto2.Enum]] = set()
        self._targets: dict[tuple[type[DataMessage], str], type] = {}
        for cls in self.classes:
            for field, meta in schema.fields(cls):
                value = meta.map_meta[1] if meta.map_meta else meta
                if value.proto_type not in ("message", "enum"):
                    continue
                target = value.unwrap() if value.unwrap else schema.field_type(cls, field)
                self._targets[cls, field.name] = target
                if schema.is_message(target):
                    self.messages[_top_level(schema.full_name(target))] = None
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

    def _write_fields(self, descriptor: DescriptorProto, cls: type[DataMessage], name: str) -> None:
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
        field.type_name = f".{_enum_package(target)}.{target.__name__}"
    return field


class _Reachable:
    """Finds what a message reaches and is not yet in a file, as strongly connected components (Tarjan's algorithm)."""

    def __init__(self, known: dict[str, str]) -> None:
        self._known = known
        self._index: dict[str, int] = {}
        self._low: dict[str, int] = {}
        self._stack: list[_Unit] = []
        self._open: set[str] = set()

    def components(self, name: str) -> Iterator[list[_Unit]]:
        """Yield components so that each comes after those it depends on."""
        unit = _Unit(name, _classes_in(name))
        self._index[name] = self._low[name] = len(self._index)
        self._stack.append(unit)
        self._open.add(name)
        for target in unit.messages:
            if target in self._open:
                self._low[name] = min(self._low[name], self._index[target])
            elif target not in self._known and target not in self._index:
                yield from self.components(target)
                self._low[name] = min(self._low[name], self._low[target])
        if self._low[name] == self._index[name]:
            component: list[_Unit] = []
            while not component or component[-1] is not unit:
                component.append(self._stack.pop())
                self._open.remove(component[-1].name)
            yield component


def _classes_in(top_level: str) -> list[type[DataMessage]]:
    """Return the class of a top-level message and those of all messages nested in it."""
    outer = schema.message_class(top_level)
    prefix = schema.type_url(outer) + "."
    return [outer, *(cls for url, cls in schema.POOL.url_to_type.items() if url.startswith(prefix))]


TYPES: Final = Types()

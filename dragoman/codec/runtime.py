"""Message classes of google.protobuf's C runtime for all of envoy-data-plane.

Everything that reads protobuf (parsing, JSON, merging) is done by that runtime: it is hundreds of times faster than
betterproto2 and canonical. It needs descriptors, and no package ships Envoy's .proto files, so they are synthesised.
They are built when a type is first asked for, together with the types it reaches: the start of the process pays
nothing, and a type found only inside an Any costs nothing until such an Any is read.

Messages that refer to each other in a cycle must share a file, and a file has one package. Original .proto files never
import each other in a cycle, so each strongly connected component of top-level messages fits in one file.
"""

import threading
from collections.abc import Iterator
from typing import Final

import betterproto2
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
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import Message

from dragoman.codec import schema
from dragoman.codec.descriptors import Unit, enum_descriptor, enum_package, top_level

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


def _classes_in(name: str) -> list[type[DataMessage]]:
    """Return the class of a top-level message and those of all messages nested in it."""
    outer = schema.message_class(name)
    prefix = schema.type_url(outer) + "."
    # A copy, because another thread may import a module, and so register classes, meanwhile.
    registered = list(schema.POOL.url_to_type.items())
    return [outer, *(cls for url, cls in registered if url.startswith(prefix))]


class _Reachable:
    """Finds what a message reaches and is not yet in a file, as strongly connected components (Tarjan's algorithm)."""

    def __init__(self, known: dict[str, str]) -> None:
        self._known = known
        self._index: dict[str, int] = {}
        self._low: dict[str, int] = {}
        self._stack: list[Unit] = []
        self._open: set[str] = set()

    def components(self, name: str) -> Iterator[list[Unit]]:
        """Yield components so that each comes after those it depends on."""
        unit = Unit(name, _classes_in(name))
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
            component: list[Unit] = []
            while not component or component[-1] is not unit:
                component.append(self._stack.pop())
                self._open.remove(component[-1].name)
            yield component


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
            if top_level(full_name) not in self._file_of:
                for component in _Reachable(self._file_of).components(top_level(full_name)):
                    self._add_messages(component)
            return self._pool.FindMessageTypeByName(full_name)

    def _add_messages(self, component: list[Unit]) -> None:
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
        package = enum_package(enum)
        if package not in self._file_of:
            file = FileDescriptorProto(name=f"{package}.proto", package=package, syntax="proto3")
            file.enum_type.append(enum_descriptor(enum))
            self._pool.AddSerializedFile(file.SerializeToString())
            self._file_of[package] = file.name
        return self._file_of[package]


TYPES: Final = Types()

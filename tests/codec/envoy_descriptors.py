"""Envoy's own descriptors, read out of its binary.

protoc's C++ code keeps every .proto file as a serialised FileDescriptorProto in the read-only data of the program. That
is the one statement of Envoy's API that owes nothing to envoy-data-plane.
"""

import mmap
import re
import sysconfig
from collections.abc import Iterator
from pathlib import Path

from google.protobuf.descriptor_pb2 import DescriptorProto, EnumDescriptorProto, FileDescriptorProto

# Found, not imported: the package's one use is to carry the binary.
ENVOY = Path(sysconfig.get_path("purelib")) / "envoy" / "_bin" / "envoy"

# Field 1 (name), followed by field 2 (package).
_FILE_START = re.compile(rb"\n([\x05-\x7f])([a-z0-9_/]+\.proto)\x12")
_SYNTAX = 12


def files(binary: Path) -> Iterator[FileDescriptorProto]:
    """Yield the .proto files compiled into `binary`."""
    with binary.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        for start in _FILE_START.finditer(data):
            if start[1][0] == len(start[2]):
                yield FileDescriptorProto.FromString(data[start.start() : _end(data, start.start())])


def _end(data: mmap.mmap, position: int) -> int:
    """Return where the file that starts at `position` ends: after its last field, in the order of field numbers."""
    number = 0
    while True:
        tag, body = _varint(data, position)
        if tag & 7 != 2 or not number <= tag >> 3 <= _SYNTAX:
            return position
        number = tag >> 3
        length, body = _varint(data, body)
        position = body + length


def _varint(data: mmap.mmap, position: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[position]
        value |= (byte & 0x7F) << shift
        position, shift = position + 1, shift + 7
        if byte < 0x80:
            return value, position


def declarations(binary: Path) -> tuple[dict[str, DescriptorProto], dict[str, EnumDescriptorProto]]:
    """Return all messages and enums of `binary` by full name."""
    messages: dict[str, DescriptorProto] = {}
    enums: dict[str, EnumDescriptorProto] = {}

    def visit(prefix: str, message: DescriptorProto) -> None:
        messages[f"{prefix}.{message.name}"] = message
        enums.update({f"{prefix}.{message.name}.{enum.name}": enum for enum in message.enum_type})
        for nested in message.nested_type:
            visit(f"{prefix}.{message.name}", nested)

    for file in files(binary):
        enums.update({f"{file.package}.{enum.name}": enum for enum in file.enum_type})
        for message in file.message_type:
            visit(file.package, message)
    return messages, enums

"""What the codec knows of a message class: its fields, as envoy-data-plane's dataclasses describe them.

betterproto2 would answer the same questions through `Message._betterproto`, but resolves every type hint of a class
once per field to do so: tens of milliseconds for a class such as Cluster. Here types are resolved one at a time and
only when a descriptor is built.
"""

import contextlib
import dataclasses
import importlib
import re
import sys
from collections.abc import Iterator
from typing import Final, TypeGuard

import betterproto2
from betterproto2 import FieldMetadata, Message
from envoy_data_plane.message_pool import default_message_pool

POOL: Final = default_message_pool
"""Message classes by type URL and back, as far as their modules are imported."""

TYPE_URL_PREFIX: Final = "type.googleapis.com/"

_IDENTIFIER = re.compile(r"[A-Za-z_][\w.]*")
_FULL_NAME = re.compile(r"[a-z_][a-z0-9_]*(\.[a-z_][a-z0-9_]*)*(\.[A-Z]\w*)+")


class UnknownTypeError(LookupError):
    """No message of that name is known: neither to envoy-data-plane nor to `dragoman.codec.messages`."""


def fields(cls: type[Message]) -> Iterator[tuple[dataclasses.Field[object], FieldMetadata]]:
    """Yield the fields of a message class with their protobuf metadata, in the order of their numbers."""
    if not issubclass(cls, Message):
        raise TypeError(f"{cls!r} is not a message class")
    described = [(field, FieldMetadata.get(field)) for field in dataclasses.fields(cls)]  # type: ignore[arg-type]
    yield from sorted(described, key=lambda pair: pair[1].number)


def is_message(cls: type) -> TypeGuard[type[Message]]:
    """Tell a message class from an enum."""
    return issubclass(cls, Message)


def field_type(cls: type[Message], field: dataclasses.Field[object]) -> type:
    """Return the message or enum class of a field: of its elements if repeated, of its values if a map."""
    # The annotation is text such as "dict[str, ___core__v3__.Metadata] | None": the last name is the type wanted.
    names = [name for name in _IDENTIFIER.findall(str(field.type)) if name != "None"]
    target: object = sys.modules[cls.__module__]
    for part in names[-1].split("."):
        target = getattr(target, part)
    if not (isinstance(target, type) and issubclass(target, Message | betterproto2.Enum)):
        raise TypeError(f"{cls.__name__}.{field.name} is neither a message nor an enum")
    return target


def type_url(cls: type[Message]) -> str:
    """Return the type URL of a message class: "type.googleapis.com/envoy.config.cluster.v3.Cluster"."""
    try:
        return POOL.type_to_url[cls]
    except KeyError:
        raise UnknownTypeError(f"{cls!r} is not a registered message class") from None


def full_name(cls: type[Message]) -> str:
    """Return the protobuf name of a message class: "envoy.config.cluster.v3.Cluster"."""
    return type_url(cls).removeprefix(TYPE_URL_PREFIX)


def package_of(name: str) -> str:
    """Return the package of a message's full name; packages are written in lower case, messages are capitalised."""
    parts = name.split(".")
    return ".".join(parts[: next(i for i, part in enumerate(parts) if part[:1].isupper())])


def message_class(url: str) -> type[Message]:
    """Return the class of a type URL or full name, importing the module that defines it if need be.

    Raises `UnknownTypeError`.
    """
    # Only what follows the last slash names the type: protobuf.dev, google.protobuf.Any.
    name = url.rpartition("/")[2]
    key = TYPE_URL_PREFIX + name
    if key not in POOL.url_to_type and _FULL_NAME.fullmatch(name):
        with contextlib.suppress(ModuleNotFoundError):
            importlib.import_module(f"envoy_data_plane.{package_of(name)}")
        if key not in POOL.url_to_type:
            importlib.import_module("dragoman.codec.messages")
    try:
        return POOL.url_to_type[key]
    except KeyError:
        raise UnknownTypeError(url) from None

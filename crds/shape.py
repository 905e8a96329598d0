"""The models as a tree of shapes, for everything that walks a kind: error reports, field lists, support tables."""

import types
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Annotated, Any, TypeAlias, Union, get_args, get_origin

import msgspec


@dataclass(frozen=True, slots=True)
class Field:
    """`name` is the JSON name, `attribute` the Python one; `default` is None for required fields."""

    name: str
    attribute: str
    required: bool
    default: Any
    shape: "Shape"


@dataclass(frozen=True, slots=True)
class Message:
    """A struct; `strict` says that unknown fields are errors."""

    cls: type[msgspec.Struct]
    strict: bool
    fields: Mapping[str, Field]


@dataclass(frozen=True, slots=True)
class ListOf:
    """A list; `at_most` bounds its length."""

    item: "Shape"
    at_most: int | None = None


@dataclass(frozen=True, slots=True)
class MapOf:
    """A map; `key` is str or int, `at_most` bounds the number of keys."""

    key: type
    item: "Shape"
    at_most: int | None = None


@dataclass(frozen=True, slots=True)
class Scalar:
    """Anything msgspec decodes whole: `type` may be Annotated with bounds, `Any` is free-form JSON."""

    type: Any


Shape: TypeAlias = Message | ListOf | MapOf | Scalar


@cache
def shape_of(hint: Any) -> Shape:
    """The shape of a type annotation; `X | None` is the shape of X."""
    if isinstance(hint, type) and issubclass(hint, msgspec.Struct):
        fields = (
            Field(info.encode_name, info.name, info.required, _default(info), shape_of(info.type))
            for info in msgspec.structs.fields(hint)
        )
        strict = hint.__struct_config__.forbid_unknown_fields
        return Message(hint, strict, {field.name: field for field in fields})
    at_most, bare = _bounded(hint)
    origin, arguments = get_origin(bare), get_args(bare)
    if origin in (Union, types.UnionType):
        present = [argument for argument in arguments if argument is not type(None)]
        return shape_of(present[0]) if len(present) == 1 else Scalar(hint)
    if origin is tuple:
        return ListOf(shape_of(arguments[0]), at_most)
    if origin is dict and arguments[1] is not Any:
        return MapOf(arguments[0], shape_of(arguments[1]), at_most)
    return Scalar(hint)


def _bounded(hint: Any) -> tuple[int | None, Any]:
    """The most items of an annotated list or map, and its type without the annotation; scalars keep theirs."""
    base = base_type(hint)
    if get_origin(base) not in (tuple, dict):
        return None, hint
    metas = (item for item in get_args(hint)[1:] if isinstance(item, msgspec.Meta))
    return next((meta.max_length for meta in metas), None), base


def _default(info: msgspec.structs.FieldInfo) -> Any:
    if info.default_factory is not msgspec.NODEFAULT:
        return info.default_factory()
    return None if info.default is msgspec.NODEFAULT else info.default


def message_of(cls: type[msgspec.Struct]) -> Message:
    """The shape of a struct."""
    shape = shape_of(cls)
    assert isinstance(shape, Message)  # noqa: S101 - narrows the type, cannot fail for a struct
    return shape


def base_type(hint: Any) -> Any:
    """The Python type below `Annotated`."""
    return get_args(hint)[0] if get_origin(hint) is Annotated else hint


def is_leaf(shape: Shape) -> bool:
    """Whether a field of this shape has no fields below it: a scalar, or a list or map of scalars."""
    match shape:
        case Message():
            return False
        case ListOf(item) | MapOf(_, item):
            return isinstance(item, Scalar)
    return True


def child(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name

"""The leaf fields of every kind, read off the models: the ground of the tests that compare them with Istio's API."""

from enum import StrEnum
from typing import Any, get_args

import msgspec
from msgspec import UNSET, UnsetType, field

from crds.duration import Duration
from crds.registry import ISTIO_KINDS
from crds.shape import ListOf, MapOf, Message, Scalar, Shape, base_type, child, is_leaf, message_of


class LeafField(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """A leaf as an OpenAPI schema describes it. `[string]` is a list and `map<string,string>` a map of strings."""

    type: str
    enum: tuple[str, ...] = ()
    format: str | UnsetType = UNSET
    minimum: float | UnsetType = UNSET
    maximum: float | UnsetType = UNSET
    min_length: int | UnsetType = UNSET
    max_length: int | UnsetType = UNSET
    pattern: str | UnsetType = field(default=UNSET)


_INT32 = (-(2**31), 2**31 - 1)
_TYPES = {bool: "boolean", int: "integer", float: "number", str: "string", bytes: "string", Duration: "string"}


def leaf_paths(kind: str) -> dict[str, LeafField]:
    """Every leaf below `spec` of an Istio kind, such as `http[].match[].headers{}.exact`."""
    leaves: dict[str, LeafField] = {}
    _collect(message_of(ISTIO_KINDS[kind]).fields["spec"].shape, "", leaves)
    return leaves


def _collect(shape: Shape, path: str, leaves: dict[str, LeafField]) -> None:
    match shape:
        case ListOf(item) if not is_leaf(shape):
            _collect(item, f"{path}[]", leaves)
        case MapOf(_, item) if not is_leaf(shape):
            _collect(item, f"{path}{{}}", leaves)
        case Message():
            for inner in shape.fields.values():
                _collect(inner.shape, child(path, inner.name), leaves)
        case ListOf(Scalar(hint)):
            leaves[path] = LeafField(type=f"[{_TYPES[base_type(hint)]}]")
        case MapOf(_, Scalar(hint)):
            leaves[path] = LeafField(type=f"map<string,{_TYPES[base_type(hint)]}>")
        case Scalar(hint):
            leaves[path] = _scalar(hint)


def _scalar(hint: Any) -> LeafField:
    base = base_type(hint)
    if base not in _TYPES:
        if isinstance(base, type) and issubclass(base, StrEnum):
            return LeafField(type="string", enum=tuple(str(member) for member in base))
        return LeafField(type="object")
    meta = next((item for item in get_args(hint)[1:] if isinstance(item, msgspec.Meta)), msgspec.Meta())
    minimum, maximum, form = meta.ge, meta.le, None
    if base is int and maximum == _INT32[1]:
        form, maximum = "int32", None
        minimum = None if minimum == _INT32[0] else minimum
    elif base is float:
        form = "double"
    elif base is bytes:
        form = "byte"
    return LeafField(
        type=_TYPES[base],
        format=_or_unset(form),
        minimum=_or_unset(minimum),
        maximum=_or_unset(maximum),
        min_length=_or_unset(meta.min_length),
        max_length=_or_unset(meta.max_length),
        pattern=_or_unset(meta.pattern),
    )


def _or_unset(value: Any) -> Any:
    return UNSET if value is None else value

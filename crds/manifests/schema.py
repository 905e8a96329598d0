"""The models as structural OpenAPI v3 schemas (Kubernetes: "Extend the Kubernetes API with CustomResourceDefinitions").

Every field that we decode is there, those without effect yet included: an API server drops what its schema does not
name, and then nobody could report it.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import Any, get_args

import msgspec

from crds.duration import Duration
from crds.manifests.constraint import RULES, Constraint, Keywords, merge, rules
from crds.manifests.descriptions import described
from crds.manifests.patterns import DURATION
from crds.manifests.rules import CONSTRAINTS
from crds.shape import ListOf, MapOf, Message, Scalar, Shape, base_type

_NONE = Constraint()
_TYPES: Mapping[type, Mapping[str, str]] = {
    bool: {"type": "boolean"},
    int: {"type": "integer"},
    float: {"type": "number", "format": "double"},
    str: {"type": "string"},
    bytes: {"type": "string", "format": "byte"},
    Duration: {"type": "string"},
}
_INT32 = 2**31 - 1
_BOUNDS = {
    "ge": "minimum",
    "le": "maximum",
    "min_length": "minLength",
    "max_length": "maxLength",
    "pattern": "pattern",
}
_FREE_FORM = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}


def schema_of(shape: Shape, keywords: Keywords | None = None) -> dict[str, Any]:
    """The schema of a shape, with the further keywords of the place where it stands."""
    keywords = keywords or {}
    schema: dict[str, Any]
    match shape:
        case Message():
            return merge(_message(shape), keywords)
        case ListOf(item, at_most):
            schema = {"type": "array", "items": schema_of(item, keywords.get("items"))}
            if at_most is not None:
                schema["maxItems"] = at_most
            return merge(schema, {name: value for name, value in keywords.items() if name != "items"})
        case MapOf(_, item, at_most):
            schema = {"type": "object", "additionalProperties": schema_of(item, keywords.get("additionalProperties"))}
            if at_most is not None:
                schema["maxProperties"] = at_most
            return merge(schema, {name: value for name, value in keywords.items() if name != "additionalProperties"})
        case Scalar(hint):
            schema = _scalar(hint)
            if base_type(hint) is Duration and RULES not in keywords:
                schema |= rules(DURATION)
            return merge(schema, keywords)


def _message(shape: Message) -> dict[str, Any]:
    constraint = CONSTRAINTS.get(shape.cls, _NONE)
    properties = {}
    for field in shape.fields.values():
        text = described(shape.cls, field.name)
        properties[field.name] = {
            **({"description": text} if text else {}),
            **schema_of(field.shape, constraint.fields.get(field.name)),
        }
    schema: dict[str, Any] = {"type": "object", "properties": properties, **constraint.whole}
    required = {field.name for field in shape.fields.values() if field.required} | {*constraint.required}
    if required:
        schema["required"] = sorted(required)
    return schema | (rules(*constraint.rules) if constraint.rules else {})


def _scalar(hint: Any) -> dict[str, Any]:
    base = base_type(hint)
    if isinstance(base, type) and issubclass(base, StrEnum):
        return {"type": "string", "enum": [str(member) for member in base]}
    if base not in _TYPES:
        return dict(_FREE_FORM)
    schema: dict[str, Any] = dict(_TYPES[base])
    meta = next((item for item in get_args(hint)[1:] if isinstance(item, msgspec.Meta)), msgspec.Meta())
    schema |= {name: value for bound, name in _BOUNDS.items() if (value := getattr(meta, bound)) is not None}
    if base is int and meta.le == _INT32:
        schema["format"] = "int32"
    return schema

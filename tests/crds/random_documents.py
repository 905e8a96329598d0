"""Random documents of every kind, made from the models: valid ones, and ones with a single fault."""

import random
import re
from enum import StrEnum
from typing import Any, get_args

import msgspec

from crds.duration import Duration
from crds.registry import ISTIO_KINDS
from crds.shape import ListOf, MapOf, Message, Scalar, Shape, base_type, message_of

_BY_PATTERN = {
    "Sha256": "0" * 64,
    "word": "a-b",
}


def seeded(seed: str) -> random.Random:
    """The same sequence in every run: a failure repeats."""
    return random.Random(seed)  # noqa: S311 - test data


def document(kind: str, rnd: random.Random, fill: float = 0.4) -> dict[str, Any]:
    """A valid document; each optional field is present with probability `fill`."""
    cls = ISTIO_KINDS[kind]
    spec = _value(message_of(cls).fields["spec"].shape, rnd, fill)
    version = rnd.choice(cls.resource.versions)
    return {
        "apiVersion": cls.resource.api_version(version),
        "kind": kind,
        "metadata": {"name": "sample", "namespace": "shop"},
        "spec": spec,
    }


def _value(shape: Shape, rnd: random.Random, fill: float) -> Any:
    match shape:
        case Message(_, _, fields):
            return {
                field.name: _value(field.shape, rnd, fill)
                for field in fields.values()
                if field.required or rnd.random() < fill
            }
        case ListOf(item):
            return [_value(item, rnd, fill) for _ in range(rnd.randint(1, 2))]
        case MapOf(key, item):
            keys = ["8080", "443"] if key is int else ["first", "second/key"]
            return {name: _value(item, rnd, fill) for name in keys[: rnd.randint(1, 2)]}
        case Scalar(hint):
            return _scalar(hint, rnd)


def _scalar(hint: Any, rnd: random.Random) -> Any:
    base = base_type(hint)
    meta = next((item for item in get_args(hint)[1:] if isinstance(item, msgspec.Meta)), msgspec.Meta())
    if isinstance(base, type) and issubclass(base, StrEnum):
        return str(rnd.choice(list(base)))
    if base is bool:
        return rnd.random() < 0.5
    if base is int:
        low, high = meta.ge if meta.ge is not None else -5, meta.le if meta.le is not None else 2**40
        return rnd.choice([low, high, min(high, max(low, 7))])
    if base is float:
        return rnd.choice([0.0, 12.5, 100.0])
    if base is Duration:
        return rnd.choice(["1s", "1.5s", "0.25s", "3600s"])
    if base is bytes:
        return "aGVsbG8="
    if base is str:
        if meta.pattern:
            return next(text for text in _BY_PATTERN.values() if re.search(meta.pattern, text))
        return rnd.choice(["x", "text with ünicode"])
    return {"free": ["form", None, {"json": 1}]}


def places(value: Any, shape: Shape, path: str = "") -> list[tuple[str, Any, Shape, Any]]:
    """Every (path, container, shape of the container's content, key) below a value: where a fault can be put."""
    found: list[tuple[str, Any, Shape, Any]] = []
    match shape:
        case Message(_, _, fields):
            for name, held in value.items():
                where = f"{path}.{name}"
                found += [(where, value, fields[name].shape, name), *places(held, fields[name].shape, where)]
        case ListOf(item):
            for index, held in enumerate(value):
                where = f"{path}[{index}]"
                found += [(where, value, item, index), *places(held, item, where)]
        case MapOf(_, item):
            for name, held in value.items():
                where = f"{path}[{name}]"
                found += [(where, value, item, name), *places(held, item, where)]
    return found

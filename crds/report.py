"""Why a document does not fit its kind: every misfit, with its path and a remedy.

The decoder stops at the first error. This walk runs only after it failed, and asks the same decoder about each scalar,
so the two cannot disagree about what is valid.
"""

import difflib
from collections.abc import Iterable, Iterator, Mapping, Sized
from enum import Enum
from typing import Any

import msgspec

from crds.codes import problem
from crds.duration import Duration
from crds.hooks import decode_hook
from crds.problem import Problem
from crds.shape import ListOf, MapOf, Message, Scalar, Shape, base_type, child

_JSON_NAMES: Mapping[type, str] = {
    bool: "a boolean",
    int: "an integer",
    float: "a number",
    str: "a string",
    type(None): "null",
}


def without_nulls(value: Any, shape: Shape) -> Any:
    """The document as an API server would store it.

    Nulls of fields are dropped (Kubernetes: "null values for fields that are not nullable will be pruned before
    defaulting happens"), keys of maps are strings. Map values and free-form JSON keep their nulls.
    """
    match shape:
        case Message(_, _, fields) if isinstance(value, Mapping):
            pruned = {_key(key): item for key, item in value.items() if item is not None}
            return {
                key: without_nulls(item, fields[key].shape) if key in fields else item for key, item in pruned.items()
            }
        case MapOf(_, item_shape) if isinstance(value, Mapping):
            return {_key(key): without_nulls(item, item_shape) for key, item in value.items()}
        case ListOf(item_shape) if isinstance(value, list | tuple):
            return [without_nulls(item, item_shape) for item in value]
    return value


def misfits(value: Any, shape: Shape, path: str) -> Iterator[Problem]:
    """Every reason why `value` is not of this shape, in the order of the document."""
    match shape:
        case Message():
            yield from _message_misfits(value, shape, path)
        case ListOf(item_shape, at_most):
            if not isinstance(value, list | tuple):
                yield problem("DRG0102", path, f"expected a list, got {_json_name(value)}", "start each item with `- `")
                return
            yield from _too_many(value, at_most, path)
            for index, item in enumerate(value):
                yield from misfits(item, item_shape, f"{path}[{index}]")
        case MapOf(key_type, item_shape, at_most):
            if not isinstance(value, Mapping):
                yield problem("DRG0102", path, f"expected a map, got {_json_name(value)}")
                return
            yield from _too_many(value, at_most, path)
            for key, item in value.items():
                if key_type is int and not str(key).isdecimal():
                    yield problem("DRG0102", f"{path}[{key}]", "expected a number as key")
                yield from misfits(item, item_shape, f"{path}[{key}]")
        case Scalar(hint):
            yield from _scalar_misfits(value, hint, path)


def _too_many(value: Sized, at_most: int | None, path: str) -> Iterator[Problem]:
    if at_most is not None and len(value) > at_most:
        remedy = "divide it among several objects"
        yield problem("DRG0106", path, f"{len(value)} entries, at most {at_most} are allowed", remedy)


def _message_misfits(value: Any, shape: Message, path: str) -> Iterator[Problem]:
    if not isinstance(value, Mapping):
        yield problem("DRG0102", path, f"expected an object, got {_json_name(value)}")
        return
    for key, item in value.items():
        if field := shape.fields.get(key):
            yield from misfits(item, field.shape, child(path, key))
        elif shape.strict:
            yield unknown_field(str(key), shape.fields, path)
    for field in shape.fields.values():
        if field.required and field.name not in value:
            yield problem("DRG0103", child(path, field.name), "this field is required", "add it")


def unknown_field(name: str, known: Iterable[str], path: str) -> Problem:
    """The finding for a field that its message does not have."""
    if guess := close_match(name, known):
        remedy = f"did you mean {guess!r}?"
    else:
        remedy = f"known here: {', '.join(sorted(known))}"
    return problem("DRG0101", child(path, name), f"unknown field {name!r}", remedy)


def close_match(name: str, known: Iterable[str]) -> str | None:
    """The known name that a misspelt one most likely stands for."""
    by_lower = {candidate.lower(): candidate for candidate in known}
    matches = difflib.get_close_matches(name.lower(), by_lower, n=1, cutoff=0.7)
    return by_lower[matches[0]] if matches else None


def _scalar_misfits(value: Any, hint: Any, path: str) -> Iterator[Problem]:
    try:
        msgspec.convert(value, hint, dec_hook=decode_hook, str_keys=True)
    except msgspec.ValidationError as error:
        text = str(error).split(" - at ")[0].replace("`", "")
    else:
        return
    expected = base_type(hint)
    text = text[0].lower() + text[1:]
    if isinstance(expected, type) and issubclass(expected, Enum):
        names = [str(member.value) for member in expected]
        guess = close_match(value, names) if isinstance(value, str) else None
        remedy = f"did you mean {guess!r}?" if guess else f"one of {', '.join(names)}"
        yield problem("DRG0107", path, f"{value!r} is not a value of this field", remedy)
    elif expected is Duration:
        text = text if isinstance(value, str) else f"expected a duration, got {_json_name(value)}"
        yield problem("DRG0108", path, text, "write a number and a unit, such as 5s")
    elif isinstance(expected, type) and type(value) is expected:
        yield problem("DRG0106", path, text)
    else:
        yield problem("DRG0102", path, text, _type_remedy(value, expected))


def _type_remedy(value: Any, expected: Any) -> str:
    if expected is str and isinstance(value, bool | int | float):
        return "quote it: YAML reads the plain value as another type"
    if expected in (int, float) and isinstance(value, str) and value.strip().lstrip("+-").isdecimal():
        return "remove the quotes"
    if expected is bool and isinstance(value, str):
        return "write true or false without quotes"
    return ""


def _key(key: Any) -> str:
    if isinstance(key, bool):  # YAML 1.1 reads the keys `on` and `yes` as booleans
        return "true" if key else "false"
    return key if isinstance(key, str) else str(key)


def _json_name(value: Any) -> str:
    if isinstance(value, Mapping):
        return "an object"
    if isinstance(value, list | tuple):
        return "a list"
    return _JSON_NAMES.get(type(value), type(value).__name__)

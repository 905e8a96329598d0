"""The functions of templates: of Go's own, of sprig and of Helm those that the charts use.

Numbers of values files are floats, as in Helm, where values pass through JSON; literals are whole numbers.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any, Final

from dragoman.charts.yaml_text import to_yaml


class FunctionError(Exception):
    """A function refuses its arguments."""


def truth(value: Any) -> bool:
    """Whether a value counts as true: not nil, false, zero or empty."""
    return bool(value)


def text(value: Any) -> str:
    """A value as an action prints it; nil is nothing (Helm: missingkey=zero)."""
    match value:
        case None:
            return ""
        case bool():
            return "true" if value else "false"
        case float():
            return _float(value)
        case str() | int():
            return str(value)
    raise FunctionError(f"a {type(value).__name__} is printed with toYaml")


def _float(value: float) -> str:
    if not value.is_integer():
        return repr(value)
    if abs(value) >= 1e6:
        raise FunctionError(f"{int(value)} would be printed as 1e+06 is: write `int`")
    return str(int(value))


def _printf(form: str, *values: Any) -> str:
    left = list(values)

    def one(match: re.Match[str]) -> str:
        verb = match[1]
        if verb == "%":
            return "%"
        if not left:
            raise FunctionError(f"printf {form!r}: too few values")
        value = left.pop(0)
        if verb == "s" and not isinstance(value, str):
            raise FunctionError(f"printf %s of {value!r}, which is no string")
        if verb == "d" and (isinstance(value, bool) or not isinstance(value, int)):
            raise FunctionError(f"printf %d of {value!r}, which is no whole number")
        return json.dumps(value) if verb == "q" else text(value)

    printed = re.sub(r"%([sdvq%])", one, form)
    if left:
        raise FunctionError(f"printf {form!r}: too many values")
    return printed


def _quote(value: Any) -> str:
    return json.dumps(text(value), ensure_ascii=False)


def _indent(width: int, value: str) -> str:
    return "\n".join(" " * width + line for line in value.split("\n"))


def _eq(value: Any, *others: Any) -> bool:
    for other in others:
        kinds = type(value), type(other)
        if value is not None and other is not None and kinds[0] is not kinds[1]:
            raise FunctionError(f"eq of {value!r} and {other!r}: of different types")
    return value in others


def _default(otherwise: Any, value: Any = None) -> Any:
    return value if truth(value) else otherwise


def _dict(*items: Any) -> dict[str, Any]:
    return {str(key): value for key, value in zip(items[::2], items[1::2], strict=True)}


def _merge_overwrite(into: dict[str, Any], *others: dict[str, Any]) -> dict[str, Any]:
    for other in others:
        for key, value in other.items():
            if isinstance(value, dict) and isinstance(into.get(key), dict):
                _merge_overwrite(into[key], value)
            else:
                into[key] = value
    return into


def _deep_copy(value: Any) -> Any:
    match value:
        case dict():
            return {key: _deep_copy(item) for key, item in value.items()}
        case list():
            return [_deep_copy(item) for item in value]
    return value


def numbers_as_floats(value: Any) -> Any:
    """A parsed document with every number a float, as Helm has them."""
    match value:
        case dict():
            return {str(key): numbers_as_floats(item) for key, item in value.items()}
        case list():
            return [numbers_as_floats(item) for item in value]
        case int() if not isinstance(value, bool):
            return float(value)
    return value


FUNCTIONS: Final[dict[str, Callable[..., Any]]] = {
    "append": lambda items, value: [*items, value],
    "concat": lambda *lists: [item for items in lists for item in items],
    "contains": lambda part, whole: part in whole,
    "deepCopy": _deep_copy,
    "default": _default,
    "dict": _dict,
    "eq": _eq,
    "has": lambda value, items: value in items,
    "indent": _indent,
    "int": lambda value: int(value or 0),
    "join": lambda separator, items: separator.join(map(text, items)),
    "list": lambda *items: list(items),
    "mergeOverwrite": _merge_overwrite,
    "ne": lambda value, other: not _eq(value, other),
    "nindent": lambda width, value: "\n" + _indent(width, value),
    "not": lambda value: not truth(value),
    "printf": _printf,
    "quote": _quote,
    "replace": lambda old, new, value: value.replace(old, new),
    "ternary": lambda yes, no, condition: yes if condition else no,
    "toYaml": to_yaml,
    "trimPrefix": lambda prefix, value: value.removeprefix(prefix),
}

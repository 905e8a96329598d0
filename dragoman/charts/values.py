"""Values of a chart: its own, and what an operator lays over them."""

from __future__ import annotations

from typing import Any, TypeAlias

Values: TypeAlias = dict[str, Any]


def merged(values: Values, over: Values) -> Values:
    """`over` laid over `values`: maps are merged, all else is replaced, and null takes a key away (Helm's rule)."""
    result = dict(values)
    for key, value in over.items():
        if value is None:
            result.pop(key, None)
        elif isinstance(value, dict):
            below = result.get(key)
            result[key] = merged(below if isinstance(below, dict) else {}, value)
        else:
            result[key] = value
    return result


def overlaid(first: Values, then: Values) -> Values:
    """What two values files say together: as `merged`, but a null stays, to take away what is below both."""
    result = dict(first)
    for key, value in then.items():
        below = result.get(key)
        result[key] = overlaid(below, value) if isinstance(value, dict) and isinstance(below, dict) else value
    return result

"""`--set a.b[0].c=value`: one value on the command line, in Helm's syntax.

Where Helm has commas between several assignments, this is one; `{a,b}` is a list. A backslash takes the meaning from
a dot, comma, bracket or brace.
"""

from __future__ import annotations

import re
from typing import Any, Final

from dragoman.charts.values import Values

_KEY: Final = re.compile(r"(?P<name>(?:\\.|[^.\[\]=\\])+)|\[(?P<index>\d+)\]|(?P<dot>\.)")
_ESCAPE: Final = re.compile(r"\\(.)")
_MOST_ITEMS: Final = 1000
"""An index beyond is a mistake, and would make a list of so many nulls."""


def set_value(values: Values, assignment: str, *, as_string: bool = False) -> None:
    """Put what an assignment says into `values`.

    `true`, `false`, `null` and whole numbers are what they look like, unless `as_string`. Raises ValueError.
    """
    path, text = _split(assignment)
    _put(values, _keys(path, assignment), _value(text, as_string))


def _split(assignment: str) -> tuple[str, str]:
    match = re.match(r"((?:\\.|[^=\\])*)=", assignment, re.DOTALL)
    if match is None or not match[1]:
        raise ValueError(f"{assignment!r} is not KEY=VALUE")
    return match[1], assignment[match.end() :]


def _keys(path: str, assignment: str) -> list[str | int]:
    keys: list[str | int] = []
    position, separated = 0, True
    while position < len(path):
        match = _KEY.match(path, position)
        if match is None:
            break
        if match["dot"]:
            if separated:
                break
            separated = True
        elif match["index"] is not None:
            if separated:
                break
            if int(match["index"]) >= _MOST_ITEMS:
                raise ValueError(f"{assignment!r}: index {match['index']} is beyond {_MOST_ITEMS - 1}")
            keys.append(int(match["index"]))
        else:
            if not separated:
                break
            keys.append(_ESCAPE.sub(r"\1", match["name"]))
            separated = False
        position = match.end()
    if position < len(path) or separated:
        raise ValueError(f"{assignment!r}: {path!r} is not a path such as a.b[0].c")
    return keys


def _value(text: str, as_string: bool) -> Any:
    if text.startswith("{") and text.endswith("}"):
        inner = text[1:-1]
        return [_scalar(item, as_string) for item in re.split(r"(?<!\\),", inner)] if inner else []
    return _scalar(text, as_string)


def _scalar(text: str, as_string: bool) -> Any:
    if not as_string:
        if text in ("true", "false"):
            return text == "true"
        if text == "null":
            return None
        if re.fullmatch(r"0|-?[1-9]\d*", text):
            return int(text)
    return _ESCAPE.sub(r"\1", text)


def _put(values: Any, keys: list[str | int], value: Any) -> None:
    here = values
    for key, following in zip(keys, [*keys[1:], None], strict=True):
        if isinstance(key, int):
            here.extend([None] * (key + 1 - len(here)))
        if following is None:
            here[key] = value
            return
        wanted: type = list if isinstance(following, int) else dict
        inside = here[key] if isinstance(key, int) else here.get(key)
        if not isinstance(inside, wanted):
            inside = wanted()
            here[key] = inside
        here = inside

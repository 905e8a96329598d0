"""Template text as texts and actions, and an action as tokens (Go: text/template/parse)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final, NamedTuple

from dragoman.charts.errors import TemplateError

_ACTION: Final = re.compile(
    r"""\{\{(?P<trim>-(?=\s))?
    (?: \s*/\*(?:.|\n)*?\*/\s*?
      | (?P<code>(?:"(?:\\.|[^"\\\n])*" | `[^`]*` | [^"`}] | \}(?!\}))*?)
    )
    (?P<trim_after>(?<=\s)-)?\}\}""",
    re.VERBOSE,
)
_TOKEN: Final = re.compile(
    r"""(?P<string>"(?:\\.|[^"\\\n])*" | `[^`]*`)
    | (?P<number>-?\d+(?:\.\d+)?(?![\w.]))
    | (?P<field>\.[A-Za-z_]\w*)
    | (?P<variable>\$\w*)
    | (?P<word>[A-Za-z_]\w*)
    | (?P<sign>:=|[=|(),.])""",
    re.VERBOSE,
)
_SPACE: Final = re.compile(r"\s*")


class Token(NamedTuple):
    """`kind` is string, number, field, variable, word or sign; `spaced` whether space stands before it."""

    kind: str
    text: str
    spaced: bool
    line: int


class Action(NamedTuple):
    """The tokens between `{{` and `}}`."""

    tokens: tuple[Token, ...]
    line: int


def parts(template: str, text: str) -> Iterator[str | Action]:
    """The texts and actions of a template in order; white space is trimmed where `{{-` and `-}}` say so."""
    position, line, trimmed = 0, 1, False
    for match in _ACTION.finditer(text):
        before = text[position : match.start()]
        if "{{" in before:
            raise TemplateError(template, line + before[: before.index("{{")].count("\n"), "unclosed action")
        line += before.count("\n")
        if trimmed:
            before = before.lstrip()
        if match["trim"]:
            before = before.rstrip()
        if before:
            yield before
        if match["code"] is not None:
            yield Action(tuple(_tokens(template, match["code"], line)), line)
        line += match[0].count("\n")
        position, trimmed = match.end(), match["trim_after"] is not None
    rest = text[position:]
    if "{{" in rest:
        raise TemplateError(template, line + rest[: rest.index("{{")].count("\n"), "unclosed action")
    rest = rest.lstrip() if trimmed else rest
    if rest:
        yield rest


def _tokens(template: str, code: str, line: int) -> Iterator[Token]:
    position = 0
    while True:
        space = _SPACE.match(code, position)
        start = space.end() if space else position
        line += code.count("\n", position, start)
        if start == len(code):
            return
        match = _TOKEN.match(code, start)
        if match is None or match.lastgroup is None:
            raise TemplateError(template, line, f"unexpected {code[start]!r} in action")
        yield Token(match.lastgroup, match[0], start > position, line)
        line += match[0].count("\n")
        position = match.end()

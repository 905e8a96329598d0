"""The syntax tree of a template."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias


@dataclass(frozen=True, slots=True)
class Literal:
    """A string, number, boolean or nil."""

    value: str | int | float | bool | None


@dataclass(frozen=True, slots=True)
class Dot:
    """`.`: what the template is about here."""


@dataclass(frozen=True, slots=True)
class Variable:
    """`$name`; `$` alone is what the template was given."""

    name: str
    line: int


@dataclass(frozen=True, slots=True)
class Field:
    """`base.name`, with arguments if it is a method such as `.Files.Get "name"`."""

    base: Expression
    name: str
    line: int
    arguments: tuple[Expression, ...] = ()


@dataclass(frozen=True, slots=True)
class Call:
    """`name argument…`; a pipeline `a | name b` is the call `name b a`."""

    name: str
    arguments: tuple[Expression, ...]
    line: int


Expression: TypeAlias = Literal | Dot | Variable | Field | Call


@dataclass(frozen=True, slots=True)
class Text:
    """What stands between actions."""

    text: str


@dataclass(frozen=True, slots=True)
class Output:
    """`{{ expression }}`."""

    value: Expression


@dataclass(frozen=True, slots=True)
class Assignment:
    """`{{ $name := expression }}`, or with `=` to a variable that is there."""

    name: str
    value: Expression
    declares: bool
    line: int


@dataclass(frozen=True, slots=True)
class If:
    """`{{ if condition }} body {{ else }} otherwise {{ end }}`; `else if` is an If of its own in `otherwise`."""

    condition: Expression
    body: Body
    otherwise: Body


@dataclass(frozen=True, slots=True)
class With:
    """`{{ with value }}`: the body is about the value, if there is one."""

    value: Expression
    variable: str | None
    body: Body
    otherwise: Body


@dataclass(frozen=True, slots=True)
class Range:
    """`{{ range $key, $value := items }}`: the body for each element; maps by key in order."""

    items: Expression
    key: str | None
    value: str | None
    body: Body
    otherwise: Body
    line: int


Node: TypeAlias = Text | Output | Assignment | If | With | Range
Body: TypeAlias = tuple[Node, ...]

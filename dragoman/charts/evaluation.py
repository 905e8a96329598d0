"""A syntax tree and what it is about, to text (Go: text/template, with Helm's settings)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from dragoman.charts.errors import TemplateError
from dragoman.charts.functions import FUNCTIONS, FunctionError, text, truth
from dragoman.charts.nodes import (
    Assignment,
    Body,
    Call,
    Dot,
    Expression,
    Field,
    If,
    Literal,
    Node,
    Output,
    Range,
    Text,
    Variable,
    With,
)

_DEEPEST: Final = 100
"""Templates that include each other without end are told so; Helm stops at 1000."""


@dataclass(frozen=True, slots=True)
class Template:
    """A named body, and the file it stands in."""

    file: str
    body: Body


def render(template: Template, about: Any, named: Mapping[str, Template]) -> str:
    """The text of a template. `named` are the defined templates that `include` finds. Raises TemplateError."""
    return _Rendering(template.file, named, 0).run(template.body, about)


class _Scope:
    """Variables, those of the enclosing blocks included."""

    __slots__ = ("_outer", "_values")

    def __init__(self, outer: _Scope | None = None) -> None:
        self._outer, self._values = outer, dict[str, Any]()

    def declare(self, name: str, value: Any) -> None:
        self._values[name] = value

    def assign(self, name: str, value: Any) -> None:
        self._holder(name)[name] = value

    def read(self, name: str) -> Any:
        return self._holder(name)[name]

    def _holder(self, name: str) -> dict[str, Any]:
        if name in self._values:
            return self._values
        if self._outer is None:
            raise FunctionError(f"undefined variable {name}")
        return self._outer._holder(name)


class _Rendering:
    def __init__(self, file: str, named: Mapping[str, Template], depth: int) -> None:
        self._file, self._named, self._depth = file, named, depth
        self._out: list[str] = []

    def run(self, body: Body, about: Any) -> str:
        scope = _Scope()
        scope.declare("$", about)
        self._body(body, about, scope)
        return "".join(self._out)

    def _body(self, body: Body, dot: Any, scope: _Scope) -> None:
        for node in body:
            self._node(node, dot, scope)

    def _node(self, node: Node, dot: Any, scope: _Scope) -> None:
        match node:
            case Text():
                self._out.append(node.text)
            case Output():
                self._out.append(self._printed(node.value, dot, scope))
            case Assignment():
                value = self._value(node.value, dot, scope)
                try:
                    (scope.declare if node.declares else scope.assign)(node.name, value)
                except FunctionError as error:
                    raise TemplateError(self._file, node.line, str(error)) from None
            case If():
                chosen = node.body if truth(self._value(node.condition, dot, scope)) else node.otherwise
                self._body(chosen, dot, _Scope(scope))
            case With():
                value = self._value(node.value, dot, scope)
                inner = _Scope(scope)
                if node.variable:
                    inner.declare(node.variable, value)
                self._body(*((node.body, value) if truth(value) else (node.otherwise, dot)), inner)
            case Range():
                self._range(node, dot, scope)

    def _range(self, node: Range, dot: Any, scope: _Scope) -> None:
        items = self._value(node.items, dot, scope)
        match items:
            case None:
                pairs = []
            case dict():
                pairs = sorted(items.items())
            case list():
                pairs = list(enumerate(items))
            case _:
                raise TemplateError(self._file, node.line, f"range over {items!r}, which is no map or list")
        if not pairs:
            self._body(node.otherwise, dot, _Scope(scope))
        for key, value in pairs:
            inner = _Scope(scope)
            if node.key:
                inner.declare(node.key, key)
            if node.value:
                inner.declare(node.value, value)
            self._body(node.body, value, inner)

    def _printed(self, expression: Expression, dot: Any, scope: _Scope) -> str:
        value = self._value(expression, dot, scope)
        try:
            return text(value)
        except FunctionError as error:
            raise TemplateError(self._file, getattr(expression, "line", 0), str(error)) from None

    def _value(self, expression: Expression, dot: Any, scope: _Scope) -> Any:
        match expression:
            case Literal():
                return expression.value
            case Dot():
                return dot
            case Variable():
                try:
                    return scope.read(expression.name)
                except FunctionError as error:
                    raise TemplateError(self._file, expression.line, str(error)) from None
            case Field():
                return self._field(expression, dot, scope)
            case Call():
                return self._call(expression, dot, scope)

    def _field(self, expression: Field, dot: Any, scope: _Scope) -> Any:
        base = self._value(expression.base, dot, scope)
        if not isinstance(base, dict):
            what = "nil" if base is None else type(base).__name__
            raise TemplateError(self._file, expression.line, f".{expression.name} of {what}")
        value = base.get(expression.name)
        if callable(value):
            return value(*(self._value(argument, dot, scope) for argument in expression.arguments))
        if expression.arguments:
            raise TemplateError(self._file, expression.line, f".{expression.name} is no method")
        return value

    def _call(self, call: Call, dot: Any, scope: _Scope) -> Any:
        if call.name in ("and", "or"):
            # What decides is the value; the rest is not evaluated.
            value = None
            for argument in call.arguments:
                value = self._value(argument, dot, scope)
                if truth(value) == (call.name == "or"):
                    break
            return value
        arguments = [self._value(argument, dot, scope) for argument in call.arguments]
        if call.name == "include":
            return self._include(call, *arguments)
        try:
            return FUNCTIONS[call.name](*arguments)
        except FunctionError as error:
            raise TemplateError(self._file, call.line, str(error)) from None
        except (TypeError, ValueError, AttributeError, IndexError) as error:
            raise TemplateError(self._file, call.line, f"{call.name}: {error}") from None

    def _include(self, call: Call, name: str, about: Any) -> str:
        template = self._named.get(name)
        if template is None:
            raise TemplateError(self._file, call.line, f"no template {name!r}")
        if self._depth == _DEEPEST:
            raise TemplateError(self._file, call.line, f"templates include each other without end: {name!r}")
        return _Rendering(template.file, self._named, self._depth + 1).run(template.body, about)

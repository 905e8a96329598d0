"""Template text to its syntax tree."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Final

from dragoman.charts.errors import TemplateError
from dragoman.charts.functions import FUNCTIONS
from dragoman.charts.lexer import Action, Token, parts
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

_CONSTANTS: Final = {"true": True, "false": False, "nil": None}
_EVALUATED: Final = frozenset(("include", "and", "or"))
"""Functions that the evaluation itself provides: they render, or do not read all of their arguments."""


def parse(name: str, text: str) -> tuple[Body, dict[str, Body]]:
    """The body of a template file, and the templates that it defines.

    Raises TemplateError with the line, also for a function that the subset does not have.
    """
    parser = _File(name, parts(name, text))
    body, _ = parser.body(())
    return body, parser.defined


class _File:
    def __init__(self, name: str, found: Iterator[str | Action]) -> None:
        self._name, self._parts = name, found
        self.defined: dict[str, Body] = {}

    def body(self, ends: tuple[str, ...], line: int = 1) -> tuple[Body, _Tokens | None]:
        """Nodes up to one of the words `ends`, and the action that has it; without `ends`, to the end of the file.

        `line` is where the block began.
        """
        nodes: list[Node] = []
        for part in self._parts:
            if isinstance(part, str):
                nodes.append(Text(part))
                continue
            tokens = _Tokens(self._name, part)
            word = tokens.word()
            if word in ends:
                return tuple(nodes), tokens
            node = self._node(word, tokens)
            if node is not None:
                nodes.append(node)
        if ends:
            raise TemplateError(self._name, line, "no {{ end }}")
        return tuple(nodes), None

    def _node(self, word: str | None, tokens: _Tokens) -> Node | None:
        match word:
            case "if":
                return self._if(tokens)
            case "with":
                variable = tokens.variables()
                value = tokens.pipeline()
                tokens.finish()
                body, otherwise = self._bodies(tokens.line)
                return With(value, variable[-1] if variable else None, body, otherwise)
            case "range":
                names = tokens.variables()
                items = tokens.pipeline()
                tokens.finish()
                body, otherwise = self._bodies(tokens.line)
                key = names[0] if len(names) == 2 else None
                return Range(items, key, names[-1] if names else None, body, otherwise, tokens.line)
            case "define":
                name = tokens.take("string")
                tokens.finish()
                self.defined[_string(name.text)], _ = self.body(("end",), tokens.line)
                return None
            case "end" | "else":
                raise TemplateError(self._name, tokens.line, f"unexpected {{{{ {word} }}}}")
        return tokens.statement()

    def _if(self, tokens: _Tokens) -> If:
        condition = tokens.pipeline()
        tokens.finish()
        body, otherwise = self._bodies(tokens.line)
        return If(condition, body, otherwise)

    def _bodies(self, line: int) -> tuple[Body, Body]:
        body, ended = self.body(("else", "end"), line)
        if ended is None or ended.skip("word", "end"):
            return body, ()
        ended.take("word")
        if ended.skip("word", "if"):
            return body, (self._if(ended),)
        ended.finish()
        otherwise, _ = self.body(("end",), ended.line)
        return body, otherwise


class _Tokens:
    """The tokens of one action, taken from the left."""

    def __init__(self, template: str, action: Action) -> None:
        self._template, self._tokens, self._at = template, action.tokens, 0
        self.line = action.line

    def word(self) -> str | None:
        """The control word that the action begins with; all but `else` and `end` are taken."""
        token = self._peek()
        if token is None or token.kind != "word":
            return None
        if token.text in ("if", "with", "range", "define"):
            self._at += 1
        return token.text

    def statement(self) -> Node:
        """An assignment, or an expression to print."""
        first, second = self._peek(), self._peek(1)
        if first and second and first.kind == "variable" and second.text in (":=", "="):
            self._at += 2
            node: Node = Assignment(first.text, self.pipeline(), second.text == ":=", first.line)
        else:
            node = Output(self.pipeline())
        self.finish()
        return node

    def variables(self) -> list[str]:
        """The names before `:=`, as `with` and `range` have them."""
        if not any(token.text == ":=" for token in self._tokens):
            return []
        names = [self.take("variable").text]
        while self.skip("sign", ","):
            names.append(self.take("variable").text)
        if not self.skip("sign", ":="):
            raise self._error("`:=` expected")
        return names

    def pipeline(self) -> Expression:
        value = self._command()
        while self.skip("sign", "|"):
            stage = self._command()
            if not isinstance(stage, Call):
                raise self._error("only a function stands behind `|`")
            value = Call(stage.name, (*stage.arguments, value), stage.line)
        return value

    def finish(self) -> None:
        if (left := self._peek()) is not None:
            raise self._error(f"unexpected {left.text!r}")

    def take(self, kind: str) -> Token:
        token = self._peek()
        if token is None or token.kind != kind:
            raise self._error(f"{kind} expected")
        self._at += 1
        return token

    def skip(self, kind: str, text: str) -> bool:
        token = self._peek()
        if token is None or (token.kind, token.text) != (kind, text):
            return False
        self._at += 1
        return True

    def _command(self) -> Expression:
        token = self._peek()
        if token is not None and token.kind == "word" and token.text not in _CONSTANTS:
            self._at += 1
            if token.text not in FUNCTIONS and token.text not in _EVALUATED:
                raise TemplateError(self._template, token.line, f"function {token.text!r} is not in the subset")
            return Call(token.text, self._operands(), token.line)
        first = self._operand()
        rest = self._operands()
        if not rest:
            return first
        if not isinstance(first, Field):
            raise self._error("only functions and methods take arguments")
        return Field(first.base, first.name, first.line, rest)

    def _operands(self) -> tuple[Expression, ...]:
        found = []
        while (token := self._peek()) is not None and token.text not in ("|", ")"):
            found.append(self._operand())
        return tuple(found)

    def _operand(self) -> Expression:
        token = self._peek()
        if token is None:
            raise self._error("a value is missing")
        self._at += 1
        value: Expression
        match token.kind, token.text:
            case "string", text:
                return Literal(_string(text))
            case "number", text:
                return Literal(float(text) if "." in text else int(text))
            case "word", ("true" | "false" | "nil") as text:
                return Literal(_CONSTANTS[text])
            case "word", text if text in FUNCTIONS:
                value = Call(text, (), token.line)
            case "variable", text:
                value = Variable(text, token.line)
            case "field", text:
                value = Field(Dot(), text[1:], token.line)
            case "sign", ".":
                return Dot()
            case "sign", "(":
                value = self.pipeline()
                if not self.skip("sign", ")"):
                    raise self._error("`)` expected")
            case _:
                raise self._error(f"unexpected {token.text!r}")
        while (follower := self._peek()) is not None and follower.kind == "field" and not follower.spaced:
            self._at += 1
            value = Field(value, follower.text[1:], follower.line)
        return value

    def _peek(self, ahead: int = 0) -> Token | None:
        at = self._at + ahead
        return self._tokens[at] if at < len(self._tokens) else None

    def _error(self, message: str) -> TemplateError:
        token = self._peek()
        return TemplateError(self._template, token.line if token else self.line, message)


def _string(text: str) -> str:
    """A Go string; the escapes that the charts use are those of JSON."""
    return text[1:-1] if text.startswith("`") else str(json.loads(text))

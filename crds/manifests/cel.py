"""Expressions that many rules share. `self` is the message that a rule belongs to."""

from collections.abc import Iterable


def given(*fields: str) -> str:
    """One of the fields is written."""
    return _any(f"has(self.{field})" for field in fields)


def texts(*fields: str) -> str:
    """One of the fields is a text that is not empty."""
    return _any(f"(has(self.{field}) && self.{field} != '')" for field in fields)


def lists(*fields: str) -> str:
    """One of the fields is a list or map that is not empty."""
    return _any(f"(has(self.{field}) && size(self.{field}) > 0)" for field in fields)


def yes(field: str) -> str:
    """The field is true."""
    return f"(has(self.{field}) && self.{field})"


def is_one_of(field: str, *values: str) -> str:
    """The field has one of these values."""
    equal = " || ".join(f"self.{field} == '{value}'" for value in values)  # a list would cost more to make
    return f"(has(self.{field}) && {equal if len(values) == 1 else f'({equal})'})"


def not_both(first: str, second: str) -> str:
    """At most one of two expressions holds."""
    return f"!({first} && {second})"


def implies(condition: str, consequence: str) -> str:
    """Where the first holds, so does the second."""
    return f"!{condition} || {consequence}"


def count(*expressions: str) -> str:
    """How many of the expressions hold."""
    return " + ".join(f"({expression} ? 1 : 0)" for expression in expressions)


def _any(expressions: Iterable[str]) -> str:
    held = list(expressions)
    return held[0] if len(held) == 1 else f"({' || '.join(held)})"

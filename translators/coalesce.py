"""The first of several format operators that has a value (Envoy: access log operator `COALESCE`)."""

from __future__ import annotations

import json
from typing import NamedTuple

UNKNOWN = "unknown"
"""What Istio's metrics say where they know nothing (Istio: extensions/common)."""


class Operator(NamedTuple):
    """A command of Envoy's access log formats and what it is about, as in `%REQ(:path)%`."""

    command: str
    param: str = ""

    def __str__(self) -> str:
        return f"%{self.command}({self.param})%" if self.param else f"%{self.command}%"


def cel(expression: str) -> Operator:
    """The value of a CEL expression; none where the expression fails, on a missing key for one."""
    return Operator("CEL", expression)


def first_of(*operators: Operator) -> str:
    """A format string of the first operator that has a value, or `unknown`.

    Envoy writes nothing for an operator without a value. The constant at the end costs little: no expression is
    evaluated when an earlier operator had a value.
    """
    listed = [_written(operator) for operator in (*operators, cel(f"'{UNKNOWN}'"))]
    return f"%COALESCE({json.dumps({'operators': listed}, separators=(',', ':'))})%"


def _written(operator: Operator) -> dict[str, str] | str:
    return {"command": operator.command, "param": operator.param} if operator.param else operator.command

"""The first of several format operators that has a value (Envoy: access log operator `COALESCE`)."""

from __future__ import annotations

import json
from typing import NamedTuple

UNKNOWN = "unknown"
"""What Istio's metrics say where they know nothing."""

UNKNOWN_STATE = "unknown"
"""Filter state that holds `UNKNOWN`, set on every connection (translators.workload_state): as an alternative it costs a
quarter of the memory of a constant CEL expression."""


class Operator(NamedTuple):
    """A command of Envoy's access log formats and what it is about, as in `%REQ(:path)%`."""

    command: str
    param: str = ""

    def __str__(self) -> str:
        return f"%{self.command}({self.param})%" if self.param else f"%{self.command}%"


def cel(expression: str) -> Operator:
    """The value of a CEL expression; none where the expression fails, on a missing key for one."""
    return Operator("CEL", expression)


def state(key: str) -> Operator:
    """The text that filter state holds under a key."""
    return Operator("FILTER_STATE", f"{key}:PLAIN")


def first_of(*operators: Operator) -> str:
    """A format string of the first operator that has a value, or `unknown`: Envoy itself writes nothing where there is
    none."""
    listed = [_written(operator) for operator in (*operators, state(UNKNOWN_STATE))]
    return f"%COALESCE({json.dumps({'operators': listed}, separators=(',', ':'))})%"


def _written(operator: Operator) -> dict[str, str] | str:
    return {"command": operator.command, "param": operator.param} if operator.param else operator.command

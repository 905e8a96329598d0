"""Values against a chart's `values.schema.json`."""

from __future__ import annotations

from typing import Any

import jsonschema

from dragoman.charts.errors import ChartError
from dragoman.charts.values import Values


class ValuesError(ChartError):
    """Values that a chart does not take; `problems` says for each where and why."""

    def __init__(self, chart: str, problems: tuple[str, ...]) -> None:
        self.chart, self.problems = chart, problems
        super().__init__(f"values of the chart {chart}: " + "; ".join(problems))


def check(chart: str, schema: dict[str, Any], values: Values) -> None:
    """Raises ValuesError with every problem at once."""
    found = jsonschema.Draft7Validator(schema).iter_errors(values)
    problems = tuple(sorted({f"{_path(error)}: {error.message}" for error in found}))
    if problems:
        raise ValuesError(chart, problems)


def _path(error: jsonschema.ValidationError) -> str:
    path = "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in error.absolute_path)
    return path.removeprefix(".") or "values"

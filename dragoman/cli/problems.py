"""Problems of objects as lines for people: severity, file and line, object, field, what is wrong, remedy."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from dragoman.sources.change import Report


def tell(text: str) -> None:
    """Print a line on standard error."""
    typer.echo(text, err=True)


def line_of(report: Report) -> str:
    """A problem as one line."""
    return f"{report.problem.severity}: {report}"


def tell_reports(reports: Iterable[Report]) -> None:
    """Print problems on standard error."""
    for report in reports:
        tell(line_of(report))


def summary(reports: Iterable[Report]) -> str:
    """How many errors and warnings there are."""
    # Here, as the models cost a quarter of a second, which commands that only tell something need not pay.
    from crds.problem import Severity

    found = [report.problem.severity for report in reports]
    return ", ".join(
        f"{found.count(severity)} {severity}" + ("" if found.count(severity) == 1 else "s")
        for severity in (Severity.ERROR, Severity.WARNING)
    )

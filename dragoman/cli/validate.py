"""`dragoman validate FILES…`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from dragoman.cli.output import TableFormat, write
from dragoman.cli.problems import line_of, summary
from dragoman.sources.change import Report
from dragoman.sources.validation import check, has_errors


def validate(
    files: Annotated[list[Path], typer.Argument(help="YAML or JSON files, or folders of them.", exists=True)],
    output: Annotated[TableFormat, typer.Option("-o", "--output", help="How to print it.")] = TableFormat.table,
) -> None:
    """Check Kubernetes and Istio YAML: shape, meaning, and fields that have no effect here.

    \b
    Examples:
      dragoman validate mesh/ extra.yaml
      dragoman validate mesh/ -o json
    \b
    Exit codes: 0 no error (warnings may be printed), 1 errors found, 2 wrong usage.
    """
    reports = check(files)
    if output is TableFormat.table:
        for report in reports:
            typer.echo(line_of(report))
        typer.echo(summary(reports))
    else:
        write([_as_dict(report) for report in reports], output)
    if has_errors(reports):
        raise typer.Exit(1)


def _as_dict(report: Report) -> dict[str, Any]:
    key = report.key
    return {
        "severity": str(report.problem.severity),
        "code": report.problem.code,
        "file": report.file,
        "line": report.line,
        "object": {"kind": key.kind, "namespace": key.namespace, "name": key.name} if key is not None else None,
        "path": report.problem.path,
        "message": report.problem.message,
        "remedy": report.problem.remedy,
    }

"""`dragoman version`."""

from __future__ import annotations

from importlib.metadata import version as installed
from typing import Annotated

import typer

from dragoman.cli.output import TableFormat, write


def version(
    output: Annotated[TableFormat, typer.Option("-o", "--output", help="How to print it.")] = TableFormat.table,
) -> None:
    """Print the version of this program and of the Envoy API it speaks.

    \b
    Example:
      dragoman version -o json
    \b
    Exit codes: 0 done, 2 wrong usage.
    """
    found = {"dragoman": installed("dragoman"), "envoyApi": installed("envoy-data-plane")}
    if output is TableFormat.table:
        typer.echo(f"dragoman {found['dragoman']} (Envoy API: envoy-data-plane {found['envoyApi']})")
    else:
        write(found, output)

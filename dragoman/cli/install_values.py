"""Values of an installation on the command line, as Helm's: files, then single ones over them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
import yaml

from dragoman.charts import Values, set_value
from dragoman.charts.values import overlaid

ValuesFiles = Annotated[
    list[Path] | None,
    typer.Option(
        "-f",
        "--values",
        metavar="FILE",
        help="YAML of values; may be repeated, later ones win.",
        exists=True,
        dir_okay=False,
        allow_dash=True,
    ),
]
SetValues = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="One value, such as pilot.replicaCount=3; may be repeated."),
]
SetStrings = Annotated[
    list[str] | None,
    typer.Option("--set-string", metavar="KEY=VALUE", help="The same, but the value is a text whatever it looks like."),
]
Revision = Annotated[
    str | None,
    typer.Option("-r", "--revision", metavar="NAME", help="The revision to install.", show_default="the default one"),
]


def values_of(
    files: Sequence[Path] | None, assignments: Sequence[str] | None, texts: Sequence[str] | None, revision: str | None
) -> Values:
    """All that was said; what is wrong with it is a usage error."""
    values: Values = {}
    for file in files or ():
        values = overlaid(values, _read(file))
    try:
        for assignment in assignments or ():
            set_value(values, assignment)
        for assignment in texts or ():
            set_value(values, assignment, as_string=True)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None
    if revision is not None:
        values["revision"] = "" if revision == "default" else revision
    return values


def _read(file: Path) -> Values:
    try:
        text = typer.get_text_stream("stdin").read() if str(file) == "-" else file.read_text()
        found: Any = yaml.load(text, Loader=yaml.CSafeLoader)
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise typer.BadParameter(f"{file}: {error}") from None
    if found is None:
        return {}
    if not isinstance(found, dict):
        raise typer.BadParameter(f"{file}: a map of values is expected")
    return found

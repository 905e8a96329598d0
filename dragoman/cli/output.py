"""What commands print: tables for people, JSON or YAML for programs."""

from __future__ import annotations

import enum
import json
import sys
from collections.abc import Sequence
from typing import Any, Final, TextIO

import yaml

_WIDEST: Final = 10_000
"""Columns of an output that is no terminal."""


class Format(enum.StrEnum):
    json = "json"
    yaml = "yaml"


class TableFormat(enum.StrEnum):
    table = "table"
    json = "json"
    yaml = "yaml"


class _Dumper(yaml.CSafeDumper):
    """Writes any kind of dict as a mapping: protobuf's JSON is made of ordered ones."""


_Dumper.add_multi_representer(dict, _Dumper.represent_dict)


def write(document: Any, style: Format | TableFormat, stream: TextIO | None = None) -> None:
    """Print a document; keys keep their order."""
    out = stream or sys.stdout
    if style == "yaml":
        yaml.dump(document, out, Dumper=_Dumper, sort_keys=False, allow_unicode=True)
    else:
        json.dump(document, out, indent=2, ensure_ascii=False)
        out.write("\n")


def write_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print rows under their columns, as wide as the text needs when the output is no terminal."""
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, header_style="bold", pad_edge=False)
    for column in columns:
        table.add_column(column.upper(), overflow="fold", no_wrap=True)
    for row in rows:
        table.add_row(*row)
    console = Console()
    if not console.is_terminal:
        # Programs that read it want each line whole.
        console = Console(width=_WIDEST)
    console.print(table)


def fail(message: str, code: int = 1) -> SystemExit:
    """Say what went wrong on stderr; raise what is returned."""
    print(f"dragoman: {message}", file=sys.stderr)  # noqa: T201
    return SystemExit(code)

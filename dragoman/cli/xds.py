"""`dragoman xds …`: the discovery services as a client sees them."""

from __future__ import annotations

import typer

from dragoman.cli.xds_watch import watch

_HELP = """See the discovery services as a client does.

\b
Examples:
  dragoman xds watch --node web-1.shop
\b
Exit codes: 0 done, 1 refused, or not in sync in time, 2 wrong usage.
"""

group = typer.Typer(name="xds", help=_HELP, add_completion=False, no_args_is_help=True, rich_markup_mode=None)
group.command("watch")(watch)


@group.callback()
def _group() -> None:
    pass

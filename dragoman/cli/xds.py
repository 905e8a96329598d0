"""`dragoman xds …`: the discovery services as a client sees them."""

from __future__ import annotations

import typer

from dragoman.cli.xds_watch import watch

group = typer.Typer(
    name="xds",
    help="The discovery services as a client sees them.",
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode=None,
)
group.command("watch")(watch)


@group.callback()
def _group() -> None:
    """The discovery services as a client sees them."""

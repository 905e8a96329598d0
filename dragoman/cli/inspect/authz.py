"""`dragoman authz check`: which authorization policies decide at a proxy."""

from __future__ import annotations

import asyncio
from typing import Annotated, Final

import typer

from dragoman.cli.inspect.authz_policies import COLUMNS, policies
from dragoman.cli.inspect.config_sources import Source, read
from dragoman.cli.inspect.where import Where
from dragoman.cli.output import TableFormat, write, write_table
from dragoman.cli.problems import tell
from dragoman.cli.shared_options import shares

_HELP: Final = """Show what decides who may do what.

\b
Examples:
  dragoman authz check reviews-v1-abc.shop
\b
Exit codes: 0 done, 1 no control plane or no such proxy, 2 wrong usage.
"""

app = typer.Typer(name="authz", help=_HELP, no_args_is_help=True, add_completion=False, rich_markup_mode=None)


@app.callback()
def _group() -> None:
    pass


@app.command()
@shares(source=Source, where=Where)
def check(
    output: Annotated[TableFormat, typer.Option("-o", "--output", help="How to print it.")] = TableFormat.table,
    *,
    source: Source,
    where: Where,
) -> None:
    """Show the authorization policies that a proxy has, in the order in which they decide.

    CUSTOM asks somebody else, AUDIT only notes, DENY comes before ALLOW. With an ALLOW policy nothing else is allowed;
    without one everything is. That no rule of a policy can match is said, too: such an ALLOW lets nothing through.

    \b
    Examples:
      dragoman authz check reviews-v1-abc.shop
      dragoman authz check reviews-v1-abc.shop --from proxy
      dragoman authz check -f config_dump.json
    \b
    Exit codes: 0 done, 1 no control plane or no such proxy, 2 wrong usage.
    """
    found = asyncio.run(read(source, where))
    listed = policies(each.entry.content for each in found.resources("listeners"))
    if output is not TableFormat.table:
        write([policy.document() for policy in listed], output)
        return
    tell(f"from {found.read_from}")
    if listed:
        write_table(COLUMNS, [policy.row() for policy in listed])
    else:
        typer.echo("no authorization policy holds: everybody may do everything")

"""`dragoman proxy-config`: what one proxy has, as the control plane serves it or as Envoy says."""

from __future__ import annotations

import asyncio
import enum
from dataclasses import replace
from typing import Annotated, Any, Final

import typer
from typer.core import TyperGroup

from dragoman.cli.inspect import config_filters
from dragoman.cli.inspect.config_dump import bootstrap as bootstrap_of
from dragoman.cli.inspect.config_filters import Filter, everything
from dragoman.cli.inspect.config_sources import ProxyConfig, Side, Source, read
from dragoman.cli.inspect.config_tables import TABLES
from dragoman.cli.inspect.where import Where
from dragoman.cli.output import Format, fail, write, write_table
from dragoman.cli.problems import tell
from dragoman.cli.shared_options import shares

_HELP: Final = """Show what one proxy has: clusters, listeners, routes, endpoints, secrets, or its bootstrap.

By default that is what the control plane serves it; with --from proxy what its Envoy says, by the admin interface;
with --file what was saved of either. Secrets are blotted out.

\b
Examples:
  dragoman proxy-config clusters reviews-v1-abc.shop
  dragoman proxy-config routes reviews --name 80 -o yaml
  dragoman proxy-config endpoints reviews --from proxy --status UNHEALTHY
  dragoman proxy-config all -f config_dump.json
\b
Exit codes: 0 done, 1 no control plane or no such proxy, 2 wrong usage.
"""

_ALIASES: Final = {
    alias: name
    for name, aliases in {
        "clusters": ("cluster", "c"),
        "listeners": ("listener", "l"),
        "routes": ("route", "r"),
        "endpoints": ("endpoint", "ep"),
        "secrets": ("secret", "s"),
        "bootstrap": ("b",),
        "all": ("a",),
    }.items()
    for alias in aliases
}
"""istioctl's other names of the same."""


class _Sections(TyperGroup):
    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        return super().get_command(ctx, _ALIASES.get(cmd_name, cmd_name))


class Style(enum.StrEnum):
    """How to print it; `short` and `table` are the same."""

    table = "table"
    short = "short"
    json = "json"
    yaml = "yaml"


class Direction(enum.StrEnum):
    inbound = "inbound"
    outbound = "outbound"


_sourced: Final = shares(source=Source, where=Where)

app = typer.Typer(
    name="proxy-config", cls=_Sections, help=_HELP, no_args_is_help=True, add_completion=False, rich_markup_mode=None
)

Output = Annotated[Style, typer.Option("-o", "--output", help="How to print it.")]
Port = Annotated[int | None, typer.Option("--port", help="Only those of this port.")]


@app.command()
@_sourced
def clusters(
    fqdn: Annotated[str | None, typer.Option("--fqdn", help="Only those whose host contains this.")] = None,
    port: Port = None,
    subset: Annotated[str | None, typer.Option("--subset", help="Only those of this subset.")] = None,
    direction: Annotated[Direction | None, typer.Option("--direction", help="Only those of this direction.")] = None,
    output: Output = Style.table,
    *,
    source: Source,
    where: Where,
) -> None:
    """Show clusters: where requests can go.

    \b
    Example:
      dragoman proxy-config clusters reviews-v1-abc.shop --fqdn ratings --direction outbound
    \b
    Exit codes: 0 done, 1 no control plane or no such proxy, 2 wrong usage.
    """
    _show(
        source,
        where,
        "clusters",
        config_filters.clusters(fqdn=fqdn, port=port, subset=subset, direction=direction),
        output,
    )


@app.command()
@_sourced
def listeners(
    address: Annotated[str | None, typer.Option("--address", help="Only those at this address.")] = None,
    port: Port = None,
    type_: Annotated[str | None, typer.Option("--type", help="Only those that speak HTTP, TCP or HTTP+TCP.")] = None,
    output: Output = Style.table,
    *,
    source: Source,
    where: Where,
) -> None:
    """Show listeners: what a proxy accepts, and where that leads.

    \b
    Example:
      dragoman proxy-config listeners reviews-v1-abc.shop --port 15006
    \b
    Exit codes: 0 done, 1 no control plane or no such proxy, 2 wrong usage.
    """
    _show(source, where, "listeners", config_filters.listeners(address=address, port=port, type_=type_), output)


@app.command()
@_sourced
def routes(
    name: Annotated[str | None, typer.Option("--name", help="Only the route configuration of this name.")] = None,
    output: Output = Style.table,
    *,
    source: Source,
    where: Where,
) -> None:
    """Show routes: which requests go where.

    \b
    Example:
      dragoman proxy-config routes reviews-v1-abc.shop --name 9080
    \b
    Exit codes: 0 done, 1 no control plane or no such proxy, 2 wrong usage.
    """
    _show(source, where, "routes", config_filters.routes(name=name), output)


@app.command()
@_sourced
def endpoints(
    address: Annotated[str | None, typer.Option("--address", help="Only those at this address.")] = None,
    port: Port = None,
    cluster: Annotated[str | None, typer.Option("--cluster", help="Only those of this cluster.")] = None,
    status: Annotated[str | None, typer.Option("--status", help="Only those in this health, as UNHEALTHY.")] = None,
    output: Output = Style.table,
    *,
    source: Source,
    where: Where,
) -> None:
    """Show endpoints: the addresses behind clusters. What Envoy itself finds of their health it says --from proxy.

    \b
    Example:
      dragoman proxy-config endpoints reviews-v1-abc.shop --cluster 'outbound|80||ratings.shop.svc.cluster.local'
    \b
    Exit codes: 0 done, 1 no control plane or no such proxy, 2 wrong usage.
    """
    chosen = config_filters.endpoints(address=address, port=port, cluster=cluster, status=status)
    _show(source, where, "endpoints", chosen, output)


@app.command()
@_sourced
def secrets(
    output: Output = Style.table,
    *,
    source: Source,
    where: Where,
) -> None:
    """Show certificates and roots: of whom they are and how long they are valid. Keys are blotted out.

    \b
    Example:
      dragoman proxy-config secrets reviews-v1-abc.shop
    \b
    Exit codes: 0 done, 1 no control plane or no such proxy, 2 wrong usage.
    """
    _show(source, where, "secrets", everything, output)


@app.command()
@_sourced
def bootstrap(
    output: Annotated[Format, typer.Option("-o", "--output", help="How to print it.")] = Format.json,
    *,
    source: Source,
    where: Where,
) -> None:
    """Show what an Envoy was started with.

    Only it knows, so that it is always asked itself, as --from proxy.

    \b
    Example:
      dragoman proxy-config bootstrap reviews-v1-abc.shop -o yaml
    \b
    Exit codes: 0 done, 1 no such proxy, or its Envoy cannot be reached, 2 wrong usage.
    """
    found = asyncio.run(read(replace(source, side=Side.proxy), where))
    started_with = bootstrap_of(found.dump)
    if started_with is None:
        raise fail(f"there is no bootstrap in {found.read_from}: only Envoy's own dump has it")
    write({"bootstrap": started_with}, output)


@app.command("all")
@_sourced
def all_(
    output: Output = Style.table,
    *,
    source: Source,
    where: Where,
) -> None:
    """Show all of it: a table each, or the whole config dump.

    \b
    Example:
      dragoman proxy-config all reviews-v1-abc.shop -o json > config_dump.json
    \b
    Exit codes: 0 done, 1 no control plane or no such proxy, 2 wrong usage.
    """
    found = asyncio.run(read(source, where))
    if output in (Style.json, Style.yaml):
        write(found.dump, Format(output.value))
        return
    _tell_source(found)
    for section in TABLES:
        typer.echo(f"{section.upper()}")
        _print_table(found, section, everything)
        typer.echo("")


def _show(source: Source, where: Where, section: str, chosen: Filter, output: Style) -> None:
    found = asyncio.run(read(source, where))
    if output in (Style.json, Style.yaml):
        write([each.written for each in chosen(found.resources(section))], Format(output.value))
        return
    _tell_source(found)
    _print_table(found, section, chosen)


def _tell_source(found: ProxyConfig) -> None:
    """On standard error, so that what follows is nothing but the table."""
    tell(f"from {found.read_from}")


def _print_table(found: ProxyConfig, section: str, chosen: Filter) -> None:
    table = TABLES[section]
    write_table(
        table.columns, sorted(row for each in chosen(found.resources(section)) for row in table.rows(each.entry))
    )

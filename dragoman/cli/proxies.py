"""`dragoman proxy-status` and `dragoman proxy-config`: what a running control plane says about its proxies."""

from __future__ import annotations

import enum
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any

import typer

from dragoman.cli import config_tables
from dragoman.cli.addresses import host_port
from dragoman.cli.debug_client import ask
from dragoman.cli.output import TableFormat, fail, write, write_table

HttpAddress = Annotated[
    str, typer.Option("--http-address", metavar="HOST:PORT", help="The control plane's debug pages.")
]
TokenFile = Annotated[
    Path | None,
    typer.Option("--token-file", help="File with the bearer token of the debug pages.", exists=True, dir_okay=False),
]
Output = Annotated[TableFormat, typer.Option("-o", "--output", help="How to print it.")]

DEBUG_ADDRESS = "127.0.0.1:15014"

_TYPES = ("cds", "lds", "eds", "rds", "sds")


class Section(enum.StrEnum):
    """A kind of resource."""

    clusters = "clusters"
    listeners = "listeners"
    routes = "routes"
    endpoints = "endpoints"
    secrets = "secrets"


def proxy_status(
    proxy: Annotated[
        str | None, typer.Argument(metavar="[PROXY]", help="Only this one: POD.NAMESPACE, or the beginning of it.")
    ] = None,
    http_address: HttpAddress = DEBUG_ADDRESS,
    token_file: TokenFile = None,
    output: Output = TableFormat.table,
) -> None:
    """Show which proxies are connected and whether each has accepted what it is served.

    SYNCED: accepted everything. STALE: not all yet. REJECTED: an Envoy refused something that it should have, and it
    has the last good version instead; what and why is said below the table, and of which objects by /debug/nackz.
    LACKING: it needs a credential that no Secret holds, see /debug/credentialz. NOT SENT: it did not ask for any.

    \b
    Examples:
      dragoman proxy-status
      dragoman proxy-status reviews-v1-abc.shop -o json
    \b
    Exit codes: 0 done, 1 no control plane or no such proxy, 2 wrong usage.
    """
    statuses = ask(host_port(http_address), "/debug/syncz", token=_token(token_file))
    if proxy is not None:
        name = _unique(proxy, {status["proxy"] for status in statuses})
        statuses = [status for status in statuses if status["proxy"] == name]
    if output is not TableFormat.table:
        write(statuses, output)
        return
    rows = [
        (
            status["proxy"],
            status["cluster_id"],
            *(_delivery(status["types"].get(type_)) for type_ in _TYPES),
            status.get("proxy_version", ""),
        )
        for status in statuses
    ]
    write_table(("name", "cluster", *_TYPES, "version"), rows)
    for (type_, name, words), (first, *others) in _missing(statuses).items():
        more = f" and {len(others)} more" if others else ""
        typer.echo(f"{type_.upper()} {name!r} is not at {first}{more}: {words}")


def proxy_config(
    section: Annotated[Section, typer.Argument(help="What to show.")],
    proxy: Annotated[str, typer.Argument(help="POD.NAMESPACE, or the beginning of it if only one proxy fits.")],
    http_address: HttpAddress = DEBUG_ADDRESS,
    token_file: TokenFile = None,
    output: Output = TableFormat.table,
) -> None:
    """Show the clusters, listeners, routes, endpoints or secrets that a connected proxy is served.

    \b
    Examples:
      dragoman proxy-config clusters reviews-v1-abc.shop
      dragoman proxy-config routes reviews -o yaml
    \b
    Exit codes: 0 done, 1 no control plane or no such proxy, 2 wrong usage.
    """
    address, token = host_port(http_address), _token(token_file)
    connected = ask(address, "/debug/syncz", token=token)
    name = _unique(proxy, {status["proxy"] for status in connected})
    dump = ask(address, "/debug/config_dump", token=token, proxyID=name)
    resources = config_tables.resources(dump, section)
    if output is not TableFormat.table:
        write(resources, output)
        return
    table = config_tables.TABLES[section]
    write_table(table.columns, sorted(row for resource in resources for row in table.rows(resource)))


def _token(file: Path | None) -> str | None:
    return file.read_text().strip() if file is not None else None


def _unique(wanted: str, known: Iterable[str]) -> str:
    """The one proxy called `wanted`, or whose name begins so."""
    names = sorted(known)
    found = [name for name in names if name == wanted] or [name for name in names if name.startswith(wanted)]
    if len(found) == 1:
        return found[0]
    if found:
        raise fail(f"{wanted!r} may be any of {', '.join(found)}: give more of the name")
    there_are = f"there are {', '.join(names)}" if names else "there is none"
    raise fail(f"no proxy {wanted!r} is connected; {there_are}")


def _missing(statuses: Iterable[dict[str, Any]]) -> dict[tuple[str, str, str], list[str]]:
    """What is rejected or cannot be had, as type, name and why; with the proxies that are to do without it."""
    found: dict[tuple[str, str, str], list[str]] = {}
    for status in statuses:
        for type_ in _TYPES:
            found_here = status["types"].get(type_, {})
            for name, words in {**_rejected(found_here), **found_here.get("lacking", {})}.items():
                found.setdefault((type_, name, " ".join(words.split())), []).append(status["proxy"])
    return found


def _rejected(type_: dict[str, Any]) -> dict[str, str]:
    """What a proxy should have and does not, because it or another refused it: names, and why."""
    return {**type_.get("heldBack", {}), **type_.get("refused", {})}


def _delivery(type_: dict[str, Any] | None) -> str:
    if type_ is None or not type_["sent"]:
        return "NOT SENT"
    if type_.get("error") or _rejected(type_):
        return "REJECTED"
    if type_.get("lacking"):
        return "LACKING"
    return "SYNCED" if type_["inSync"] else "STALE"

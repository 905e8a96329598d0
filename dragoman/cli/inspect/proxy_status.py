"""`dragoman proxy-status`: who is connected, and whether each has accepted what it is served; of one, what it has."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Annotated, Any, Final

import typer

from dragoman.cli.inspect.comparison import Comparison, compare
from dragoman.cli.inspect.completion import complete_proxy
from dragoman.cli.inspect.config_sources import Envoy, Side, Source, read, served_to
from dragoman.cli.inspect.proxies import named
from dragoman.cli.inspect.replicas import Answer, Replicas, replicas
from dragoman.cli.inspect.where import Where
from dragoman.cli.output import TableFormat, write, write_table
from dragoman.cli.problems import tell
from dragoman.cli.shared_options import shares

TYPES: Final = ("cds", "lds", "eds", "rds", "ecds", "sds")
COLUMNS: Final = ("name", "cluster", *TYPES, "istiod", "version")

DIFFERS: Final = 3
"""The exit code where an Envoy has something else than it is served."""

Status = Mapping[str, Any]


@shares(envoy=Envoy, where=Where)
def proxy_status(
    proxy: Annotated[
        str | None,
        typer.Argument(
            metavar="[PROXY]",
            help="This one, compared with its Envoy: POD[.NAMESPACE], or its beginning.",
            autocompletion=complete_proxy,
        ),
    ] = None,
    output: Annotated[TableFormat, typer.Option("-o", "--output", help="How to print it.")] = TableFormat.table,
    *,
    envoy: Envoy,
    where: Where,
) -> None:
    """Show which proxies are connected and whether each has accepted what it is served, by all replicas.

    SYNCED: accepted everything. STALE: not all yet. ERROR: an Envoy refused something that it should have, and it has
    the last good version instead; what and why is said below the table, and of which objects by /debug/nackz.
    LACKING: it needs a credential that no Secret holds, see /debug/credentialz. NOT SENT: there is nothing of this
    type for it. IGNORED: it did not ask for any.

    Of one proxy, what its control plane serves is also compared with what its Envoy has, type by type, and every
    difference is printed. Its Envoy is asked through the cluster; elsewhere say --admin-address, or --file with what
    its /config_dump?include_eds said.

    \b
    Examples:
      dragoman proxy-status
      dragoman proxy-status reviews-v1-abc.shop
      dragoman proxy-status reviews-v1-abc.shop -o json
      dragoman proxy-status --context production -n shop
    \b
    Exit codes: 0 done, and no difference; 1 no control plane, no such proxy, or its Envoy cannot be reached;
    2 wrong usage; 3 the Envoy has something else than it is served.
    """
    if proxy is None and envoy.is_named:
        raise typer.BadParameter("--file and --admin-address are of one proxy: say which")
    if not asyncio.run(_run(proxy, output, envoy, where)):
        raise typer.Exit(DIFFERS)


async def _run(proxy: str | None, output: TableFormat, envoy: Envoy, where: Where) -> bool:
    """Print it; whether no difference was found."""
    async with replicas(where) as found:
        statuses = merged(await found.ask("/debug/syncz"))
        if proxy is not None:
            name = named(proxy, found.namespace, {status["proxy"] for status in statuses})
            return await _one(name, [each for each in statuses if each["proxy"] == name], output, found, envoy, where)
    if where.namespace:
        statuses = [status for status in statuses if status["proxy"].endswith(f".{where.namespace}")]
    if output is TableFormat.table:
        _print_table(statuses)
    else:
        write(statuses, output)
    return True


async def _one(
    name: str, statuses: Sequence[Status], output: TableFormat, found: Replicas, envoy: Envoy, where: Where
) -> bool:
    if output is TableFormat.table:
        _print_table(statuses)
    compared = await _compared(name, found, envoy, where)
    if output is TableFormat.table:
        _print_comparison(compared)
    else:
        written = {section: {"match": each.match, **asdict(each)} for section, each in compared.items()}
        write([{**status, **({"comparison": written} if written else {})} for status in statuses], output)
    return all(each.match for each in compared.values())


async def _compared(name: str, found: Replicas, envoy: Envoy, where: Where) -> dict[str, Comparison]:
    """What one proxy is served beside what it has; nothing where its Envoy is not known."""
    if envoy.file is not None:
        source = Source(file=envoy.file)
    elif envoy.admin_address is not None:
        source = Source(admin_address=envoy.admin_address)
    elif found.cluster is not None:
        source = Source(name, Side.proxy, admin_port=envoy.admin_port)
    else:
        tell("not compared with its Envoy: say --admin-address HOST:PORT, or --file")
        return {}
    served, had = await asyncio.gather(served_to(name, found), read(source, where))
    return compare(served.dump, had.dump)


def _print_table(statuses: Sequence[Status]) -> None:
    write_table(COLUMNS, [row(status) for status in statuses])
    for line in complaints(statuses):
        typer.echo(line)


def _print_comparison(compared: Mapping[str, Comparison]) -> None:
    for section, each in compared.items():
        typer.echo(f"{section.capitalize()} {'Match' if each.match else 'Differ'}")
        for line in described(each):
            typer.echo(line)


def described(comparison: Comparison) -> Iterator[str]:
    """The lines below a type that differs."""
    for name in comparison.missing:
        yield f"  not at the Envoy: {name}{' (received, and warming)' if name in comparison.warming else ''}"
    for name in comparison.extra:
        yield f"  only at the Envoy: {name}"
    for change in comparison.changed:
        yield from change.diff


def merged(answers: Iterable[Answer]) -> list[Status]:
    """What all replicas say of their proxies, in the order of proxies, each with the replica under `istiod`."""
    found = [{**status, "istiod": answer.replica.name} for answer in answers for status in answer.document]
    return sorted(found, key=lambda status: (status["proxy"], status["istiod"]))


def row(status: Status) -> tuple[str, ...]:
    """A line of the table."""
    return (
        status["proxy"],
        status["cluster_id"],
        *(delivery(status["types"].get(type_)) for type_ in TYPES),
        status["istiod"],
        status.get("proxy_version", ""),
    )


def delivery(type_: Mapping[str, Any] | None) -> str:
    """The state of one type at one proxy, in istioctl's words (Istio: pilot/pkg/xds/statusgen.go, debugSyncStatus)."""
    if type_ is None:
        return "IGNORED"
    if not type_["sent"]:
        return "NOT SENT"
    if type_.get("error") or _rejected(type_):
        return "ERROR"
    if type_.get("lacking"):
        return "LACKING"
    return "SYNCED" if type_["inSync"] else "STALE"


def complaints(statuses: Sequence[Status]) -> list[str]:
    """A line for each resource that is rejected or cannot be had, with why, and which proxies do without it."""
    return [
        f"{type_.upper()} {name!r} is not at {first}{f' and {len(others)} more' if others else ''}: {words}"
        for (type_, name, words), (first, *others) in _missing(statuses).items()
    ]


def _missing(statuses: Iterable[Status]) -> dict[tuple[str, str, str], list[str]]:
    """What is rejected or cannot be had, as type, name and why; with the proxies that are to do without it."""
    found: dict[tuple[str, str, str], list[str]] = {}
    for status in statuses:
        for type_ in TYPES:
            found_here = status["types"].get(type_, {})
            for name, words in {**_rejected(found_here), **found_here.get("lacking", {})}.items():
                found.setdefault((type_, name, " ".join(words.split())), []).append(status["proxy"])
    return found


def _rejected(type_: Mapping[str, Any]) -> dict[str, str]:
    """What a proxy should have and does not, because it or another refused it: names, and why."""
    return {**type_.get("heldBack", {}), **type_.get("refused", {})}

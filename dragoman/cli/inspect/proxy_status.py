"""`dragoman proxy-status`: who is connected, and whether each has accepted what it is served."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any, Final

import typer

from dragoman.cli.inspect.completion import complete_proxy
from dragoman.cli.inspect.proxies import named
from dragoman.cli.inspect.replicas import Answer, replicas
from dragoman.cli.inspect.where import Where, located
from dragoman.cli.output import TableFormat, write, write_table

TYPES: Final = ("cds", "lds", "eds", "rds", "ecds", "sds")
COLUMNS: Final = ("name", "cluster", *TYPES, "istiod", "version")

Status = Mapping[str, Any]


@located
def proxy_status(
    proxy: Annotated[
        str | None,
        typer.Argument(
            metavar="[PROXY]", help="Only this one: POD[.NAMESPACE], or its beginning.", autocompletion=complete_proxy
        ),
    ] = None,
    output: Annotated[TableFormat, typer.Option("-o", "--output", help="How to print it.")] = TableFormat.table,
    *,
    where: Where,
) -> None:
    """Show which proxies are connected and whether each has accepted what it is served, by all replicas.

    SYNCED: accepted everything. STALE: not all yet. ERROR: an Envoy refused something that it should have, and it has
    the last good version instead; what and why is said below the table, and of which objects by /debug/nackz.
    LACKING: it needs a credential that no Secret holds, see /debug/credentialz. NOT SENT: there is nothing of this
    type for it. IGNORED: it did not ask for any.

    \b
    Examples:
      dragoman proxy-status
      dragoman proxy-status reviews-v1-abc.shop -o json
      dragoman proxy-status --context production -n shop
    \b
    Exit codes: 0 done, 1 no control plane or no such proxy, 2 wrong usage.
    """
    asyncio.run(_run(proxy, output, where))


async def _run(proxy: str | None, output: TableFormat, where: Where) -> None:
    async with replicas(where) as found:
        statuses = merged(await found.ask("/debug/syncz"))
    if proxy is not None:
        name = named(proxy, found.namespace, {status["proxy"] for status in statuses})
        statuses = [status for status in statuses if status["proxy"] == name]
    elif where.namespace:
        statuses = [status for status in statuses if status["proxy"].endswith(f".{where.namespace}")]
    if output is not TableFormat.table:
        write(statuses, output)
        return
    write_table(COLUMNS, [row(status) for status in statuses])
    for line in complaints(statuses):
        typer.echo(line)


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

"""`dragoman version`."""

from __future__ import annotations

import asyncio
from collections import Counter
from importlib.metadata import version as installed
from typing import Annotated, Any

import typer

from dragoman.cli.debug_client import NoAnswerError
from dragoman.cli.inspect.replicas import Replica, reached
from dragoman.cli.inspect.where import Where, located
from dragoman.cli.output import TableFormat, write
from dragoman.cli.problems import tell
from dragoman.cli.progress import progress


@located
def version(
    remote: Annotated[
        bool, typer.Option("--remote/--no-remote", help="Ask the control plane, too, and which proxies it has.")
    ] = True,
    output: Annotated[TableFormat, typer.Option("-o", "--output", help="How to print it.")] = TableFormat.table,
    *,
    where: Where,
) -> None:
    """Print the version of this program and of the Envoy API it speaks, of the control plane, and of its proxies.

    Where there is no control plane that is said, and is no error.

    \b
    Examples:
      dragoman version
      dragoman version --no-remote -o json
    \b
    Exit codes: 0 done, 2 wrong usage.
    """
    found: dict[str, Any] = {"dragoman": installed("dragoman"), "envoyApi": installed("envoy-data-plane")}
    if remote:
        try:
            found |= asyncio.run(_remote(where))
        except NoAnswerError as error:
            tell(f"no control plane: {error}")
    if output is not TableFormat.table:
        write(found, output)
        return
    typer.echo(f"dragoman {found['dragoman']} (Envoy API: envoy-data-plane {found['envoyApi']})")
    for each in found.get("controlPlane", ()):
        typer.echo(f"control plane {each['version']}: {each['replica']}")
    for each in found.get("dataPlane", ()):
        typer.echo(f"data plane {each['version']}: {each['proxies']} prox{'y' if each['proxies'] == 1 else 'ies'}")


async def _remote(where: Where) -> dict[str, Any]:
    """The versions of all replicas and of their proxies. Raises `NoAnswerError`."""
    async with reached(where) as found:
        with progress("asking the control plane"):
            versions = await asyncio.gather(*(replica.fetch("/version") for replica in found.all))
            proxies = await asyncio.gather(*map(_proxies, found.all))
    return {
        "controlPlane": [
            {"replica": replica.name, "version": answer["dragoman"]}
            for replica, answer in zip(found.all, versions, strict=True)
        ],
        "dataPlane": [
            {"version": name, "proxies": count} for name, count in sorted(sum(proxies, Counter[str]()).items())
        ],
    }


async def _proxies(replica: Replica) -> Counter[str]:
    """How many proxies of each version are connected; none where the debug pages are not for us."""
    try:
        statuses = await replica.fetch("/debug/syncz")
    except NoAnswerError as error:
        tell(f"warning: its proxies are not counted: {error}")
        return Counter()
    return Counter(str(status.get("proxy_version") or "unknown") for status in statuses)

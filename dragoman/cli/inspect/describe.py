"""`dragoman describe`: what the mesh's objects mean for one pod or one service."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from typing import Annotated, Any, Final

import typer
from typer.core import TyperGroup

from dragoman.cli.inspect.completion import complete_proxy, complete_service
from dragoman.cli.inspect.description_text import pod_lines, pooled, service_lines
from dragoman.cli.inspect.replicas import replicas
from dragoman.cli.inspect.where import Where, located
from dragoman.cli.output import TableFormat, write

_HELP: Final = """Describe a pod or a service: what holds for it, which objects say so, and what is wrong.

\b
Examples:
  dragoman describe pod reviews-v1-abc.shop
  dragoman describe service reviews -n shop
\b
Exit codes: 0 done, 1 no control plane, or nothing of that name, 2 wrong usage.
"""

_ALIASES: Final = {"po": "pod", "pods": "pod", "svc": "service", "services": "service"}


class _Kinds(TyperGroup):
    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        return super().get_command(ctx, _ALIASES.get(cmd_name, cmd_name))


app = typer.Typer(
    name="describe", cls=_Kinds, help=_HELP, no_args_is_help=True, add_completion=False, rich_markup_mode=None
)

Output = Annotated[TableFormat, typer.Option("-o", "--output", help="How to print it.")]


@app.command()
@located
def pod(
    name: Annotated[
        str, typer.Argument(help="POD[.NAMESPACE], or its beginning if only one fits.", autocompletion=complete_proxy)
    ],
    output: Output = TableFormat.table,
    *,
    where: Where,
) -> None:
    """Describe a pod: its proxy, ports, mutual TLS, policies, and the services that select it.

    \b
    Example:
      dragoman describe pod reviews-v1-abc.shop
    \b
    Exit codes: 0 done, 1 no control plane, or no such pod, 2 wrong usage.
    """
    asyncio.run(_describe({"pod": name.removeprefix("pod/")}, pod_lines, output, where))


@app.command()
@located
def service(
    name: Annotated[
        str,
        typer.Argument(help="SERVICE[.NAMESPACE], or its beginning if only one fits.", autocompletion=complete_service),
    ],
    seen_from: Annotated[
        str | None,
        typer.Option("--from", metavar="NAMESPACE", help="Whose clients.", show_default="those of its own namespace"),
    ] = None,
    output: Output = TableFormat.table,
    *,
    where: Where,
) -> None:
    """Describe a service: endpoints, routes, traffic policy, mutual TLS, and the gateways that lead to it.

    \b
    Example:
      dragoman describe service reviews.shop --from web
    \b
    Exit codes: 0 done, 1 no control plane, or no such service, 2 wrong usage.
    """
    asked = {"service": name.removeprefix("service/").removeprefix("svc/")}
    if seen_from is not None:
        asked["from"] = seen_from
    asyncio.run(_describe(asked, service_lines, output, where))


async def _describe(
    asked: dict[str, str],
    lines: Callable[[Mapping[str, Any]], Iterable[str]],
    output: TableFormat,
    where: Where,
) -> None:
    async with replicas(where) as found:
        answers = await found.ask("/debug/describe", namespace=found.namespace, **asked)
    # All know the same objects; the one that the proxy is connected to knows of it.
    answer = next((each for each in answers if "proxy" in each.document), answers[0])
    described = pooled(answer.document, (each.document for each in answers))
    if "proxy" in described:
        described["istiod"] = answer.replica.name
    if output is not TableFormat.table:
        write(described, output)
        return
    for line in lines(described):
        typer.echo(line)

"""`dragoman dashboard`: pages of the control plane, of an Envoy or of a neighbour, in a browser of this machine."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import webbrowser
from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Final, NamedTuple

import typer
from typer.core import TyperGroup

from dragoman.cli.addresses import host_port
from dragoman.cli.inspect.completion import complete_proxy
from dragoman.cli.inspect.config_sources import ADMIN_PORT, admin_of
from dragoman.cli.inspect.replicas import DEBUG_PORT, control_plane_pods
from dragoman.cli.inspect.where import DEBUG_ADDRESS, Where
from dragoman.cli.output import fail
from dragoman.cli.problems import tell
from dragoman.cli.progress import progress
from dragoman.cli.shared_options import shares

_HELP: Final = """Open a page of the mesh in a browser: a port of a pod becomes one of this machine until Ctrl-C.

\b
Examples:
  dragoman dashboard control-plane
  dragoman dashboard envoy reviews-v1-abc.shop --no-browser
  dragoman dashboard grafana
\b
Exit codes: 0 ended by a signal, 1 there is no such page, 2 wrong usage.
"""


class Neighbour(NamedTuple):
    """Where Istio's add-ons of a name are: the labels of their pods, port and path."""

    labels: str
    port: int
    path: str = "/"


NEIGHBOURS: Final[Mapping[str, Neighbour]] = {
    "prometheus": Neighbour("app.kubernetes.io/name=prometheus", 9090),
    "grafana": Neighbour("app.kubernetes.io/name=grafana", 3000),
    "kiali": Neighbour("app=kiali", 20001, "/kiali"),
    "jaeger": Neighbour("app=jaeger", 16686),
    "zipkin": Neighbour("app=zipkin", 9411),
}

_ALIASES: Final = {"istiod": "control-plane", "istiod-debug": "control-plane", "controlz": "control-plane"}


class _Pages(TyperGroup):
    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        return super().get_command(ctx, _ALIASES.get(cmd_name, cmd_name))


app = typer.Typer(
    name="dashboard", cls=_Pages, help=_HELP, no_args_is_help=True, add_completion=False, rich_markup_mode=None
)


@dataclass(frozen=True, slots=True)
class Opening:
    """How a page is opened. Each field is an option of the command."""

    port: Annotated[
        int, typer.Option("-p", "--port", help="The port of this machine; 0 for a free one.", min=0, max=65535)
    ] = 0
    browser: Annotated[bool, typer.Option("--browser/--no-browser", help="Open a browser, too.")] = True


_opened: Final = shares(opening=Opening, where=Where)


@app.command("control-plane")
@_opened
def control_plane(*, opening: Opening, where: Where) -> None:
    """Open the debug pages of the control plane, those of its first replica.

    \b
    Example:
      dragoman dashboard control-plane
    \b
    Exit codes: 0 ended by a signal, 1 there is no control plane, 2 wrong usage.
    """
    if where.address is not None or not where.cluster_is_configured:
        # It is reached as it is.
        _show(f"http://{where.address or DEBUG_ADDRESS}/debug", opening)
        return
    asyncio.run(_of_pod(None, DEBUG_PORT, "/debug", opening, where))


@app.command()
@_opened
def envoy(
    proxy: Annotated[str, typer.Argument(help="POD[.NAMESPACE].", autocompletion=complete_proxy)] = "",
    admin_address: Annotated[
        str | None, typer.Option("--admin-address", metavar="HOST:PORT", help="Of an Envoy outside of clusters.")
    ] = None,
    admin_port: Annotated[
        int, typer.Option("--proxy-admin-port", metavar="PORT", help="Port of Envoy's admin interface in pods.")
    ] = ADMIN_PORT,
    *,
    opening: Opening,
    where: Where,
) -> None:
    """Open the admin pages of a proxy's Envoy.

    \b
    Example:
      dragoman dashboard envoy reviews-v1-abc.shop
    \b
    Exit codes: 0 ended by a signal, 1 there is no such proxy, 2 wrong usage.
    """
    if admin_address is not None:
        _show(f"http://{host_port(admin_address)}/", opening)
        return
    if not proxy:
        raise typer.BadParameter("say which proxy: POD[.NAMESPACE], or --admin-address")
    asyncio.run(_of_envoy(proxy, admin_port, opening, where))


_NEIGHBOUR_HELP: Final = """Open {title}, where it runs in the control plane's namespace.

\b
Example:
  dragoman dashboard {name}
\b
Exit codes: 0 ended by a signal, 1 it does not run there, 2 wrong usage.
"""


def _neighbour(name: str) -> None:
    @app.command(name, help=_NEIGHBOUR_HELP.format(title=name.capitalize(), name=name))
    @_opened
    def command(*, opening: Opening, where: Where) -> None:
        if where.address is not None or not where.cluster_is_configured:
            raise fail(f"only in a cluster is {name} found: say --kubeconfig or --context")
        found = NEIGHBOURS[name]
        asyncio.run(_of_pod(found.labels, found.port, found.path, opening, where))


for _name in NEIGHBOURS:
    _neighbour(_name)


async def _of_envoy(proxy: str, port: int, opening: Opening, where: Where) -> None:
    async with admin_of(proxy, port, where, local_port=opening.port) as (_, address):
        await _show_until_ended(f"http://{address}/", opening)


async def _of_pod(labels: str | None, port: int, path: str, opening: Opening, where: Where) -> None:
    """A port of the first pod with these labels in the control plane's namespace, or of the control plane's own."""
    async with _forwarded(labels, port, opening, where) as local:
        await _show_until_ended(f"http://127.0.0.1:{local}{path}", opening)


@contextlib.asynccontextmanager
async def _forwarded(labels: str | None, port: int, opening: Opening, where: Where) -> AsyncGenerator[int, None]:
    # Here, as the import costs half a second.
    from dragoman.kube.cluster import Cluster
    from dragoman.kube.connection import ConnectionConfigError
    from dragoman.kube.errors import ApiError
    from dragoman.kube.port_forward import forwarded
    from dragoman.kube.resources import PODS

    try:
        async with await Cluster.connect(where.kubeconfig, where.context) as cluster:
            with progress(f"looking for {labels or 'the control plane'} at {cluster.server}"):
                if labels is None:
                    pods = await control_plane_pods(cluster, where)
                else:
                    pods = await cluster.list(PODS, where.istio_namespace, label_selector=labels)
            if not pods:
                raise fail(
                    f"no pod {labels or 'of a control plane'} runs in namespace {where.istio_namespace} of "
                    f"{cluster.server} (--istio-namespace, --context)"
                )
            name = pods[0]["metadata"]["name"]
            async with forwarded(cluster, where.istio_namespace, name, port, local_port=opening.port) as forward:
                yield forward.port
    except (ApiError, ConnectionConfigError) as error:
        raise fail(str(error)) from None
    except OSError as error:
        raise fail(f"cannot listen on port {opening.port} (--port): {error.strerror or error}") from None


async def _show_until_ended(url: str, opening: Opening) -> None:
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ended.set)
    _show(url, opening)
    tell("until Ctrl-C")
    await ended.wait()


def _show(url: str, opening: Opening) -> None:
    """Print an address, and open a browser where there is a screen for it: others would take over the terminal."""
    print(url, flush=True)  # noqa: T201 - whoever reads it waits for it
    screen = sys.platform == "darwin" or "DISPLAY" in os.environ or "WAYLAND_DISPLAY" in os.environ
    if opening.browser and screen and not webbrowser.open(url):
        tell("no browser could be opened")

"""`dragoman serve`: the control plane."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, NamedTuple

import typer

from ca.authority import Authority, AuthorityError
from ca.root_store import load_or_create
from dragoman.cli.addresses import HostPort, host_port, host_port_or_socket
from dragoman.cli.logs import LogFormat, LogLevel, configure
from dragoman.cli.output import fail
from dragoman.cli.problems import summary, tell, tell_reports
from dragoman.cli.rejections import tell_failure, tell_nack
from dragoman.cli.sockets import private_socket
from dragoman.cli.state import default_state_folder
from dragoman.debug.server import DebugServer
from dragoman.runtime import ControlPlane
from dragoman.sources.files import FileSource

TRUST_DOMAIN = "cluster.local"
"""Whom a new root names as its organisation. What certificates say comes from MeshConfig.trustDomain."""

_INSECURE = (
    "warning: {address} is plaintext and not only for this machine: whoever reaches it can read the configuration of "
    "every proxy. No private key is given over it, so proxies that use it cannot speak mutual TLS."
)


class _Settings(NamedTuple):
    config: Path
    xds: tuple[HostPort | Path, ...]
    http: HostPort
    token: str | None


def serve(
    config: Annotated[
        Path, typer.Option("--config", help="Folder of YAML to serve and to follow.", exists=True, file_okay=False)
    ],
    xds_address: Annotated[
        str, typer.Option("--xds-address", metavar="HOST:PORT", help="Where proxies connect; also unix:///PATH.")
    ] = "127.0.0.1:15010",
    http_address: Annotated[
        str, typer.Option("--http-address", metavar="HOST:PORT", help="Readiness, metrics and debug pages.")
    ] = "127.0.0.1:15014",
    xds_socket: Annotated[
        Path | None,
        typer.Option("--xds-socket", metavar="PATH", help="Also listen on this UNIX socket (mode 0600)."),
    ] = None,
    insecure_xds: Annotated[
        bool,
        typer.Option("--insecure-xds", help="Allow an --xds-address that other machines reach: plaintext, no keys."),
    ] = False,
    debug_token_file: Annotated[
        Path | None,
        typer.Option(
            "--debug-token-file",
            help="File with the bearer token that opens the debug pages to other machines.",
            exists=True,
            dir_okay=False,
        ),
    ] = None,
    state_dir: Annotated[
        Path | None,
        typer.Option(
            "--state-dir",
            help="Where the CA's root is kept.",
            show_default="$XDG_STATE_HOME/dragoman",
            file_okay=False,
        ),
    ] = None,
    log_format: Annotated[LogFormat, typer.Option("--log-format", help="How to log.")] = LogFormat.json,
    log_level: Annotated[LogLevel, typer.Option("--log-level", help="The least that is logged.")] = LogLevel.info,
) -> None:
    """Serve the mesh that a folder of Kubernetes and Istio YAML describes, and follow its changes.

    Logs go to standard output; problems of objects and rejections by proxies to standard error, with the file and line
    to look at. The xDS port opens after the first full load. SIGTERM and SIGINT end it gracefully.

    \b
    Examples:
      dragoman serve --config mesh/
      dragoman serve --config mesh/ --xds-address 127.0.0.1:0 --xds-socket /run/user/1000/xds.sock
    \b
    Exit codes: 0 ended by a signal, 1 it could not start or had to stop, 2 wrong usage.
    """
    xds = [host_port_or_socket(xds_address)]
    if xds_socket is not None:
        xds.append(xds_socket.absolute())
    for address in xds:
        if isinstance(address, HostPort) and not address.local:
            if not insecure_xds:
                raise typer.BadParameter(
                    f"{address} is plaintext and not only for this machine: whoever reaches it could read the "
                    "configuration of every proxy. Say --insecure-xds if that is meant."
                )
            tell(_INSECURE.format(address=address))
    token = debug_token_file.read_text().strip() if debug_token_file is not None else None
    if debug_token_file is not None and not token:
        raise typer.BadParameter(f"{debug_token_file} is empty")
    configure(log_format, log_level)
    try:
        authority = load_or_create((state_dir or default_state_folder()) / "ca", TRUST_DOMAIN, now=datetime.now(UTC))
    except (AuthorityError, OSError) as error:
        raise fail(f"no certificate authority: {error}") from None
    asyncio.run(_serve(authority, _Settings(config, tuple(xds), host_port(http_address), token)))


async def _serve(authority: Authority, settings: _Settings) -> None:
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    plane = ControlPlane(
        FileSource(settings.config),
        authority,
        on_batch=lambda batch: tell_reports(batch.reports),
        on_nack=tell_nack,
        on_failure=tell_failure,
    )
    debug = DebugServer(plane, token=settings.token)
    try:
        port = await debug.start(settings.http.host, settings.http.port)
    except OSError as error:
        raise fail(f"cannot listen on {settings.http} (--http-address): {error.strerror or error}") from None
    async with contextlib.AsyncExitStack() as stack:
        stack.push_async_callback(debug.stop)
        tell(f"debug pages at http://{settings.http._replace(port=port)}/")
        try:
            batch = await plane.load()
        except OSError as error:
            raise fail(f"cannot read {settings.config}: {error.strerror or error}") from None
        tell(f"loaded {len(plane.world.objects)} objects from {settings.config}: {summary(batch.reports)}")
        stack.push_async_callback(plane.server.stop)
        bound = [_listen(plane, address, stack) for address in settings.xds]
        await plane.start()
        tell(f"serving proxies at {', '.join(bound)}")
        await _until(stopped, plane)
        tell("stopping")


async def _until(stopped: asyncio.Event, plane: ControlPlane) -> None:
    """Run the control plane until it is told to stop; raises what went wrong if it stops by itself."""
    running = asyncio.create_task(plane.run())
    stopping = asyncio.create_task(stopped.wait())
    await asyncio.wait((running, stopping), return_when=asyncio.FIRST_COMPLETED)
    if running.done():
        running.result()
    for task in (running, stopping):
        task.cancel()
    await asyncio.gather(running, stopping, return_exceptions=True)


def _listen(plane: ControlPlane, address: HostPort | Path, stack: contextlib.AsyncExitStack) -> str:
    try:
        if isinstance(address, HostPort):
            return str(address._replace(port=plane.server.listen(str(address))))
        with private_socket(address) as name:
            plane.server.listen(name)
            stack.callback(address.unlink, missing_ok=True)
            return f"unix://{address}"
    except RuntimeError:
        # gRPC has no more to say than that it could not.
        raise fail(f"cannot listen on {address}: it is taken, or no address of this machine") from None
    except OSError as error:
        raise fail(f"cannot listen on {address}: {error.strerror or error}") from None

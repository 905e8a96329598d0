"""`dragoman xds watch`: pretend to be a proxy, and see what it gets as it changes."""

from __future__ import annotations

import asyncio
import contextlib
import fnmatch
import random
import re
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Final

import grpc
import typer
from envoy_data_plane.envoy.config.core.v3 import Node

from dragoman.cli.addresses import host_port
from dragoman.cli.debug_client import NoAnswerError, fetch
from dragoman.cli.output import TableFormat, fail
from dragoman.cli.problems import tell
from dragoman.cli.state import default_state_folder, state_dir_option
from dragoman.cli.xds_channel import Target
from dragoman.cli.xds_printer import Printer
from dragoman.codec import struct
from dragoman.mesh.proxy_id import ProxyId, ProxyIdError, ProxyType
from dragoman.runtime.observer import DISCOVERY_SERVICES
from xds.connection import ONLOOKER
from xds.watcher import TYPES, Watcher

_FIRST_PAUSE: Final = 0.5
_LONGEST_PAUSE: Final = 30.0
"""Seconds between attempts to connect, as Envoy's (Envoy: grpc_stream.h)."""

_QUIET: Final = 0.3
"""Seconds without a response after which a client is in sync: everything of a type may come in several responses, and
nothing says which of them is the last."""

_FINAL: Final = frozenset(
    (
        grpc.StatusCode.INVALID_ARGUMENT,
        grpc.StatusCode.UNAUTHENTICATED,
        grpc.StatusCode.PERMISSION_DENIED,
        grpc.StatusCode.UNIMPLEMENTED,
        grpc.StatusCode.NOT_FOUND,
        grpc.StatusCode.FAILED_PRECONDITION,
    )
)
"""Refusals that another attempt would not change."""

_SHORT_NAMES: Final = {short: type_url for type_url, short in DISCOVERY_SERVICES.items()}


def watch(
    node: Annotated[
        str, typer.Option("--node", metavar="ID", help="Whom to pretend to be: a node id, or POD.NAMESPACE.")
    ],
    server: Annotated[
        str | None,
        typer.Option(
            "--server",
            metavar="HOST:PORT",
            help="The xDS server, in plaintext unless there are roots or a state directory; also unix:///PATH.",
            show_default="127.0.0.1:15012, by the state directory",
        ),
    ] = None,
    type_: Annotated[
        str | None,
        typer.Option("--type", metavar="LIST", help="cds,eds,lds,rds,sds,ecds.", show_default="all, as an Envoy"),
    ] = None,
    name: Annotated[
        str | None, typer.Option("--name", metavar="PATTERN", help="Print only resources whose name matches.")
    ] = None,
    sotw: Annotated[bool, typer.Option("--sotw", help="State-of-the-world instead of incremental.")] = False,
    nack: Annotated[
        str | None, typer.Option("--nack", metavar="PATTERN", help="Reject resources whose name matches.")
    ] = None,
    nack_message: Annotated[
        str, typer.Option("--nack-message", metavar="TEXT", help="Why, in the words of the rejection.")
    ] = "rejected on purpose by dragoman xds watch",
    once: Annotated[bool, typer.Option("--once", help="End when all that was asked for is answered.")] = False,
    timeout: Annotated[
        float | None, typer.Option("--timeout", metavar="SECONDS", help="End after this time at the latest.", min=0)
    ] = None,
    diff: Annotated[bool, typer.Option("--diff", help="Show what changed within a resource.")] = False,
    ca_file: Annotated[
        Path | None, typer.Option("--ca-file", help="Roots (PEM) to check the server by: TLS.", exists=True)
    ] = None,
    server_name: Annotated[
        str | None, typer.Option("--server-name", help="Name in the server's certificate.", show_default="its host")
    ] = None,
    cert: Annotated[Path | None, typer.Option("--cert", help="Client certificate (PEM).", exists=True)] = None,
    key: Annotated[Path | None, typer.Option("--key", help="Its key (PEM).", exists=True)] = None,
    token_file: Annotated[
        Path | None, typer.Option("--token-file", help="File with a bearer token.", exists=True, dir_okay=False)
    ] = None,
    state_dir: Annotated[
        Path | None,
        state_dir_option("That of a control plane on this machine: TLS by its roots, and a token as the proxy has."),
    ] = None,
    service_account: Annotated[
        str, typer.Option("--service-account", help="The service account that the pod runs as, for that token.")
    ] = "default",
    http_address: Annotated[
        str,
        typer.Option("--http-address", metavar="HOST:PORT", help="Debug pages, which know a POD.NAMESPACE's node id."),
    ] = "127.0.0.1:15014",
    output: Annotated[TableFormat, typer.Option("-o", "--output", help="How to print it.")] = TableFormat.table,
) -> None:
    """Connect as a proxy would, and print what it gets: what is added (+), changed (~), removed (-), asked for in vain
    (?) and rejected (!), with versions, sizes and nonces.

    It asks as Envoy does: for all clusters and listeners, and for what they refer to. A type whose referrers are not
    asked for is asked for as a whole. PATTERN is a glob, or a regular expression if it begins with ~. Secrets are
    names only, whatever the output. -o json prints one line for each event.

    What it accepts counts for nothing: the control plane does not take it for a proof that an Envoy would. With --nack
    it counts as an Envoy does: what it rejects is held back from all proxies that get the same, unless one of them has
    accepted it.

    \b
    Examples:
      dragoman xds watch --node web-1.shop
      dragoman xds watch --node web-1.shop --type cds,eds --name '*reviews*' --diff
      dragoman xds watch --node 'router~10.0.0.9~gateway-1.shop~shop.svc.cluster.local' --once -o json
      dragoman xds watch --node web-1.shop --nack 'outbound|9080|v2|*'
    \b
    Exit codes: 0 in sync (--once), or ended by a signal or --timeout, 1 refused, or not in sync in time (--once),
    2 wrong usage.
    """
    rejects = _matcher(nack) if nack is not None else None
    shown = _matcher(name) if name is not None else None
    types = _types(type_)
    proxy = _proxy(node, http_address)
    if server is None or state_dir is not None:
        if any(given is not None for given in (ca_file, cert, key, token_file, server_name)):
            raise typer.BadParameter(
                "with --ca-file, --cert, --key, --server-name or --token-file say --server, and no --state-dir"
            )
        target = Target.of_this_machine(
            server or "127.0.0.1:15012", state_dir or default_state_folder(), proxy, service_account
        )
    else:
        target = Target.of(server, ca_file=ca_file, cert=cert, key=key, token_file=token_file, server_name=server_name)
    watcher = Watcher(
        Node(
            id=str(proxy),
            user_agent_name="dragoman-xds-watch",
            metadata=struct({ONLOOKER: rejects is None}),
        ),
        types=types,
        state_of_the_world=sotw,
        rejects=(lambda _, found: rejects(found)) if rejects is not None else (lambda _type, _name: False),
        message=nack_message,
    )
    printer = Printer(output, shown, diff=diff)
    asyncio.run(_run(_Watch(target, watcher, printer, once=once), once=once, seconds=timeout))


def _types(listed: str | None) -> tuple[str, ...]:
    if listed is None:
        return TYPES
    names = [name.strip().lower() for name in listed.split(",") if name.strip()]
    unknown = [name for name in names if name not in _SHORT_NAMES]
    if unknown or not names:
        raise typer.BadParameter(f"{', '.join(unknown) or listed!r}: --type takes {', '.join(_SHORT_NAMES)}")
    return tuple(_SHORT_NAMES[name] for name in names)


def _matcher(pattern: str) -> Callable[[str], bool]:
    try:
        found = re.compile(pattern[1:] if pattern.startswith("~") else fnmatch.translate(pattern))
    except re.error as error:
        raise typer.BadParameter(f"{pattern!r} is no regular expression: {error}") from None
    return lambda name: found.search(name) is not None


def _proxy(text: str, http_address: str) -> ProxyId:
    """The proxy of a node id, the connected one of this name, or a sidecar of that name that need not be there."""
    try:
        if "~" in text:
            return ProxyId.parse(text)
        pod, dot, namespace = text.rpartition(".")
        if not (pod and dot and namespace):
            raise typer.BadParameter(f"{text!r} is neither a node id nor POD.NAMESPACE")
        kind = ProxyType.SIDECAR
        with contextlib.suppress(NoAnswerError):
            statuses = fetch(host_port(http_address), "/debug/syncz")
            kind = next((ProxyType(each["proxy_type"]) for each in statuses if each["proxy"] == text), kind)
        return ProxyId.parse(f"{kind}~0.0.0.0~{text}~{namespace}.svc.cluster.local")
    except ProxyIdError as error:
        raise typer.BadParameter(str(error)) from None


async def _run(watch: _Watch, *, once: bool, seconds: float | None) -> None:
    loop, watching = asyncio.get_running_loop(), asyncio.create_task(watch.run())
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    stopping = asyncio.create_task(stopped.wait())
    done, _ = await asyncio.wait((watching, stopping), timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    for task in (watching, stopping):
        task.cancel()
    await asyncio.gather(watching, stopping, return_exceptions=True)
    if watching in done:
        try:
            watching.result()
        except _RefusedError as error:
            raise fail(str(error)) from None
    elif once and not done:
        missing = watch.missing()
        raise fail(f"not in sync within {seconds:g} s{': ' + missing if missing else ''}")


class _RefusedError(Exception):
    """The server will not have this client; the text is for people."""


class _Watch:
    """One stream after another."""

    def __init__(self, target: Target, watcher: Watcher, printer: Printer, *, once: bool) -> None:
        self._target = target
        self._watcher = watcher
        self._printer = printer
        self._once = once
        self._told = False

    def missing(self) -> str:
        """What is not answered, for people."""
        found = [f"{DISCOVERY_SERVICES[type_url].upper()} {name}" for type_url, name in self._watcher.unanswered()]
        return f"no answer to {', '.join(found[:5])}" + (" and more" if len(found) > 5 else "") if found else ""

    async def run(self) -> None:
        """Watch until in sync, if that is all that was asked for; else until cancelled."""
        pause = _FIRST_PAUSE
        while True:
            began = time.monotonic()
            try:
                if await self._stream():
                    return
                code, details = grpc.StatusCode.OK, "the server ended the stream"
            except grpc.aio.AioRpcError as error:
                code, details = error.code(), error.details() or ""
            self._told = False
            if code in _FINAL:
                raise _RefusedError(f"{self._target} refused: {code.name}: {details}")
            if time.monotonic() - began > _LONGEST_PAUSE:
                pause = _FIRST_PAUSE
            seconds = random.uniform(0.1, 1) * pause  # noqa: S311 - jitter
            tell(f"disconnected from {self._target}: {code.name}: {details}; again in {seconds:.1f} s")
            self._printer.event("disconnected", code=code.name, details=details)
            await asyncio.sleep(seconds)
            pause = min(2 * pause, _LONGEST_PAUSE)

    async def _stream(self) -> bool:
        """Serve one stream to its end; returns whether that was all. Raises `AioRpcError` if it ends with an error."""
        async with self._target.channel() as channel:
            open_channel: Any = channel
            stream = open_channel.stream_stream(self._watcher.method)(metadata=self._target.metadata)
            # Headers come with the first response only: until then an open transport is all there is to tell.
            await stream.wait_for_connection()
            tell(f"connected to {self._target}")
            self._printer.event("connected", server=str(self._target))
            requests = self._watcher.connect()
            while True:
                for request in requests:
                    # When the stream has ended meanwhile, reading says how.
                    with contextlib.suppress(asyncio.InvalidStateError):
                        await stream.write(request)
                reading = asyncio.ensure_future(stream.read())
                if await self._settles(reading):
                    return True
                data = await reading
                if not isinstance(data, bytes):
                    return False
                update, requests = self._watcher.receive(data)
                self._printer.update(update)

    async def _settles(self, reading: asyncio.Future[Any]) -> bool:
        """Say so when the client has come to be in sync; returns whether that was all."""
        if self._told or not self._watcher.in_sync:
            return False
        # A reader that is cancelled ends the stream: so it reads on, and is looked at after a while.
        done, _ = await asyncio.wait((reading,), timeout=_QUIET)
        if done:
            return False
        self._told = True
        tell("in sync")
        self._printer.event("in-sync")
        if self._once:
            reading.cancel()
        return self._once

"""`dragoman demo`: a mesh of real Envoys on this machine."""

from __future__ import annotations

import asyncio
import json
import signal
import tempfile
from collections.abc import Coroutine
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from dragoman.cli.logs import LogFormat, LogLevel, configure
from dragoman.cli.output import fail
from dragoman.demo.addresses import NoFreeAddressError
from dragoman.demo.live_view import LiveView
from dragoman.demo.programs import ProgramError
from dragoman.demo.runner import LOG_FILE, Demo
from dragoman.demo.tour import AT_ONCE, Tour, TourError
from dragoman.demo.traffic import Customer, SteadyTraffic
from dragoman.demo.welcome import welcome
from dragoman.sidecar import EnvoyNotFoundError, EnvoyProcessError


class BrokenError(RuntimeError):
    """Something that should run as long as the demo has ended. `str()` has its last words."""


_ERRORS = (BrokenError, NoFreeAddressError, ProgramError, EnvoyNotFoundError, EnvoyProcessError, TourError)
"""What needs no traceback to be understood."""

_COMPLAINTS = 5
"""How many of the control plane's last warnings are told with an error."""


def demo(
    check: Annotated[
        bool, typer.Option("--check", help="Take the tour unattended and judge it: exit code 0 or 1.")
    ] = False,
    rate: Annotated[
        float, typer.Option("--rate", min=1, max=500, help="Requests a second that customers make at the gateway.")
    ] = 60,
) -> None:
    """Run a small shop behind a gateway on this machine: every service with an Envoy of its own, mutual TLS between.

    Needs no root, no container and no cluster. Says where the YAML is that may be edited, and shows the traffic.
    Ctrl-C ends every process and leaves nothing behind.

    \b
    Exit codes: 0 ended by a signal, or --check went well; 1 it could not go on, or --check failed; 2 wrong usage.
    """
    with tempfile.TemporaryDirectory(prefix="dragoman-demo-") as folder, (Path(folder) / LOG_FILE).open("w") as log:
        configure(LogFormat.json, LogLevel.info, log)
        try:
            finished = asyncio.run(_until_signalled(_demo(Path(folder), check, rate)))
        except _ERRORS as error:
            raise fail("\n".join([str(error), *_complaints(log.name)])) from None
    if check and not finished:
        raise fail("interrupted")


def _complaints(log: str) -> list[str]:
    """The end of what the control plane complained of: its log goes with the demo."""
    with open(log) as lines:
        return [line.rstrip() for line in lines if json.loads(line)["level"] in ("warning", "error")][-_COMPLAINTS:]


async def _until_signalled(work: Coroutine[None, None, None]) -> bool:
    """Run to the end or to SIGINT, SIGTERM or SIGHUP, whichever comes first; whether it was the end."""
    task = asyncio.create_task(work)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        # Again while it stops: cancelling twice would cut short what ends the processes.
        loop.add_signal_handler(number, lambda: task.cancelling() or task.cancel())
    await asyncio.wait((task,))
    if task.cancelled():
        return False
    task.result()
    return True


async def _demo(state: Path, check: bool, rate: float) -> None:
    async with Demo(state) as running, Customer(running.gateway_url) as customer:
        if check:
            steady = SteadyTraffic(customer, "/", rate, at_once=AT_ONCE)
            main = Tour(running, customer, steady, typer.echo).run()
        else:
            steady = SteadyTraffic(customer, "/", rate)
            typer.echo(welcome(running))
            main = LiveView(running, steady, Console()).run()
        await _first(main, steady.run(), _breakdown(running))


async def _breakdown(running: Demo) -> None:
    raise BrokenError(await running.broken())


async def _first(*works: Coroutine[None, None, None]) -> None:
    """Run all until the first ends, and end the others; raises what it raised."""
    tasks = [asyncio.create_task(work) for work in works]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

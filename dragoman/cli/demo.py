"""`dragoman demo`: a mesh of real Envoys on this machine."""

from __future__ import annotations

import asyncio
from typing import Annotated

import structlog
import typer

from dragoman.demo.runner import Demo
from dragoman.demo.tour import Tour, TourError
from dragoman.demo.traffic import Customer, SteadyTraffic


def demo(
    check: Annotated[bool, typer.Option("--check", help="Take the tour unattended: exit code 0 or 1.")] = False,
    rate: Annotated[float, typer.Option("--rate", min=1, max=500, help="Requests a second through the gateway.")] = 60,
) -> None:
    """Run a small shop behind a gateway."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(40))
    raise SystemExit(asyncio.run(_demo(check, rate)))


async def _demo(check: bool, rate: float) -> int:
    stopped = asyncio.Event()
    async with Demo() as running, Customer(running.gateway_url) as customer:
        steady = SteadyTraffic(customer, "/", rate)
        traffic = asyncio.create_task(steady.run())
        try:
            await Tour(running, customer, steady, typer.echo).run()
        except TourError as error:
            typer.echo(f"failed: {error}", err=True)
            return 1
        finally:
            traffic.cancel()
    return 0

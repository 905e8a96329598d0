"""Durations on the command line, as in Istio's YAML."""

from __future__ import annotations

from datetime import timedelta

import typer

from crds.duration import Duration


def duration(text: str) -> timedelta:
    """Parse `90s`, `10m`, `24h`; a wrong or negative one is a usage error (exit code 2)."""
    try:
        span = Duration.parse(text)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None
    if span < timedelta():
        raise typer.BadParameter(f"{text!r} is negative")
    return timedelta(microseconds=span // timedelta(microseconds=1))

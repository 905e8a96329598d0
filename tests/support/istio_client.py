"""Istio's own client of the certificate service, for the tests that are served to it."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import NamedTuple

import pytest

from e2e.istio_client import program


def required_istio_client() -> Path:
    """The program. Skips the test where there is none, with how to get it; with REQUIRE_REAL_API=1 it fails instead."""
    found = program.find()
    if found is None:
        reason = "no client of Istio's: build it with `make apiserver`, or set ISTIO_CLIENT to it"
        (pytest.fail if os.environ.get("REQUIRE_REAL_API") == "1" else pytest.skip)(reason)
    return found


class Ended(NamedTuple):
    code: int
    told: str
    """Standard error, and the client's own log."""


async def ask(client: Path, *arguments: str | Path) -> Ended:
    """Run it to its end."""
    process = await asyncio.create_subprocess_exec(
        client, *arguments, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    async with asyncio.timeout(30):
        told, _ = await process.communicate()
    assert process.returncode is not None
    return Ended(process.returncode, told.decode())

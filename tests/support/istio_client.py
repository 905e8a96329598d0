"""Istio's own client of the certificate service, for the tests that are served to it."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import NamedTuple


class Ended(NamedTuple):
    code: int
    told: str
    """Standard error, and the client's own log."""


async def ask(client: Path, *arguments: str | Path) -> Ended:
    """Run it to its end."""
    process = await asyncio.create_subprocess_exec(
        client, *arguments, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    async with asyncio.timeout(60):
        told, _ = await process.communicate()
    assert process.returncode is not None
    return Ended(process.returncode, told.decode())

"""Running the machine's own network tools."""

import asyncio
from collections.abc import Mapping
from pathlib import Path


class CommandError(Exception):
    """A tool ended with a status other than zero; the text is its command line and what it said."""


async def run(
    *argv: str, stdin: str = "", environment: Mapping[str, str] | None = None, directory: Path | None = None
) -> str:
    """Standard output of a command, in this process's environment and folder unless given. Raises CommandError."""
    process = await asyncio.create_subprocess_exec(
        *argv,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=environment,
        cwd=directory,
    )
    output, errors = await process.communicate(stdin.encode())
    if process.returncode:
        raise CommandError(f"{' '.join(argv)}: status {process.returncode}: {errors.decode().strip()}\n{stdin}")
    return output.decode()

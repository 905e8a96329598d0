"""Running the machine's own network tools."""

import asyncio


class CommandError(Exception):
    """A tool ended with a status other than zero; the text is its command line and what it said."""


async def run(*argv: str, stdin: str = "") -> str:
    """Standard output of a command. Raises CommandError when it fails."""
    process = await asyncio.create_subprocess_exec(
        *argv, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    output, errors = await process.communicate(stdin.encode())
    if process.returncode:
        raise CommandError(f"{' '.join(argv)}: status {process.returncode}: {errors.decode().strip()}\n{stdin}")
    return output.decode()

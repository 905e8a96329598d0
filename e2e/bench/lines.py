"""Commands on standard input, answers on standard output: JSON, one a line."""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any


async def commands() -> asyncio.StreamReader:
    """Standard input."""
    lines = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    return lines


async def obey(lines: asyncio.StreamReader, target: object) -> None:
    """Call the methods of `target` that the lines name, until there are no more."""
    while line := await lines.readline():
        command = json.loads(line)
        found = getattr(target, command.pop("command"))(**command)
        answer(await found if asyncio.iscoroutine(found) else found)


def answer(value: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(value) + "\n")
    sys.stdout.flush()

"""Running the command: inside this process, as a process of its own, or several in one process."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

from typer.testing import CliRunner, Result

from dragoman.cli.main import app


def run(*arguments: str | Path) -> Result:
    """The result of a command, with its output and exit code."""
    result = CliRunner(env={"COLUMNS": "200"}).invoke(app, [str(argument) for argument in arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


_ATTEMPTS = """
import json, sys
from typer.testing import CliRunner
from dragoman.cli.main import app
for line in sys.stdin:
    result = CliRunner().invoke(app, json.loads(line))
    print(json.dumps([result.exit_code, result.stderr.splitlines()]), flush=True)
"""

Attempt = Callable[..., tuple[int, list[str]]]
"""Runs a command: its exit code, and the lines that it told on standard error."""


@contextmanager
def attempts(state: Path) -> Iterator[Attempt]:
    """A process for commands that end by themselves, as `serve` sets up the whole process that it is in."""
    process = subprocess.Popen(
        [sys.executable, "-c", _ATTEMPTS],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "XDG_STATE_HOME": str(state), "COLUMNS": "200"},
    )

    def attempt(*arguments: str | Path) -> tuple[int, list[str]]:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(json.dumps([str(argument) for argument in arguments]) + "\n")
        process.stdin.flush()
        code, told = json.loads(process.stdout.readline())
        return code, told

    with process:
        yield attempt
        assert process.stdin is not None
        process.stdin.close()


class Serving:
    """`dragoman serve` as a process. `told` is what it has said on standard error, `logged` on standard output."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.told: list[str] = []
        self.logged: list[str] = []
        self._news = asyncio.Condition()
        assert process.stderr is not None
        assert process.stdout is not None
        self._readers = (
            asyncio.create_task(self._read(process.stderr, self.told)),
            asyncio.create_task(self._read(process.stdout, self.logged)),
        )

    async def hear(self, pattern: str, seconds: float = 60) -> re.Match[str]:
        """Wait until a line on standard error matches."""
        async with asyncio.timeout(seconds), self._news:
            while True:
                for line in self.told:
                    if found := re.search(pattern, line):
                        return found
                if all(reader.done() for reader in self._readers):
                    raise AssertionError(f"it ended without {pattern!r}:\n" + "\n".join(self.told))
                await self._news.wait()

    async def http_port(self) -> int:
        return int((await self.hear(r"debug pages at http://127\.0\.0\.1:(\d+)/"))[1])

    async def xds_port(self) -> int:
        return int((await self.hear(r"serving proxies at 127\.0\.0\.1:(\d+)"))[1])

    async def secure_port(self) -> int:
        return int((await self.hear(r"serving proxies at .*127\.0\.0\.1:(\d+) \(TLS\)"))[1])

    async def end(self, number: int = signal.SIGTERM) -> int:
        """Send a signal and return the exit code."""
        self.process.send_signal(number)
        return await self.ended()

    async def ended(self) -> int:
        async with asyncio.timeout(60):
            code = await self.process.wait()
        await asyncio.gather(*self._readers)
        return code

    async def _read(self, stream: asyncio.StreamReader, lines: list[str]) -> None:
        async for line in stream:
            async with self._news:
                lines.append(line.decode(errors="replace").rstrip("\n"))
                self._news.notify_all()
        async with self._news:
            self._news.notify_all()


@asynccontextmanager
async def serving(*arguments: str | Path, state: Path) -> AsyncIterator[Serving]:
    """`dragoman serve` with free ports unless told otherwise, and its state in a folder of the test."""
    command = [str(argument) for argument in arguments]
    for option in ("--xds-address", "--secure-address", "--http-address"):
        if option not in command:
            command += [option, "127.0.0.1:0"]
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", "from dragoman.cli.main import main; main()", "serve", *command),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, "XDG_STATE_HOME": str(state), "COLUMNS": "200"},
    )
    running = Serving(process)
    try:
        yield running
    finally:
        if process.returncode is None:
            process.kill()
            await running.ended()

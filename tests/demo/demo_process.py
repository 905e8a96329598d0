"""`dragoman demo` as a process, and what it leaves behind."""

import asyncio
import contextlib
import os
import re
import sys
from collections.abc import AsyncIterator
from pathlib import Path

_COMMAND = (sys.executable, "-c", "from dragoman.cli.main import main; main()", "demo")


class DemoProcess:
    """A demo whose temporary files are in `folder`, by which its processes are known, too."""

    def __init__(self, process: asyncio.subprocess.Process, folder: Path) -> None:
        self.process = process
        self.folder = folder
        self.output = ""

    async def line(self, pattern: str) -> str:
        """The next line of output that contains `pattern`."""
        assert self.process.stdout is not None
        while line := (await self.process.stdout.readline()).decode():
            self.output += line
            if re.search(pattern, line):
                return line
        raise AssertionError(f"the demo ended before it printed {pattern!r}:\n{self.output}")

    async def wait(self) -> int:
        """Read to the end; the exit code."""
        assert self.process.stdout is not None
        self.output += (await self.process.stdout.read()).decode()
        return await self.process.wait()

    def processes(self) -> list[int]:
        """The process and all that it started, as far as they live: they have inherited its environment."""
        found = []
        for entry in Path("/proc").iterdir():
            # A process may end, or belong to somebody else; a zombie's environment is empty.
            with contextlib.suppress(OSError):
                if f"TMPDIR={self.folder}\0" in (entry / "environ").read_text(errors="replace"):
                    found.append(int(entry.name))
        return found

    async def gone(self) -> None:
        """Return as soon as no process is left."""
        async with asyncio.timeout(60):
            while self.processes():  # noqa: ASYNC110 - processes of another process have no event to wait for
                await asyncio.sleep(0.02)

    def write(self, name: str, text: str) -> None:
        """A file among its YAML."""
        (folder,) = self.folder.glob("*/mesh")
        (folder / name).write_text(text)

    def left_behind(self) -> list[str]:
        """Processes and files that are still there."""
        return [*(f"process {pid}" for pid in self.processes()), *map(str, self.folder.iterdir())]

    def process_of(self, word: str) -> int:
        """The one that has `word` as an argument."""
        lines = ((pid, Path(f"/proc/{pid}/cmdline").read_text().split("\0")) for pid in self.processes())
        return next(pid for pid, line in lines if word in line)

    async def programs_started(self) -> None:
        """Return when the first sample service was started."""
        while not any(self.folder.glob("*/*/program.log")):  # noqa: ASYNC110
            await asyncio.sleep(0.005)


@contextlib.asynccontextmanager
async def running(folder: Path, *arguments: str) -> AsyncIterator[DemoProcess]:
    process = await asyncio.create_subprocess_exec(
        *_COMMAND,
        *arguments,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env={**os.environ, "TMPDIR": str(folder), "COLUMNS": "200"},
    )
    try:
        yield DemoProcess(process, folder)
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()

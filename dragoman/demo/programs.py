"""The sample services as processes."""

from __future__ import annotations

import asyncio
import os
import sys
from contextlib import suppress
from pathlib import Path

from dragoman.demo.workloads import Workload
from dragoman.sidecar.dependent import dependent


class ProgramError(RuntimeError):
    """A sample service ended. `str()` has its last words."""


class Program:
    """The program of a workload; its output goes to a file in `directory`.

    Only ever this very process is signalled. Should its parent die, it ends too.
    """

    def __init__(self, workload: Workload, directory: Path) -> None:
        self.workload = workload
        self.log_file = directory / "program.log"
        self._process: asyncio.subprocess.Process | None = None

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process is not None else None

    async def start(self) -> None:
        self.log_file.parent.mkdir(parents=True, exist_ok=True)
        # `python` in a pod is the one of its image, which here is the one that runs this.
        command = [sys.executable if word == "python" else word for word in self.workload.command]
        with self.log_file.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *dependent(command),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                # Proxies of the user's own would come between the shop and its sidecars.
                env={name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
                | dict(self.workload.environment),
                # Ctrl-C in a terminal goes to the whole process group; whoever started this program ends it.
                start_new_session=True,
            )

    async def wait(self) -> int:
        """Wait for its end; the exit code."""
        if self._process is None:
            raise ProgramError(f"{self.workload.pod} has not been started")
        return await self._process.wait()

    async def wait_listening(self) -> None:
        """Wait until it takes connections; raises `ProgramError` when it ends before."""
        host, _, port = self.workload.command[self.workload.command.index("--address") + 1].rpartition(":")
        while self._process is not None and self._process.returncode is None:
            with suppress(ConnectionRefusedError):
                _, writer = await asyncio.open_connection(host, int(port))
                writer.close()
                return
            await asyncio.sleep(0.02)
        raise ProgramError(f"the program of {self.workload.pod} ended\n{self.log_tail()}")

    def log_tail(self) -> str:
        """The end of what it wrote."""
        return self.log_file.read_text(errors="replace")[-2000:]

    async def stop(self) -> None:
        """End the process and wait for its end."""
        if self._process is None:
            return
        if self._process.returncode is None:
            with suppress(ProcessLookupError):
                self._process.terminate()
        await self._process.wait()

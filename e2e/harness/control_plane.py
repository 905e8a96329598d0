"""`dragoman serve` on the node: it watches the mesh's folder, and listens on a UNIX socket that all pods can see."""

import asyncio
import contextlib
import sys
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from prometheus_client.parser import text_string_to_metric_families

from e2e.harness import processes
from e2e.harness.clients import Client
from e2e.harness.namespaces import Namespace
from e2e.harness.processes import Process, ProcessError
from e2e.harness.sidecars import allow_envoys

HTTP = "127.0.0.1:15014"
DRAGOMAN = ("-c", "from dragoman.cli.main import main; main()")
"""What Python is to run."""


class ControlPlane:
    """The control plane's process; `async with` starts it, waits until it is ready, and ends it.

    `program` is another one than the product's, that is used like it.
    """

    def __init__(
        self,
        node: Namespace,
        configuration: Path,
        directory: Path,
        arguments: Sequence[str] = (),
        *,
        program: Sequence[str] = DRAGOMAN,
    ) -> None:
        self.socket = directory / "xds.sock"
        self._client = Client(node, resolve=lambda host: host)
        self._configuration = configuration
        self._arguments = tuple(arguments)
        self._program = tuple(program)
        self._log_file = directory / "control-plane.log"
        self._state = directory / "state"
        self._process: Process | None = None

    @property
    def process(self) -> Process:
        """The process. Raises ProcessError before the start."""
        if self._process is None:
            raise ProcessError("the control plane has not been started")
        return self._process

    async def start(self, *, seconds: float = 60) -> None:
        """Start it and wait until it is ready. Raises ProcessError."""
        self._process = await processes.start(
            self._client.namespace.name,
            *(sys.executable, *self._program, "serve"),
            *("--config", self._configuration, "--xds-address", f"unix:{self.socket}", "--http-address", HTTP),
            *("--secure-address", "127.0.0.1:0"),
            *("--state-dir", self._state),
            *self._arguments,
            name="control plane",
            log=self._log_file,
        )
        try:
            async with asyncio.timeout(seconds):
                while not await self._ready():
                    self._process.check()
                    await asyncio.sleep(0.02)
        except TimeoutError:
            raise self._process.error("is not ready") from None
        allow_envoys(self.socket)

    async def debug(self, path: str) -> Any:
        """The JSON of a page of the debug endpoint, such as /debug/syncz."""
        return (await self._client.http(f"http://{HTTP}{path}")).json

    async def metric(self, name: str, **labels: str) -> float:
        """The sum of a metric over its series that have these labels; 0 without any."""
        text = (await self._client.http(f"http://{HTTP}/metrics")).text
        return sum(
            sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
            if sample.name == name and labels.items() <= sample.labels.items()
        )

    async def stop(self) -> int:
        """End it as the kubelet does (SIGTERM) and return its status."""
        return await self.process.stop()

    async def kill(self) -> int:
        """End it without a word (SIGKILL)."""
        return await self.process.kill()

    @property
    def log(self) -> str:
        """All it said so far, by all its processes: standard output and standard error."""
        return self._log_file.read_text()

    def tail(self, lines: int = 100) -> str:
        """The end of its log."""
        return self._process.tail(lines) if self._process else ""

    async def _ready(self) -> bool:
        with contextlib.suppress(ConnectionError, TimeoutError):
            return self.socket.exists() and (await self._client.http(f"http://{HTTP}/ready")).status == 200
        return False

    async def __aenter__(self) -> Self:
        try:
            await self.start()
        except BaseException:
            await self.__aexit__(None, None, None)
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process is not None:
            await self._process.stop()

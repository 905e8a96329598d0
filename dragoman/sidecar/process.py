"""One Envoy process: start, wait until it is live, stop."""

from __future__ import annotations

import asyncio
import json
import os
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import aiohttp

from dragoman.sidecar.address import SocketAddress
from dragoman.sidecar.admin import Admin
from dragoman.sidecar.dependent import dependent

_POLL_SECONDS: Final = 0.02
_LOG_TAIL_BYTES: Final = 4096


class EnvoyProcessError(RuntimeError):
    """Envoy could not be started, ended early, or did not get ready. `str()` ends with the end of its log."""


class EnvoyProcess:
    """An Envoy that runs with the bootstrap `config`, in `directory`, which holds its `bootstrap.json` and `envoy.log`.

    `command` makes the command line from the path of the bootstrap file (see `envoy.argv`). An async context manager:
    entering starts the process, leaving stops it. Only ever this very process is signalled. Should this process die
    without leaving, Envoy ends too.
    """

    def __init__(
        self,
        command: Callable[[Path], Sequence[str]],
        config: Mapping[str, Any],
        directory: Path,
        admin: SocketAddress,
        *,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self._command = command
        self._config = config
        self._environment = environment
        self._process: asyncio.subprocess.Process | None = None
        self.directory = directory
        self.log_file = directory / "envoy.log"
        self.admin = Admin(admin)

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process is not None else None

    @property
    def exit_code(self) -> int | None:
        """The exit code once it has ended (negative: the signal), else `None`."""
        return self._process.returncode if self._process is not None else None

    async def start(self) -> None:
        """Fork and execute. Raises `EnvoyProcessError` off the main thread, or when the binary cannot be executed."""
        if threading.current_thread() is not threading.main_thread():
            # "Parent" means the thread that forked (prctl(2), PR_SET_PDEATHSIG), and a thread of a pool may end at
            # any time.
            raise EnvoyProcessError("Envoy must be started from the main thread: it ends with the thread that forks it")
        if self._process is not None and self._process.returncode is None:
            raise EnvoyProcessError(f"Envoy runs already, as process {self._process.pid}")
        self.directory.mkdir(parents=True, exist_ok=True)
        config_file = self.directory / "bootstrap.json"
        config_file.write_text(json.dumps(self._config, indent=2))
        command = self._command(config_file)
        if not os.access(command[0], os.X_OK):
            raise EnvoyProcessError(f"cannot execute {command[0]}")
        with self.log_file.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                # With hot restart off, as here, Envoy no longer asks to be told of its parent's death (Envoy:
                # source/server/hot_restart_impl.cc).
                *dependent(command),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=self._environment,
                # Ctrl-C in a terminal goes to the whole process group; whoever started this Envoy ends it.
                start_new_session=True,
            )

    async def wait_live(self, timeout_seconds: float = 30) -> None:
        """Wait until Envoy serves: it has had its first clusters and listeners and they are warm."""
        await self._wait_for(lambda state: state == "LIVE", "live", timeout_seconds)

    async def wait_started(self, timeout_seconds: float = 30) -> None:
        """Wait until the admin interface answers, whatever Envoy still waits for."""
        await self._wait_for(lambda _: True, "started", timeout_seconds)

    async def wait(self) -> int:
        """Wait for the end of the process; its exit code."""
        return await self._running().wait()

    async def drain(self) -> None:
        """Ask clients to leave (`connection: close`, GOAWAY), while everything is still served."""
        await self.admin.post("/drain_listeners?graceful&skip_exit")

    async def stop(self, timeout_seconds: float = 5) -> int | None:
        """End the process: SIGTERM, and SIGKILL after `timeout_seconds`. Its exit code; `None` if it never started."""
        await self.admin.close()
        process = self._process
        if process is None:
            return None
        if process.returncode is None:
            with suppress(ProcessLookupError):
                process.terminate()
            try:
                await asyncio.wait_for(process.wait(), timeout_seconds)
            except TimeoutError:
                with suppress(ProcessLookupError):
                    process.kill()
        return await process.wait()

    def log_tail(self) -> str:
        """The end of the log, whole lines."""
        with suppress(FileNotFoundError), self.log_file.open("rb") as log:
            size = log.seek(0, 2)
            log.seek(max(0, size - _LOG_TAIL_BYTES))
            text = log.read().decode(errors="replace")
            return text if size <= _LOG_TAIL_BYTES else text.partition("\n")[2]
        return ""

    async def _wait_for(self, condition: Callable[[str], bool], name: str, timeout_seconds: float) -> None:
        process = self._running()
        state = "silent"
        try:
            async with asyncio.timeout(timeout_seconds):
                while process.returncode is None:
                    # It answers nothing while it binds its sockets or takes in a large configuration.
                    with suppress(aiohttp.ClientError, TimeoutError):
                        state = await self.admin.state()
                        if condition(state):
                            return
                    await asyncio.sleep(_POLL_SECONDS)
        except TimeoutError:
            raise EnvoyProcessError(
                f"Envoy is not {name} after {timeout_seconds} s but {state}\n{self.log_tail()}"
            ) from None
        raise EnvoyProcessError(f"Envoy ended with {process.returncode} before it was {name}\n{self.log_tail()}")

    def _running(self) -> asyncio.subprocess.Process:
        if self._process is None:
            raise EnvoyProcessError("Envoy has not been started")
        return self._process

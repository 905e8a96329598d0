"""Envoys in pods: unmodified, as user and group 1337, with the pod's capture around them."""

import asyncio
import contextlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlencode

from dragoman.sidecar.envoy import argv, find_envoy
from e2e.harness import processes
from e2e.harness.answers import Answer
from e2e.harness.capture import PROXY_ID
from e2e.harness.clients import Client
from e2e.harness.processes import Process, ProcessError

ADMIN = "http://127.0.0.1:15000"
"""Where every Envoy's admin interface is, inside its pod: within reach of the pod alone, at Istio's port."""

_TRANSPARENT = (
    *("--regid", str(PROXY_ID), "--clear-groups"),
    *("--bounding-set", "-all,+net_admin", "--inh-caps", "-all"),
)
"""Root with the one capability that injection gives for TPROXY, in Envoy's group."""


class Envoy:
    """The Envoy of one pod; `async with` starts it and ends it. `stop`, `kill` and `start` may be used in between.

    `bootstrap` is Envoy's own, as JSON, with the admin interface at `ADMIN`, which is asked from inside the pod.
    A `transparent` one may bind to addresses that are not its pod's, for which it has to be root.
    """

    def __init__(
        self,
        name: str,
        client: Client,
        bootstrap: Mapping[str, Any],
        directory: Path,
        *,
        arguments: Sequence[str] = (),
        drain_seconds: int = 45,
        transparent: bool = False,
    ) -> None:
        self.name = name
        self.bootstrap = bootstrap
        self._client = client
        self._arguments = tuple(arguments)
        self._drain_seconds = drain_seconds
        self._transparent = transparent
        self._config = directory / f"{name}.bootstrap.json"
        self._log = directory / f"{name}.envoy.log"
        self._process: Process | None = None

    @property
    def process(self) -> Process:
        """The process. Raises ProcessError before the start."""
        if self._process is None:
            raise ProcessError(f"Envoy {self.name} has not been started")
        return self._process

    @property
    def running(self) -> bool:
        """Whether it was started and has not ended."""
        return self._process is not None and self._process.running

    async def start(self) -> None:
        """Start it; `ready` waits for it. Raises ProcessError when it runs already."""
        if self.running:
            raise self.process.error("runs already")
        self._config.write_text(json.dumps(self.bootstrap))
        command = argv(
            find_envoy(),
            self._config,
            concurrency=1,
            drain_seconds=self._drain_seconds,
            reject_unknown_fields=True,
        )
        self._process = await processes.start(
            self._client.namespace.name,
            *command,
            *self._arguments,
            name=f"Envoy {self.name}",
            log=self._log,
            uid=PROXY_ID,
            become=_TRANSPARENT if self._transparent else None,
        )

    async def ready(self, *, seconds: float = 60) -> None:
        """Return as soon as it serves: it has its first listeners and clusters, and they are warm.

        Raises ProcessError when it ends instead, or is not ready in time.
        """
        answer: Answer | None = None
        try:
            async with asyncio.timeout(seconds):
                while answer is None or answer.status != 200:
                    self.process.check()
                    with contextlib.suppress(ConnectionError, TimeoutError):
                        answer = await self._client.http(f"{ADMIN}/ready")
                    await asyncio.sleep(0.02)
        except TimeoutError:
            raise self.process.error(f"is not ready but {answer.text if answer else 'silent'}") from None

    async def admin(self, path: str, *, method: str = "GET") -> Answer:
        """The answer of the admin interface. Raises ConnectionError when Envoy is not there."""
        return await self._client.http(ADMIN + path, method=method)

    async def stats(self, pattern: str = "") -> Mapping[str, int]:
        """Counters and gauges by name; only those that `pattern`, a regular expression, is found in."""
        answer = await self.admin("/stats?" + urlencode({"format": "json", "filter": pattern or ".*"}))
        return {stat["name"]: stat["value"] for stat in answer.json["stats"] if "value" in stat}

    async def config_dump(self) -> Mapping[str, Any]:
        """What it has been told, endpoints included."""
        dump: Mapping[str, Any] = (await self.admin("/config_dump?include_eds")).json
        return dump

    async def stop(self) -> int:
        """End it as the kubelet does (SIGTERM) and return its status."""
        return await self.process.stop()

    async def kill(self) -> int:
        """End it without a word (SIGKILL)."""
        return await self.process.kill()

    async def restart(self) -> None:
        """End it, start it anew and wait until it is ready."""
        await self.stop()
        await self.start()
        await self.ready()

    def tail(self, lines: int = 40) -> str:
        """The end of its log."""
        return self._process.tail(lines) if self._process else ""

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process is not None:
            await self._process.stop()

"""The process of `envoy_10`: the control plane following a folder, and a pump that writes recorded bytes.

The first line names the folder. The pump writes to the same streams, past the stream machines, which take the ACKs for
stale: same Envoys, same transport, same bytes, and nothing of a control plane.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ca.authority import new_root
from dragoman.cli.logs import LogFormat, LogLevel, configure
from dragoman.runtime import ControlPlane
from dragoman.sources.files import FileSource
from e2e.bench.lines import answer, commands, obey
from e2e.bench.measure import LoopLag, memory_mb
from e2e.bench.meter import METER, install


class FileServer:
    """The control plane and what is asked of it."""

    def __init__(self, folder: Path) -> None:
        self.plane = ControlPlane(FileSource(folder), new_root("cluster.local", now=datetime.now(UTC)))
        self.lag = LoopLag()
        self._recorded: dict[str, bytes] = {}

    async def start(self) -> dict[str, Any]:
        await self.plane.load()
        port = self.plane.server.listen("127.0.0.1:0")
        await self.plane.start()
        return {"port": port}

    def in_sync(self) -> dict[str, Any]:
        streams = list(self.plane.server.progress())
        late = sum(not all(stream.types.values()) for stream in streams)
        return {"streams": len(streams), "late": late}

    def listen(self) -> dict[str, Any]:
        """Note from now on when ACKs come, and what is sent."""
        METER.recorded = {}
        for context in METER.contexts:
            context.forget()
        return {}

    def heard(self, keep: str | None = None) -> dict[str, Any]:
        """When the ACK of each stream came; `keep` names what was sent, for the pump."""
        if keep is not None and METER.recorded:
            self._recorded[keep] = next(iter(METER.recorded.values()))
        return {"acks": [context.read_at[0] for context in METER.contexts if context.read_at]}

    async def pump(self, name: str) -> dict[str, Any]:
        """Write what was recorded to every stream."""
        self.listen()
        at = time.monotonic_ns()
        await asyncio.gather(*(context.write(self._recorded[name]) for context in METER.contexts))
        return {"at": at, "bytes": len(self._recorded[name])}

    def statistics(self) -> dict[str, Any]:
        rss, peak = memory_mb()
        return {
            "cpu_s": time.process_time(),
            "messages": METER.messages,
            "bytes": METER.bytes,
            "rss_mb": rss,
            "peak_rss_mb": peak,
            "lag": self.lag.samples,
        }


async def _serve() -> None:
    lines = await commands()
    server = FileServer(Path(json.loads(await lines.readline())["folder"]))
    answer(await server.start())
    async with asyncio.TaskGroup() as tasks:
        running = [tasks.create_task(server.plane.run()), tasks.create_task(server.lag.run())]
        await obey(lines, server)
        for task in running:
            task.cancel()


if __name__ == "__main__":
    configure(LogFormat.json, LogLevel.info, sys.stderr)
    install()
    with suppress(asyncio.CancelledError):
        asyncio.run(_serve())

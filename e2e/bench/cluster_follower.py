"""A control plane that reads its mesh from an API server, in a process of its own.

Its first line of standard input is `{"kubeconfig", "node"}`; it answers with how the first full view came about and
where proxies may connect. The lines that follow are commands, as of `server.py`.
"""

from __future__ import annotations

import asyncio
import cProfile
import gc
import json
import os
import sys
import time
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ca.authority import new_root
from crds.kubernetes import EndpointSlice
from dragoman.cli.logs import LogFormat, LogLevel, configure
from dragoman.kube import Cluster
from dragoman.runtime import ControlPlane, garbage
from dragoman.runtime.observer import Nack
from dragoman.sources.change import Batch
from dragoman.sources.kubernetes import KubernetesSource
from e2e.bench.lines import answer, commands, obey
from e2e.bench.measure import LoopLag, memory_mb, percentile
from e2e.bench.mesh import change_of
from e2e.bench.meter import METER, install
from e2e.bench.server import carried_changes
from xds import Node, Peer


class Follower:
    """A control plane that follows its API server, and what is asked of it."""

    def __init__(self, source: KubernetesSource, lag: LoopLag) -> None:
        self._source, self._lag = source, lag
        self._newest = 0
        self._rejections: list[str] = []
        self.reset()

    def rejected(self, nack: Nack) -> None:
        """A proxy refused something."""
        self._rejections.append(str(nack))

    def in_force(self, batch: Batch) -> None:
        """A batch was taken over."""
        slices = (change.new for change in batch.changes if isinstance(change.new, EndpointSlice))
        moved = (change_of(slice_.endpoints[-1].addresses[0]) for slice_ in slices)
        self._newest = max(filter(None, moved), default=self._newest)

    def newest(self) -> dict[str, Any]:
        """The newest change that is in force; they come in order."""
        return {"newest": self._newest}

    def reset(self) -> dict[str, Any]:
        """Begin to measure."""
        self._lag.forget()
        METER.messages = METER.bytes = 0
        METER.recorded = {}
        self._cpu, self._clock = time.process_time(), time.perf_counter()
        return {}

    def statistics(self) -> dict[str, Any]:
        """What was measured since `reset`."""
        used, seconds = time.process_time() - self._cpu, time.perf_counter() - self._clock
        return {
            "cpu_share": used / seconds,
            "cpu_s": used,
            "messages": METER.messages,
            "bytes": METER.bytes,
            "lists": sum(each.reflector.lists for each in self._source.followed.values()),
            "loop_lag_p99_ms": percentile(self._lag.samples, 0.99),
            "loop_lag_max_ms": max(self._lag.samples, default=0.0),
            "rss_mb": memory_mb()[0],
        }

    def carried(self) -> dict[str, Any]:
        """The changes that each response carried since `reset`, by its nonce."""
        recorded, METER.recorded = METER.recorded or {}, None
        return {"carried": dict(map(carried_changes, recorded.values())), "rejections": self._rejections[:3]}


async def _follow(kubeconfig: Path, node: str, lines: asyncio.StreamReader, profiler: cProfile.Profile | None) -> None:
    lag = LoopLag()
    async with asyncio.TaskGroup() as tasks, await Cluster.connect(kubeconfig) as cluster:
        running = [tasks.create_task(lag.run())]
        # What the API client's import costs is no part of the mesh.
        gc.collect()
        empty, _ = memory_mb()
        cpu, clock = time.process_time(), time.perf_counter()
        garbage.look_seldom()  # as `dragoman serve` does
        async with KubernetesSource(cluster, ("istio-system", "istio")) as source:
            await source.synced()
            synced = time.perf_counter() - clock, time.process_time() - cpu
            follower = Follower(source, lag)
            authority = new_root("bench", now=datetime.now(UTC))
            plane = ControlPlane(source, authority, on_nack=follower.rejected, on_batch=follower.in_force)
            await plane.load()
            loaded = time.perf_counter() - clock
            await plane.connect(Node(node), Peer("ipv4:127.0.0.1:1", True, {}))
            first = {
                "seconds": time.perf_counter() - clock,
                "synced_s": synced[0],
                "synced_cpu_s": synced[1],
                "loaded_s": loaded,
                "cpu_s": time.process_time() - cpu,
                "objects": len(plane.world.objects),
                "loop_lag_max_ms": max(lag.samples),
                "loop_lag_p99_ms": percentile(lag.samples, 0.99),
            }
            gc.collect()
            rss, peak = memory_mb()
            port = plane.server.listen("127.0.0.1:0")
            await plane.start()
            running.append(tasks.create_task(plane.run()))
            answer(first | {"rss_mb": rss, "peak_rss_mb": peak, "mesh_mb": rss - empty, "port": port})
            if profiler is not None:
                profiler.enable()
            await obey(lines, follower)
            for task in running:
                task.cancel()


async def _main(profiler: cProfile.Profile | None) -> None:
    lines = await commands()
    said = json.loads(await lines.readline())
    await _follow(Path(said["kubeconfig"]), said["node"], lines, profiler)


if __name__ == "__main__":
    configure(LogFormat.json, LogLevel.warning, sys.stderr)
    install()
    profile = os.environ.get("BENCH_PROFILE")
    profiler = cProfile.Profile() if profile else None
    with suppress(asyncio.CancelledError):
        asyncio.run(_main(profiler))
    if profiler is not None:
        profiler.dump_stats(profile)  # type: ignore[arg-type]

"""A control plane that reads its mesh from an API server, in a process of its own.

Its first line of standard input is `{"kubeconfig", "node"}`; it prints how the first full view came about, then follows
until it is asked, by any second line, what became of the changes meanwhile.
"""

from __future__ import annotations

import asyncio
import gc
import json
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ca.authority import new_root
from crds.kubernetes import EndpointSlice
from dragoman.cli.logs import LogFormat, LogLevel, configure
from dragoman.kube import Cluster
from dragoman.runtime import ControlPlane
from dragoman.sources.change import Batch
from dragoman.sources.kubernetes import KubernetesSource
from e2e.bench.measure import LoopLag, memory_mb, percentile
from e2e.bench.mesh import change_of
from xds import Node, Peer


def _print(found: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(found) + "\n")
    sys.stdout.flush()


async def _measure(kubeconfig: Path, node: str) -> None:
    in_force: dict[int, int] = {}
    batches = 0

    def note(batch: Batch) -> None:
        """When each change was in force."""
        nonlocal batches
        batches += 1
        now = time.monotonic_ns()
        for change in batch.changes:
            if isinstance(change.new, EndpointSlice):
                number = change_of(change.new.endpoints[-1].addresses[0])
                if number is not None:
                    in_force[number] = now

    lag = LoopLag()
    sampling = asyncio.create_task(lag.run())
    async with await Cluster.connect(kubeconfig) as cluster:
        # What the API client's import costs is no part of the mesh.
        gc.collect()
        empty, _ = memory_mb()
        cpu, clock = time.process_time(), time.perf_counter()
        async with KubernetesSource(cluster, ("istio-system", "istio")) as source:
            await source.synced()
            synced = time.perf_counter() - clock, time.process_time() - cpu
            plane = ControlPlane(source, new_root("bench", now=datetime.now(UTC)), on_batch=note)
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
            _print(first | {"rss_mb": rss, "peak_rss_mb": peak, "mesh_mb": rss - empty})
            running = asyncio.create_task(plane.run())
            lag.samples.clear()
            batches, cpu, clock = 0, time.process_time(), time.perf_counter()
            await asyncio.to_thread(sys.stdin.readline)
            used, seconds = time.process_time() - cpu, time.perf_counter() - clock
            _print(
                {
                    "cpu_share": used / seconds,
                    "cpu_s": used,
                    "batches": batches,
                    "in_force": in_force,
                    "lists": sum(each.reflector.lists for each in source.followed.values()),
                    "loop_lag_p99_ms": percentile(lag.samples, 0.99),
                    "loop_lag_max_ms": max(lag.samples),
                    "rss_mb": memory_mb()[0],
                }
            )
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
    sampling.cancel()


if __name__ == "__main__":
    configure(LogFormat.json, LogLevel.warning, sys.stderr)
    said = json.loads(sys.stdin.readline())
    asyncio.run(_measure(Path(said["kubeconfig"]), said["node"]))

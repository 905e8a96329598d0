"""From JSON bytes to the first full view, in a process of its own; prints its numbers as JSON.

What is measured begins when all bytes are there, and ends when every resource of the first proxy's views is encoded.
"""

from __future__ import annotations

import asyncio
import gc
import json
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from ca.authority import new_root
from dragoman.cli.logs import LogFormat, LogLevel, configure
from dragoman.runtime import ControlPlane, garbage
from e2e.bench import mesh
from e2e.bench.measure import LoopLag, memory_mb, percentile
from e2e.bench.source import MemorySource
from xds import Node, Peer


async def _measure(size: mesh.Size) -> dict[str, Any]:
    documents = list(mesh.objects(size))
    input_mb = sum(map(len, documents)) / 1e6
    documents.reverse()

    def taken() -> Iterator[bytes]:
        while documents:
            yield documents.pop()

    garbage.look_seldom()  # as `dragoman serve` does
    plane = ControlPlane(MemorySource(taken), new_root("bench", now=datetime.now(UTC)))
    lag = LoopLag()
    sampling = asyncio.create_task(lag.run())
    cpu, clock = time.process_time(), time.perf_counter()
    await plane.load()
    loaded = time.process_time() - cpu
    session = await plane.connect(Node(mesh.node_ids(size)[0]), Peer("ipv4:127.0.0.1:1", True, {}))
    seconds, cpu = time.perf_counter() - clock, time.process_time() - cpu
    sampling.cancel()
    gc.collect()
    resources = [resource for view in session.views for resource in view.dump()]
    rss, peak = memory_mb()
    return {
        "cpu_s": cpu,
        "load_cpu_s": loaded,
        "seconds": seconds,
        "rss_mb": rss,
        "peak_rss_mb": peak,
        "input_mb": input_mb,
        "messages": len(resources),
        "bytes": sum(len(resource.payload) for resource in resources),
        "loop_lag_p99_ms": percentile(lag.samples, 0.99),
        "loop_lag_max_ms": max(lag.samples),
    }


if __name__ == "__main__":
    configure(LogFormat.json, LogLevel.warning, sys.stderr)
    json.dump(asyncio.run(_measure(mesh.Size(**json.loads(sys.stdin.readline())))), sys.stdout)
    sys.stdout.write("\n")

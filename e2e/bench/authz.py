"""What 1,000 AuthorizationPolicies in one namespace cost, in a process of its own; prints its numbers as JSON.

A hundred workloads, each with a proxy and ten policies that select it. What is measured begins when all policies are
handed to the control plane together, and ends when every proxy's listener with its ten policies is encoded and in its
view; then one policy more for one workload, a few times.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from typing import Any

from ca.authority import new_root
from crds.decode import decode_json
from dragoman.cli.logs import LogFormat, LogLevel, configure
from dragoman.codec import LISTENER
from dragoman.runtime import ControlPlane
from e2e.bench import mesh
from e2e.bench.measure import LoopLag, memory_mb, percentile
from e2e.bench.source import MemorySource
from xds import Node, Peer

_WORKLOADS = 100
_POLICIES = 1000
_MORE = 10


async def _measure(size: mesh.Size) -> dict[str, Any]:
    source = MemorySource(lambda: mesh.objects(size))
    plane = ControlPlane(source, new_root("bench", now=datetime.now(UTC)))
    await plane.load()
    sessions = [await plane.connect(Node(node), Peer("ipv4:127.0.0.1:1", True, {})) for node in mesh.node_ids(size)]
    lag = LoopLag()
    running = [asyncio.create_task(plane.run()), asyncio.create_task(lag.run())]

    def listeners(number: int) -> list[bytes]:
        dumped = (resource for view in sessions[number].views for resource in view.dump())
        return [resource.payload for resource in dumped if resource.type_url == LISTENER]

    def served(policy: int) -> bool:
        name = f"policy[policy-{policy:04}]".encode()
        return any(name in payload for payload in listeners(policy % _WORKLOADS))

    policies = [decode_json(mesh.authorization_policy(number, number % _WORKLOADS)) for number in range(_POLICIES)]
    seconds, cpu = time.perf_counter(), time.process_time()
    source.put(*policies)
    for number in range(_POLICIES - _WORKLOADS, _POLICIES):  # the last one of each workload
        await _until(partial(served, number))
    seconds, cpu = time.perf_counter() - seconds, time.process_time() - cpu
    more = []
    for number in range(_POLICIES, _POLICIES + _MORE):
        policy = decode_json(mesh.authorization_policy(number, number % _WORKLOADS))
        started = time.process_time()
        source.put(policy)
        await _until(partial(served, number))
        more.append((time.process_time() - started) * 1000)
    for task in running:
        task.cancel()
    rss, peak = memory_mb()
    return {
        "cpu_s": cpu,
        "seconds": seconds,
        "one_more_cpu_ms": statistics.median(more),
        "rss_mb": rss,
        "peak_rss_mb": peak,
        "messages": len(sessions),
        "bytes": sum(len(payload) for number in range(len(sessions)) for payload in listeners(number)),
        "loop_lag_p99_ms": percentile(lag.samples, 0.99),
        "loop_lag_max_ms": max(lag.samples),
    }


async def _until(condition: Callable[[], bool]) -> None:
    while not condition():  # noqa: ASYNC110 - a view tells nobody but streams
        await asyncio.sleep(0.005)


if __name__ == "__main__":
    configure(LogFormat.json, LogLevel.warning, sys.stderr)
    json.dump(asyncio.run(_measure(mesh.Size(**json.loads(sys.stdin.readline())))), sys.stdout)
    sys.stdout.write("\n")

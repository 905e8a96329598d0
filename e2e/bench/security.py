"""The rows of security: certificates, callers that come back with TLS and tokens."""

from __future__ import annotations

import asyncio
import time

from e2e.bench.measure import median, percentile
from e2e.bench.mesh import Size, node_ids
from e2e.bench.processes import BenchError, server, tls_clients

Metrics = dict[str, float]

_PROCESSES = 2
"""Of clients: gRPC for Python keeps one processor busy each."""


async def reconnect(size: Size) -> Metrics:
    """All proxies connect, are cut off, and come back at once."""
    async with server(size, "tls_server") as process:
        nodes, tokens = node_ids(size), process.started["tokens"]
        shares = [slice(i, None, _PROCESSES) for i in range(_PROCESSES)]
        parts = [(nodes[share], tokens[share]) for share in shares]
        async with tls_clients(process.port, process.started["roots"], parts) as clients:
            connected = await clients.ask("open")
            await process.ask("in_sync")
            await clients.ask("close")
            while (await process.ask("in_sync"))["streams"]:  # noqa: ASYNC110 - the state of another process
                await asyncio.sleep(0.1)
            await process.ask("reset")
            started = time.monotonic()
            back = await clients.ask("open")
            seconds = time.monotonic() - started
            state = await process.ask("in_sync")
            if state["streams"] != size.proxies or state["rejections"]:
                raise BenchError(f"not all were served: {state}")
            found = await process.ask("statistics")
    lag = found.pop("lag")
    took = [each for part in back for each in part["seconds"]]
    return {
        "unserved": float(size.proxies - state["streams"]),
        "all_served_s": seconds,
        "served_p50_s": median(took),
        "first_time_s": max(each for part in connected for each in part["seconds"]),
        "retries": float(sum(part["failures"] for part in back)),
        "cpu_ms_per_stream": found["cpu_s"] * 1000 / size.proxies,
        "loop_lag_p99_ms": percentile(lag, 0.99),
        "loop_lag_max_ms": max(lag, default=0.0),
        **found,
    }

"""The rows of the table: what each does, and what must come out."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from e2e.bench import cluster, envoys, security
from e2e.bench.measure import median, percentile
from e2e.bench.mesh import Size, node_ids
from e2e.bench.processes import BenchError, Fleet, ServerProcess, alone, fleet, server
from e2e.bench.staleness import Change, staleness

Metrics = dict[str, float]

_QUIET_SECONDS = 0.3
"""Without an ACK for so long, everything is delivered."""


@dataclass(slots=True)
class Bench:
    """What rows share: the clients' program, how long to measure, and rows that others compare themselves with."""

    clients: Path
    changes: int
    tell: Callable[[str], None]
    done: dict[str, Metrics] = field(default_factory=dict)

    async def row(self, name: str) -> Metrics:
        """The metrics of a row, measured once."""
        if name not in self.done:
            self.tell(f"{name}: {ROWS[name].work}")
            started = time.monotonic()
            self.done[name] = await ROWS[name].measure(self)
            self.tell(f"{name}: {time.monotonic() - started:.0f} s")
        return self.done[name]


@dataclass(frozen=True, slots=True)
class Row:
    """One row: what it does, how, and the largest values that it may show."""

    work: str
    measure: Callable[[Bench], Awaitable[Metrics]]
    must: Mapping[str, float]


@asynccontextmanager
async def _connected(bench: Bench, size: Size) -> AsyncIterator[tuple[ServerProcess, Fleet, Metrics]]:
    """A server and its clients, all connected and in sync, and how that went."""
    async with server(size) as process, fleet(bench.clients, process.port, node_ids(size)) as clients:
        await process.ask("reset")
        started = time.monotonic_ns()
        clients.open(0, size.proxies)
        await _settled(process, clients, size)
        last = max(ack.at for ack in clients.acks)
        metrics = await _statistics(process)
        metrics["connect_s"] = (last - started) / 1e9
        metrics["reconnects"] = clients.reconnects
        yield process, clients, metrics


async def _settled(process: ServerProcess, clients: Fleet, size: Size) -> None:
    """Wait until all clients have everything, and the server knows."""
    await clients.until(lambda: len(clients.ready) == size.proxies, f"{size.proxies} clients to be ready")
    for _ in range(100):
        seen = len(clients.acks)
        await asyncio.sleep(_QUIET_SECONDS)
        state = await process.ask("in_sync")
        if state["rejections"]:
            raise BenchError(f"rejected: {state['rejections']}")
        if seen == len(clients.acks) and state["streams"] == size.proxies and not state["late"]:
            return
    raise BenchError(f"not in sync: {state}")


async def _statistics(process: ServerProcess) -> Metrics:
    found: dict[str, Any] = await process.ask("statistics")
    lag = found.pop("lag")
    return {"loop_lag_p99_ms": percentile(lag, 0.99), "loop_lag_max_ms": max(lag, default=0.0), **found}


async def _changes(bench: Bench, kind: str, services: int) -> Metrics:
    """Changes one by one, each when the one before is everywhere."""
    size = Size(services, replicas=100)
    delivered = {"endpoint": "eds", "route": "rds"}[kind]
    pause = random.Random(1)  # noqa: S311 - changes come at any time
    last_acks, medians, first_writes = [], [], []
    async with _connected(bench, size) as (process, clients, connected):
        for number in range(-10, bench.changes):
            if number == 0:
                await process.ask("reset")  # the first ones warm caches up
            clients.forget()
            change = await process.ask(kind)
            await clients.until(
                lambda: len({ack.client for ack in clients.acks if ack.type == delivered}) == size.proxies,
                f"the ACKs of {kind} change {number}",
            )
            latencies = [(ack.at - change["at"]) / 1e6 for ack in clients.acks]
            if number >= 0:
                last_acks.append(max(latencies))
                medians.append(median(latencies))
                first_writes.append(change["first_write_cpu_ms"])
            await asyncio.sleep(pause.uniform(0.02, 0.06))
        metrics = await _statistics(process)
    floor = await _floor(bench, size, int(metrics["bytes"] / metrics["messages"]))
    return {
        "last_ack_p50_ms": median(last_acks),
        "last_ack_p99_ms": percentile(last_acks, 0.99),
        "median_stream_p50_ms": median(medians),
        "first_write_cpu_ms": median(first_writes),
        "cpu_per_change_ms": metrics["cpu_s"] * 1000 / bench.changes,
        **floor,
        "connect_s": connected["connect_s"],
        **metrics,
    }


async def _floor(bench: Bench, size: Size, message: int) -> Metrics:
    """What a gRPC server without anything behind it takes for messages of the same length."""
    last_acks, cpu = [], []
    async with server(size, "bare") as process, fleet(bench.clients, process.port, node_ids(size)) as clients:
        clients.open(0, size.proxies)
        await process.ask("connected", streams=size.proxies)
        for _ in range(bench.changes // 4):
            clients.forget()
            sent = await process.ask("send", size=message)
            await clients.until(lambda: len(clients.acks) >= size.proxies, "ACKs of the floor")
            last_acks.append(max(ack.at - sent["at"] for ack in clients.acks) / 1e6)
            cpu.append(sent["cpu_ms"])
    return {"floor_last_ack_p50_ms": median(last_acks), "floor_cpu_per_change_ms": median(cpu)}


async def _compared(bench: Bench, kind: str) -> Metrics:
    small = await bench.row(f"{kind}_1k_100")
    large = await _changes(bench, kind, 10_000)
    return {"ratio_to_1k": large["first_write_cpu_ms"] / small["first_write_cpu_ms"], **large}


async def _connect(bench: Bench, size: Size) -> Metrics:
    async with _connected(bench, size) as (_, _, metrics):
        return metrics


async def _memory(bench: Bench) -> Metrics:
    one, ten = Size(1000, 1, 10, 10), Size(1000, 10, 10, 10)
    async with _connected(bench, one) as (_, _, metrics):
        one_pod = metrics["rss_mb"]
    async with _connected(bench, ten) as (_, _, metrics):
        limit = 1.5 * one_pod + 0.1 * ten.proxies
        metrics["one_pod_rss_mb"] = one_pod
        metrics["limit_mb"] = limit
        metrics["of_limit"] = metrics["rss_mb"] / limit
        return metrics


async def _storm(bench: Bench) -> Metrics:
    size = Size(1000, replicas=100)
    rate, seconds = 300, 20
    async with _connected(bench, size) as (process, clients, _):
        clients.forget()
        found = await process.ask("storm", rate=rate, seconds=seconds)
        changes = (Change(*change) for change in found["changes"])
        ages = staleness(changes, clients.acks, found["carried"], size.proxies)
        statistics = found["statistics"]
        lag = statistics.pop("lag")
        return {
            "cpu_share": statistics["cpu_s"] / statistics["seconds"],
            "staleness_p50_ms": median(ages),
            "staleness_p99_ms": percentile(ages, 0.99),
            "loop_lag_p99_ms": percentile(lag, 0.99),
            "loop_lag_max_ms": max(lag),
            **statistics,
        }


_LAG: Mapping[str, float] = {"loop_lag_p99_ms": 20.0}

ROWS: Mapping[str, Row] = {
    "endpoint_1k_100": Row(
        "1,000 services, 100 streams, one endpoint changes",
        lambda bench: _changes(bench, "endpoint", 1000),
        {"last_ack_p50_ms": 12, "last_ack_p99_ms": 30, "median_stream_p50_ms": 5, **_LAG},
    ),
    "route_1k_100": Row(
        "1,000 services, 100 streams, one VirtualService changes",
        lambda bench: _changes(bench, "route", 1000),
        {"last_ack_p50_ms": 45, "median_stream_p50_ms": 20, **_LAG},
    ),
    "endpoint_10k_100": Row(
        "10,000 services, 100 streams, one endpoint changes",
        lambda bench: _compared(bench, "endpoint"),
        {"ratio_to_1k": 1.5, **_LAG},
    ),
    "route_10k_100": Row(
        "10,000 services, 100 streams, one VirtualService changes",
        lambda bench: _compared(bench, "route"),
        {"ratio_to_1k": 3.0, **_LAG},
    ),
    "cold_10k": Row(
        "10,000 services as JSON → the first full view encoded",
        lambda bench: alone("cold", Size(10_000, replicas=1)),
        {"cpu_s": 8, "rss_mb": 300, **_LAG},
    ),
    "authz_1k": Row(
        "1,000 AuthorizationPolicies for 100 workloads of a namespace → all listeners encoded; then one more",
        lambda bench: alone("authz", Size(100, replicas=1, accounts=100)),
        {"cpu_s": 3, "one_more_cpu_ms": 100},
    ),
    "connect_1k_100": Row(
        "1,000 services, 100 streams connect at once",
        lambda bench: _connect(bench, Size(1000, replicas=100)),
        {"connect_s": 1.5, **_LAG},
    ),
    "connect_10k_1000": Row(
        "10,000 services, 1,000 streams connect at once",
        lambda bench: _connect(bench, Size(10_000, replicas=1000)),
        {"peak_rss_mb": 500, **_LAG},
    ),
    "memory_views": Row(
        "1,000 services, 10 namespaces × 10 service accounts × 10 pods",
        _memory,
        {"of_limit": 1.0, **_LAG},
    ),
    "storm": Row(
        "300 endpoint changes a second for 20 s, 100 streams",
        _storm,
        {"cpu_share": 0.6, "staleness_p99_ms": 250, **_LAG},
    ),
    "envoy_10": Row(
        "10 real Envoys, 200 services in a folder: close of a file → last ACK, against a pump of the same bytes",
        lambda bench: envoys.measure(bench.changes // 5),
        {"ratio": 2.0, **_LAG},
    ),
    "certs": Row(
        "certificates on request (EC), through the certificate service's own path",
        lambda _: alone("certificates", Size(0, replicas=0)),
        {"ms_per_certificate": 0.5},
    ),
    "cluster_load": Row(
        "10,000 Pods, 10,000 EndpointSlices and 2,000 Services of a real API server → the first full view",
        lambda _: cluster.load(),
        {"cpu_s": 8, "rss_mb": 500},
    ),
    "cluster_churn": Row(
        "300 EndpointSlices a second change under a real API server for 20 s, 10 streams",
        lambda bench: cluster.churn(bench.clients),
        {"cpu_share": 0.5, "staleness_p99_ms": 250, **_LAG},
    ),
    "reconnect_tls_1k": Row(
        "200 services, 1,000 clients with TLS and a token each come back at once",
        lambda _: security.reconnect(Size(200, replicas=1000)),
        {"unserved": 0},
    ),
}
QUICK = ("endpoint_1k_100", "route_1k_100")

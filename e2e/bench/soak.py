"""`make soak`: changes, connects and disconnects for MINUTES=30, with a line a minute.

Exit codes: 0 memory stayed flat and lag did not grow; 1 it did not, or something broke.
"""

from __future__ import annotations

import argparse
import asyncio
import math
import os
import random
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from e2e.bench.measure import median, percentile, slope
from e2e.bench.mesh import Size, node_ids
from e2e.bench.processes import BenchError, Fleet, ServerProcess, build_clients, fleet, server

_SIZE = Size(1000, replicas=100)
_CHANGES_PER_SECOND = 20
_RECONNECTS_PER_SECOND = 5
_PROBE_EVERY = 5.0
_WARM_UP = 0.25
"""The share of the time in which memory may still grow: caches fill, the allocator settles."""
_GROWTH = 0.05
"""What memory may grow by over the rest, of what there is."""
_LAG_FACTOR, _LAG_SLACK_MS = 1.5, 10.0


@dataclass(frozen=True, slots=True)
class Sample:
    """What was seen at some time."""

    minute: float
    rss_mb: float
    lag_p99_ms: float
    staleness_ms: float
    """From a change to the last ACK of the clients that were connected throughout; NaN if there was none."""


def growth(samples: Sequence[Sample]) -> float:
    """How much memory grew after warming up, as a share of what there is: by a line through the samples."""
    warm = _warm(samples)
    if len(warm) < 2:
        return 0.0
    minutes = warm[-1].minute - warm[0].minute
    return slope([(s.minute, s.rss_mb) for s in warm]) * minutes / median(s.rss_mb for s in warm)


def lag_grew(samples: Sequence[Sample]) -> bool:
    """Whether the event loop was later at the end than after warming up, by more than noise."""
    warm = _warm(samples)
    third = max(1, len(warm) // 3)
    early, late = (median(s.lag_p99_ms for s in part) for part in (warm[:third], warm[-third:]))
    return late > early * _LAG_FACTOR + _LAG_SLACK_MS


def _warm(samples: Sequence[Sample]) -> Sequence[Sample]:
    return samples[int(len(samples) * _WARM_UP) :]


async def _soak(minutes: float) -> list[Sample]:
    samples: list[Sample] = []
    with tempfile.TemporaryDirectory() as folder:
        program = build_clients(Path(folder))
        async with server(_SIZE) as process, fleet(program, process.port, node_ids(_SIZE)) as clients:
            clients.open(0, _SIZE.proxies)
            await clients.until(lambda: len(clients.ready) == _SIZE.proxies, "all clients to be ready")
            await process.ask("churn", per_second=_CHANGES_PER_SECOND)
            coming_and_going = asyncio.create_task(_come_and_go(clients))
            began = time.monotonic()
            told = 0
            while (elapsed := (time.monotonic() - began) / 60) < minutes:
                samples.append(await _sample(process, clients, elapsed))
                if elapsed >= told + 1:
                    told += 1
                    _tell(told, samples)
                await asyncio.sleep(_PROBE_EVERY)
            coming_and_going.cancel()
            await asyncio.gather(coming_and_going, return_exceptions=True)
    return samples


async def _come_and_go(clients: Fleet) -> None:
    """Clients hang up and come back, a few each second."""
    pick = random.Random(3)  # noqa: S311 - who goes
    while True:
        gone = [
            client for client in pick.sample(range(_SIZE.proxies), _RECONNECTS_PER_SECOND) if client in clients.ready
        ]
        for client in gone:
            clients.close(client, client + 1)
        await asyncio.sleep(0.5)
        for client in gone:
            clients.open(client, client + 1)
        await asyncio.sleep(0.5)


async def _sample(process: ServerProcess, clients: Fleet, minute: float) -> Sample:
    await process.ask("reset")
    clients.forget()
    before = time.monotonic_ns()
    throughout = {client for client, since in clients.ready.items() if since < before}
    probe = await process.ask("probe")
    await asyncio.sleep(0.1)
    nonces = set(probe["nonces"])
    acked: dict[int, int] = {}
    for ack in clients.acks:
        if ack.nonce in nonces:
            acked.setdefault(ack.client, ack.at)
    staleness = [(at - probe["at"]) / 1e6 for client, at in acked.items() if client in throughout]
    seen = await process.ask("statistics")
    return Sample(minute, seen["rss_mb"], percentile(seen["lag"], 0.99), max(staleness, default=float("nan")))


def _tell(minute: int, samples: Sequence[Sample]) -> None:
    recent = [sample for sample in samples if sample.minute >= minute - 1]
    stale = [sample.staleness_ms for sample in recent if not math.isnan(sample.staleness_ms)]
    rss, lag = median(s.rss_mb for s in recent), median(s.lag_p99_ms for s in recent)
    sys.stdout.write(
        f"minute {minute}: rss {rss:.0f} MB, loop lag p99 {lag:.0f} ms, "
        f"staleness p50 {median(stale):.0f} ms, worst {max(stale, default=math.nan):.0f} ms\n"
    )
    sys.stdout.flush()


def main() -> int:
    argparse.ArgumentParser("python -m e2e.bench.soak", description=__doc__).parse_args()
    minutes = float(os.environ.get("MINUTES") or 30)
    try:
        samples = asyncio.run(_soak(minutes))
    except BenchError as error:
        sys.stderr.write(f"soak: {error}\n")
        return 1
    share = growth(samples)
    flat, steady = share <= _GROWTH, not lag_grew(samples)
    sys.stdout.write(
        f"memory {'is flat' if flat else 'GROWS'} ({share:+.1%} after warming up), "
        f"loop lag {'does not grow' if steady else 'GROWS'}\n"
    )
    return 0 if flat and steady else 1


if __name__ == "__main__":
    sys.exit(main())

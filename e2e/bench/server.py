"""The process that is measured: the control plane as it is, a source in memory, and commands on standard input.

Commands and answers are JSON, one a line. The first line is the size of the mesh; its answer says where to connect.
Times are nanoseconds of CLOCK_MONOTONIC.
"""

from __future__ import annotations

import asyncio
import cProfile
import gc
import json
import os
import random
import sys
import time
from collections import deque
from contextlib import suppress
from datetime import UTC, datetime
from itertools import count
from typing import Any

from ca.authority import new_root
from crds.decode import decode_json
from crds.meta import ObjectKey
from dragoman.cli.logs import LogFormat, LogLevel, configure
from dragoman.codec import ENDPOINT, decode
from dragoman.runtime import ControlPlane, garbage
from e2e.bench import mesh
from e2e.bench.lines import answer, commands, obey
from e2e.bench.measure import LoopLag, memory_mb
from e2e.bench.meter import METER, install
from e2e.bench.source import MemorySource

_RESPONSE = "type.googleapis.com/envoy.service.discovery.v3.DeltaDiscoveryResponse"


_CHANGES = 1 << 21
"""After so many changes endpoints are where they were before: addresses have that much room."""
_EXTRAS = 30
"""Services that are there beside the others, while some come and go."""
_PROBE_SECONDS = 1.0


class Server:
    """The control plane and what is asked of it."""

    def __init__(self, size: mesh.Size) -> None:
        self.size = size
        self.source = MemorySource(lambda: mesh.objects(size))
        self.rejections: list[str] = []
        authority = new_root("bench", now=datetime.now(UTC))
        self.plane = ControlPlane(self.source, authority, on_nack=lambda nack: self.rejections.append(str(nack)))
        self.lag = LoopLag()
        self.cpu_at_reset = time.process_time()
        self.changes = 0
        self.background: list[asyncio.Task[None]] = []

    async def start(self) -> dict[str, Any]:
        garbage.look_seldom()  # as `dragoman serve` does
        await self.plane.load()
        port = self.plane.server.listen("127.0.0.1:0")
        await self.plane.start()
        rss, peak = memory_mb()
        return {"port": port, "load_cpu_s": time.process_time(), "rss_mb": rss, "peak_rss_mb": peak}

    # -- commands -----------------------------------------------------------------------------------------------------

    def reset(self) -> dict[str, Any]:
        """Begin to measure."""
        self.lag.forget()
        self.cpu_at_reset = time.process_time()
        METER.messages = METER.bytes = 0
        return {}

    def statistics(self) -> dict[str, Any]:
        """What was measured since `reset`."""
        rss, peak = memory_mb()
        return {
            "cpu_s": time.process_time() - self.cpu_at_reset,
            "messages": METER.messages,
            "bytes": METER.bytes,
            "rss_mb": rss,
            "peak_rss_mb": peak,
            "lag": self.lag.samples,
        }

    def in_sync(self) -> dict[str, Any]:
        """How many streams have ACKed everything, and what was rejected."""
        streams = list(self.plane.server.progress())
        late = sum(not all(stream.types.values()) for stream in streams)
        return {"streams": len(streams), "late": late, "rejections": self.rejections[:3]}

    async def endpoint(self) -> dict[str, Any]:
        """One endpoint of some service moves."""
        self.changes += 1
        return await self._change(decode_json(mesh.endpoints(self.changes * 7 % self.size.services, self.changes)))

    async def route(self) -> dict[str, Any]:
        """The weights of some VirtualService change."""
        self.changes += 1
        number = self.changes * 7 % self.size.virtual_services
        return await self._change(decode_json(mesh.virtual_service(number, self.changes % 90)))

    async def _change(self, obj: Any) -> dict[str, Any]:
        METER.arm()
        cpu, at = time.process_time(), time.monotonic_ns()
        self.source.put(obj)
        await METER.first_write.wait()
        return {"at": at, "first_write_cpu_ms": (METER.first_write_cpu - cpu) * 1000}

    async def storm(self, rate: int, seconds: int) -> dict[str, Any]:
        """Endpoints move at a rate; answers with the changes, and with those that each response carried, by nonce."""
        pick = random.Random(1)  # noqa: S311 - which service changes
        services = [pick.randrange(self.size.services) for _ in range(rate * seconds)]
        first = self.changes + 1
        moved = [decode_json(mesh.endpoints(service, first + i)) for i, service in enumerate(services)]
        gc.collect()
        METER.recorded = {}
        self.reset()
        begin = time.monotonic()
        changes = []
        for i, (service, obj) in enumerate(zip(services, moved, strict=True)):
            await asyncio.sleep(max(0.0, begin + i / rate - time.monotonic()))
            changes.append((first + i, service, time.monotonic_ns()))
            self.source.put(obj)
        measured = self.statistics()
        measured["seconds"] = time.monotonic() - begin
        self.changes += len(changes)
        await asyncio.sleep(1.0)
        recorded, METER.recorded = METER.recorded, None
        return {"changes": changes, "carried": dict(map(carried_changes, recorded.values())), "statistics": measured}

    def churn(self, per_second: int) -> dict[str, Any]:
        """Change things from now on: endpoints move, weights change, services come and go."""
        self.background.append(asyncio.create_task(self._churn(per_second)))
        return {}

    async def _churn(self, per_second: int) -> None:
        pick = random.Random(2)  # noqa: S311 - which object changes
        extras: deque[tuple[ObjectKey, ...]] = deque()
        for number in count():
            await asyncio.sleep(1 / per_second)
            self.changes = self.changes % _CHANGES + 1
            # The first service is the probe's.
            service = pick.randrange(1, self.size.services)
            self.source.put(decode_json(mesh.endpoints(service, self.changes)))
            if number % 10 == 0:
                route = pick.randrange(self.size.virtual_services)
                self.source.put(decode_json(mesh.virtual_service(route, pick.randrange(90))))
            if number % per_second == 0:
                new = [decode_json(document) for document in mesh.passing_service(number // per_second)]
                self.source.put(*new)
                extras.append(tuple(obj.key for obj in new))
                if len(extras) > _EXTRAS:
                    self.source.remove(*extras.popleft())

    async def probe(self) -> dict[str, Any]:
        """One endpoint moves; when, and the nonces of the responses that said so."""
        self.changes = self.changes % _CHANGES + 1
        change, at = self.changes, time.monotonic_ns()
        METER.recorded = {}
        self.source.put(decode_json(mesh.endpoints(0, change)))
        await asyncio.sleep(_PROBE_SECONDS)
        recorded, METER.recorded = METER.recorded, None
        carried = map(carried_changes, recorded.values())
        return {"at": at, "nonces": [nonce for nonce, changes in carried if change in changes]}


def carried_changes(data: bytes) -> tuple[str, list[int]]:
    """The nonce of a response, and the changes that its endpoints come from."""
    response: Any = decode(_RESPONSE, data)
    found = []
    if response.type_url == ENDPOINT:
        for resource in response.resources:
            assignment: Any = decode(ENDPOINT, resource.resource.value)
            for locality in assignment.endpoints:
                for entry in locality.lb_endpoints:
                    change = mesh.change_of(entry.endpoint.address.socket_address.address)
                    if change is not None:
                        found.append(change)
    return response.nonce, found


async def _serve(profiler: cProfile.Profile | None) -> None:
    lines = await commands()
    server = Server(mesh.Size(**json.loads(await lines.readline())))
    answer(await server.start())
    if profiler is not None:
        profiler.enable()
    async with asyncio.TaskGroup() as tasks:
        running = [tasks.create_task(server.plane.run()), tasks.create_task(server.lag.run())]
        await obey(lines, server)
        for task in (*running, *server.background):
            task.cancel()


if __name__ == "__main__":
    # As `dragoman serve` logs, but standard output is taken.
    configure(LogFormat.json, LogLevel.info, sys.stderr)
    install()
    profile = os.environ.get("BENCH_PROFILE")
    profiler = cProfile.Profile() if profile else None
    with suppress(asyncio.CancelledError):
        asyncio.run(_serve(profiler))
    if profiler is not None:
        profiler.dump_stats(profile)  # type: ignore[arg-type]

"""The floor: a gRPC server that does nothing but hand the same bytes to all streams and read their ACKs.

Speaks with the benchmark as `server` does. What it sends is a DeltaDiscoveryResponse of one opaque resource.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any

import grpc

from dragoman.codec import ENDPOINT, frame
from e2e.bench.lines import answer, commands, obey
from xds import Limits


class Bare:
    """Streams that are written to all at once."""

    def __init__(self) -> None:
        self._contexts: list[Any] = []
        self._news = asyncio.Event()
        self._number = 0
        handler = grpc.stream_stream_rpc_method_handler(self._serve)
        self._server = grpc.aio.server(options=Limits().options())
        self._server.add_generic_rpc_handlers(
            (
                grpc.method_handlers_generic_handler(
                    "envoy.service.discovery.v3.AggregatedDiscoveryService", {"DeltaAggregatedResources": handler}
                ),
            )
        )

    async def start(self) -> dict[str, Any]:
        port = self._server.add_insecure_port("127.0.0.1:0")
        await self._server.start()
        return {"port": port}

    async def _serve(self, _requests: object, context: Any) -> None:
        self._contexts.append(context)
        self._news.set()
        while isinstance(await context.read(), bytes):
            pass

    async def connected(self, streams: int) -> dict[str, Any]:
        """Wait for streams."""
        while len(self._contexts) < streams:
            self._news.clear()
            await self._news.wait()
        return {}

    async def send(self, size: int) -> dict[str, Any]:
        """Write a response of `size` bytes to every stream."""
        self._number += 1
        nonce = str(self._number).encode()
        head = frame(4, ENDPOINT.encode()) + frame(5, nonce)
        data = head + frame(2, bytes(max(size - len(head) - 5, 1)))
        cpu, at = time.process_time(), time.monotonic_ns()
        await asyncio.gather(*(context.write(data) for context in self._contexts))
        await asyncio.sleep(0.05)
        return {"at": at, "cpu_ms": (time.process_time() - cpu) * 1000}


async def _main() -> None:
    lines = await commands()
    bare = Bare()
    await lines.readline()
    answer(await bare.start())
    await obey(lines, bare)


if __name__ == "__main__":
    asyncio.run(_main())

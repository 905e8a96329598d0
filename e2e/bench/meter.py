"""What goes out and comes in, seen where it passes between the control plane and gRPC."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import xds.server
from xds.connection import Connection


class Meter:
    """Counts what all streams are sent."""

    def __init__(self) -> None:
        self.messages = 0
        self.bytes = 0
        self.first_write = asyncio.Event()
        self.first_write_cpu = 0.0
        """CPU seconds of the process (all threads) when the first response since `arm` was handed over."""
        self.recorded: dict[int, bytes] | None = None
        """Every distinct response by identity, while they are recorded."""
        self.contexts: dict[MeteredContext, None] = {}
        """The open streams."""

    def arm(self) -> None:
        """Wait for the first response from now on."""
        self.first_write.clear()

    def wrote(self, data: bytes) -> None:
        if not self.first_write.is_set():
            self.first_write_cpu = time.process_time()
            self.first_write.set()
        self.messages += 1
        self.bytes += len(data)
        if self.recorded is not None:
            self.recorded[id(data)] = data


METER = Meter()


class MeteredContext:
    """gRPC's context, watched."""

    def __init__(self, context: Any) -> None:
        self._context = context
        self.read_at: list[int] = []
        """When requests came since `forget`, if that was called: nanoseconds of CLOCK_MONOTONIC."""
        self._listening = False
        METER.contexts[self] = None
        context.add_done_callback(lambda _: METER.contexts.pop(self, None))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._context, name)

    def forget(self) -> None:
        """Note from now on when requests come."""
        self._listening = True
        self.read_at.clear()

    async def write(self, data: bytes) -> None:
        METER.wrote(data)
        await self._context.write(data)

    async def read(self) -> Any:
        data = await self._context.read()
        if self._listening:
            self.read_at.append(time.monotonic_ns())
        return data


class _MeteredConnection(Connection):
    def __init__(self, number: int, context: Any, *arguments: Any, **options: Any) -> None:
        super().__init__(number, MeteredContext(context), *arguments, **options)  # type: ignore[arg-type]


def install() -> None:
    """Have all servers of this process watched."""
    xds.server.Connection = _MeteredConnection  # type: ignore[attr-defined]

"""How long a change takes: from the write of a file to the last ACK of a proxy, and to what a customer sees of it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from xds import XdsServer

_POLL_SECONDS = 0.001
_PATIENCE_SECONDS = 60.0


class NoEffectError(RuntimeError):
    """A change was not delivered, or had no effect, in time."""


@dataclass(frozen=True, slots=True)
class Delivery:
    """Seconds after the write at which the last proxy had ACKed the change, and at which it was first seen."""

    last_ack: float
    first_effect: float

    def __str__(self) -> str:
        return f"last ACK {milliseconds(self.last_ack)}, first effect {milliseconds(self.first_effect)}"


def milliseconds(seconds: float) -> str:
    """As people read it: tenths below 10 ms, else whole ones."""
    return f"{seconds * 1000:.{1 if seconds < 0.01 else 0}f} ms"


async def delivery(written: float, server: XdsServer, effect: Callable[[], Awaitable[float | None]]) -> Delivery:
    """Follow a change that was written at `written` (`time.monotonic`).

    `effect` looks once, and returns when the effect was seen if it was. Raises `NoEffectError` when nothing was seen,
    or some proxy is not in sync, or none was sent anything, within seconds that no delivery takes.
    """
    try:
        async with asyncio.timeout(_PATIENCE_SECONDS):
            # What a customer sees has no event to wait for.
            while (seen := await effect()) is None:  # noqa: ASYNC110
                await asyncio.sleep(_POLL_SECONDS)
    except TimeoutError:
        raise NoEffectError(f"nothing was seen of the change within {_PATIENCE_SECONDS:.0f} s") from None
    return Delivery(await last_ack(written, server) - written, seen - written)


async def last_ack(since: float, server: XdsServer) -> float:
    """When the last ACK after `since` came, once every proxy is in sync again. Raises `NoEffectError`.

    To be asked when the effect was seen: before, proxies are in sync with what is to be replaced.
    """
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while time.monotonic() < deadline:
        types = [status for connection in server.connections() for status in connection.types]
        last = max((status.acked_at for status in types if status.acked_at is not None), default=0.0)
        if last >= since and all(status.in_sync for status in types):
            return last
        await asyncio.sleep(_POLL_SECONDS)
    raise NoEffectError(f"not every proxy has ACKed the change within {_PATIENCE_SECONDS:.0f} s")

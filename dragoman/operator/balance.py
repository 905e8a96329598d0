"""Streams spread over the replicas that there are.

A stream stays where it began. So a replica that came has nothing to do while others have much, until the streams' age
ends them half an hour later. What a replica serves beyond its share it ends, the longest connected first and some a
second: their proxies connect anew, most of them to another replica, and nothing is sent twice that they have. Nobody is
turned away: a share is a wish, while a quota (`--max-streams`) is a limit.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final

import structlog

from dragoman.operator.replicas import Replicas
from xds import XdsServer

log = structlog.get_logger(__name__)

SLACK: Final = 1.2
"""How far beyond the average a replica may be: load balancers are no fairer than that."""
FEW: Final = 10
"""Streams that are not worth a reconnect."""

EVERY: Final = 10.0
"""Seconds between two looks, in which those that were ended have connected again and are counted where they are."""


def share(own: int, others: Sequence[int]) -> int | None:
    """The streams that a replica should keep of its own; None for all of them."""
    if not others:
        return None
    average = (own + sum(others)) / (1 + len(others))
    return round(average) if own > max(average * SLACK, average + FEW) else None


class Balance:
    """Compares with what the other replicas tell."""

    def __init__(self, replicas: Replicas, server: XdsServer, every: float = EVERY) -> None:
        self._replicas = replicas
        self._server = server
        self._every = every

    async def run(self) -> None:
        """Keep to the share until cancelled."""
        while True:
            await asyncio.sleep(self._every)
            own = self._server.streams
            keep = share(own, self._replicas.streams())
            if keep is not None:
                log.info("streams go to other replicas", streams=own, keep=keep)
                self._server.shed(keep)

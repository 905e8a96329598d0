"""What a control plane does beside serving proxies when it runs in a cluster: one task for each duty."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterator
from dataclasses import dataclass
from typing import Any

from dragoman.kube import Cluster
from dragoman.runtime import ControlPlane


@dataclass(frozen=True, slots=True)
class OperatorSettings:
    """Which control plane of the cluster this is, and which of its replicas."""

    namespace: str
    """Where the control plane runs and keeps what is its own."""
    replica: str
    """This process, by a name that no other has: the holder of Leases."""
    revision: str = "default"


class Operator:
    """The duties of a control plane towards the cluster that it serves.

    Each task sees to its own failures: an API server that is away, or that forbids something, ends none of them.
    """

    def __init__(self, cluster: Cluster, plane: ControlPlane, settings: OperatorSettings) -> None:
        self.cluster = cluster
        self.plane = plane
        self.settings = settings

    async def run(self) -> None:
        """Do everything until cancelled; begins when the control plane has loaded."""
        async with asyncio.TaskGroup() as tasks:
            for duty in self._duties():
                tasks.create_task(duty)

    def _duties(self) -> Iterator[Coroutine[Any, Any, None]]:
        yield from ()

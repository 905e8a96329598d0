"""The election against a real API server: hand-over, silence, and an answer that never comes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from dragoman.kube import ApiError, Cluster
from dragoman.kube.resources import LEASES
from dragoman.operator.candidate import Timing
from dragoman.operator.election import LEASE, Election
from tests.support.api_server import ApiServer
from tests.support.until import until

pytestmark = pytest.mark.real_api

QUICK = Timing(duration=3.0, retry=0.3)
NEVER_EXPIRES = Timing(duration=600.0, retry=300.0)
"""Nor is there a try to wait for: what is let go is taken over because it is heard of."""


class Replica:
    """A candidate whose duty is to say when it works."""

    def __init__(self, cluster: Cluster, namespace: str, name: str, timing: Timing) -> None:
        self.election = Election(cluster, namespace, name, timing)
        self.election.add(self._work)
        self.working = asyncio.Event()
        self.stopped = asyncio.Event()
        self.task = asyncio.create_task(self.election.run())

    async def _work(self) -> None:
        self.working.set()
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            self.working.clear()
            self.stopped.set()

    async def works(self) -> None:
        async with asyncio.timeout(60):
            await self.working.wait()

    async def stop(self) -> None:
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)


@asynccontextmanager
async def replicas(
    cluster: Cluster, namespace: str, *names: str, timing: Timing = QUICK
) -> AsyncIterator[list[Replica]]:
    made: list[Replica] = []
    try:
        for name in names:
            made.append(Replica(cluster, namespace, name, timing))
            if len(made) == 1:
                await made[0].works()
        yield made
    finally:
        for replica in made:
            await replica.stop()


async def test_who_stops_hands_over_without_a_wait_for_the_end_of_its_lease(cluster: Cluster, namespace: str) -> None:
    async with replicas(cluster, namespace, "first", "second", timing=NEVER_EXPIRES) as (first, second):
        lease = await cluster.get(LEASES, LEASE, namespace)
        assert lease["spec"]["holderIdentity"] == "first"
        assert not second.election.leads
        await until(lambda: second.election.leader == "first")
        await first.stop()
        assert not first.election.leads
        await second.works()
        lease = await cluster.get(LEASES, LEASE, namespace)
        assert (lease["spec"]["holderIdentity"], lease["spec"]["leaseTransitions"]) == ("second", 1)
        assert lease["spec"]["acquireTime"]


class Cut(Cluster):
    """A connection that a test cuts."""

    cut = False

    async def request(self, *args: Any, **options: Any) -> bytes:
        if self.cut:
            raise ApiError(0, "Unreachable", "cut")
        return await super().request(*args, **options)


async def test_who_is_cut_off_stops_before_another_begins(
    cluster: Cluster, namespace: str, api_server: ApiServer
) -> None:
    async with await Cut.connect(api_server.kubeconfig) as cut, replicas(cut, namespace, "first") as (first,):
        second = Replica(cluster, namespace, "second", QUICK)
        try:
            cut.cut = True
            second.working.clear()
            async with asyncio.timeout(60):
                await first.stopped.wait()
            assert not second.working.is_set()
            await second.works()
            cut.cut = False
            assert not first.working.is_set()
        finally:
            await second.stop()
        await first.works()


async def test_a_deleted_lease_is_made_anew(cluster: Cluster, namespace: str) -> None:
    async with replicas(cluster, namespace, "first") as (first,):
        await cluster.delete(LEASES, LEASE, namespace)
        async with asyncio.timeout(60):
            await first.stopped.wait()
        await first.works()
        assert first.election.leads


async def test_what_the_work_raises_is_not_lost(cluster: Cluster, namespace: str) -> None:
    async def broken() -> None:
        raise ZeroDivisionError

    election = Election(cluster, namespace, "only", QUICK)
    election.add(broken)
    with pytest.raises(ExceptionGroup) as raised:
        async with asyncio.timeout(60):
            await election.run()
    assert raised.group_contains(ZeroDivisionError)

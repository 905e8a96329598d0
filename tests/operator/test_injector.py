"""How to inject, as a real API server says."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from crds.problem import Invalid
from dragoman.engine import Graph
from dragoman.kube import Cluster
from dragoman.operator.injector import Injector
from tests.support.api_server import ApiServer

pytestmark = pytest.mark.real_api


@asynccontextmanager
async def following(cluster: Cluster, namespace: str) -> AsyncIterator[Injector]:
    injector = Injector(cluster, Graph(), namespace, "canary")
    task = asyncio.create_task(injector.run())
    try:
        yield injector
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_without_a_config_map_there_are_defaults_for_our_revision(cluster: Cluster, namespace: str) -> None:
    async with following(cluster, namespace) as injector, asyncio.timeout(60):
        first = await injector.settings()
        assert (first.revision, first.policy) == ("canary", "enabled")
        assert await injector.settings() is first


async def test_where_it_may_not_be_read_pods_are_told_so_rather_than_kept_waiting(
    api_server: ApiServer, namespace: str
) -> None:
    async with (
        await Cluster.connect(api_server.user("nobody-in-particular")) as cluster,
        following(cluster, namespace) as injector,
        asyncio.timeout(60),
    ):
        with pytest.raises(Invalid) as caught:
            await injector.settings()
    (problem,) = caught.value.problems
    assert problem.code == "DRG0702"
    assert "forbidden" in problem.message
    assert f"{namespace}/istio-sidecar-injector-canary" in problem.remedy

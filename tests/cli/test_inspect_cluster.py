"""The same commands against a cluster: a real API server, whose pods are control planes of this machine."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import NamedTuple

import pytest
from typer.testing import Result

from dragoman.kube.cluster import Cluster
from tests.cli.cli_runs import run
from tests.debug.debug_proxy import proxy_at
from tests.debug.running_plane import CART, WEB, RunningPlane, running_plane, until
from tests.support.api_server import ApiServer
from tests.support.stream_kubelet import StreamKubelet, stream_kubelet

pytestmark = pytest.mark.real_api


class Installed(NamedTuple):
    """Two replicas in `namespace`; web is connected to the first, cart to the second."""

    namespace: str
    kubeconfig: Path
    planes: tuple[RunningPlane, RunningPlane]
    kubelet: StreamKubelet

    async def run(self, *arguments: str) -> Result:
        where = ("--kubeconfig", str(self.kubeconfig), "-i", self.namespace)
        return await asyncio.to_thread(run, *arguments, *where)


@pytest.fixture
async def installed(
    api_server: ApiServer, cluster: Cluster, namespace: str, tmp_path: Path
) -> AsyncIterator[Installed]:
    async with AsyncExitStack() as stack:
        kubelet = await stack.enter_async_context(stream_kubelet(cluster, tmp_path, f"node-{namespace}"))
        planes = []
        for number, (node, revision) in enumerate(((WEB, "default"), (CART, "canary"))):
            folder = tmp_path / str(number)
            folder.mkdir()
            plane = await stack.enter_async_context(running_plane(folder))
            await stack.enter_async_context(proxy_at(plane.xds_port, node))
            await until(plane.all_in_sync)
            labels = {"app": "istiod", "istio.io/rev": revision}
            await kubelet.pod(namespace, f"istiod-{number}", labels=labels, ports={15014: plane.http_port})
            planes.append(plane)
        yield Installed(namespace, api_server.kubeconfig, (planes[0], planes[1]), kubelet)


def lines(result: Result) -> list[list[str]]:
    assert result.exit_code == 0, result.output
    return [line.split() for line in result.stdout.splitlines()]


async def test_all_replicas_are_one_answer(installed: Installed) -> None:
    both = lines(await installed.run("proxy-status"))
    of_one = lines(await installed.run("proxy-status", "-r", "canary"))
    assert [(line[0], line[-3]) for line in both[1:]] == [("cart-1.shop", "istiod-1"), ("web-1.shop", "istiod-0")]
    assert [line[0] for line in of_one[1:]] == ["cart-1.shop"]


async def test_the_replica_that_a_proxy_is_connected_to_says_what_it_has(installed: Installed) -> None:
    for proxy, replica in (("web-1", "istiod-0"), ("cart-1", "istiod-1")):
        result = await installed.run("proxy-config", "clusters", proxy, "-n", "shop", "--direction", "outbound")
        assert lines(result)[1:] == [["web.shop.svc.cluster.local", "8080", "-", "outbound", "EDS", "web.shop"]]
        assert f"from what {replica} serves {proxy}.shop" in result.stderr


async def test_a_replica_that_does_not_answer_is_told_of_and_the_others_are_shown(installed: Installed) -> None:
    del installed.kubelet.ports[installed.namespace, "istiod-1", 15014]
    result = await installed.run("proxy-status")
    assert [line[0] for line in lines(result)[1:]] == ["web-1.shop"]
    assert "not all replicas are in what follows: istiod-1: an error occurred forwarding 15014" in result.stderr


async def test_no_control_plane_there_is_1_and_says_where_it_was_looked_for(
    api_server: ApiServer, namespace: str
) -> None:
    where = ("--kubeconfig", str(api_server.kubeconfig), "-i", namespace)
    result = await asyncio.to_thread(run, "proxy-status", *where)
    assert result.exit_code == 1
    assert f"no pod app=istiod runs in namespace {namespace} of {api_server.server}" in result.stderr
    refused = await asyncio.to_thread(run, "proxy-status", "--kubeconfig", str(api_server.user("nobody")))
    assert refused.exit_code == 1
    assert "forbidden" in refused.stderr


async def test_an_address_and_a_cluster_are_not_both_meant(installed: Installed) -> None:
    result = await installed.run("proxy-status", "--http-address", "127.0.0.1:15014")
    assert result.exit_code == 2
    assert "say either" in result.output

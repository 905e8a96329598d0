"""The same commands against a cluster: a real API server, whose pods are control planes of this machine."""

import asyncio
import json
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import NamedTuple

import aiohttp
import pytest
import typer
import yaml
from typer.testing import Result

from dragoman.cli.inspect.completion import complete_proxy, complete_service
from dragoman.cli.main import app
from dragoman.kube.cluster import Cluster
from tests.cli.cli_runs import run
from tests.cli.test_bug_report import unpacked
from tests.debug.debug_proxy import proxy_at
from tests.debug.running_plane import CART, WEB, RunningPlane, running_plane
from tests.support.api_server import ApiServer
from tests.support.stream_kubelet import StreamKubelet, stream_kubelet
from tests.support.until import until

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


async def test_versions_of_all(installed: Installed) -> None:
    found = json.loads((await installed.run("version", "-o", "json")).stdout)
    assert [each["replica"] for each in found["controlPlane"]] == ["istiod-0", "istiod-1"]
    assert {each["version"] for each in found["controlPlane"]} == {found["dragoman"]}
    assert found["dataPlane"] == [{"version": "envoy 0.0.0", "proxies": 2}]


async def test_a_pod_is_described_by_the_replica_that_knows_its_proxy(installed: Installed) -> None:
    for pod, replica in (("web-1", "istiod-0"), ("cart-1", "istiod-1")):
        told = (await installed.run("describe", "pod", pod, "-n", "shop")).stdout
        assert f"sidecar, connected to {replica}" in told


async def test_pods_are_offered_to_shells(installed: Installed) -> None:
    context = typer.Context(typer.main.get_command(app), info_name="x")
    context.params = {"kubeconfig": installed.kubeconfig, "namespace": installed.namespace, "context": None}
    assert await asyncio.to_thread(complete_proxy, context, "istiod-") == ["istiod-0", "istiod-1"]
    assert await asyncio.to_thread(complete_proxy, context, "none") == []
    context.params = {"http_address": f"127.0.0.1:{installed.planes[0].http_port}"}
    assert await asyncio.to_thread(complete_proxy, context, "w") == ["web-1.shop"]
    assert await asyncio.to_thread(complete_service, context, "") == ["web.shop"]
    context.params = {"http_address": "nonsense"}
    assert await asyncio.to_thread(complete_proxy, context, "w") == []


async def test_a_report_of_a_cluster_has_its_objects_and_logs(installed: Installed, tmp_path: Path) -> None:
    installed.kubelet.logs[installed.namespace, "istiod-0", "app"] = "started\nAuthorization: Bearer abcdefghijkl\n"
    archive = tmp_path / "report.tar.gz"
    result = await installed.run("bug-report", "-f", str(archive), "--tail", "5")
    assert result.exit_code == 0, result.output
    files = unpacked(archive)
    assert files["control-plane/istiod-0/app.log"] == "started\nAuthorization: Bearer [redacted]\n"
    assert "control-plane/istiod-1/app.log: the server could not find" in files["problems.txt"]
    assert {"web-1.shop", "cart-1.shop"} == {name.split("/")[1] for name in files if name.startswith("proxies/")}
    pods = yaml.safe_load(files["cluster/pods.yaml"])
    assert [pod["metadata"]["name"] for pod in pods] == ["istiod-0", "istiod-1"]
    assert {"cluster/version.json", "cluster/events.yaml", "cluster/configmaps.yaml"} <= files.keys()
    assert not any("secret" in name for name in files)


async def test_the_pages_of_a_pod_on_a_port_of_this_machine(installed: Installed) -> None:
    where = ("--kubeconfig", str(installed.kubeconfig), "-i", installed.namespace, "--no-browser")
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", "from dragoman.cli.main import main; main()", "dashboard", "istiod", *where),
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        assert process.stdout is not None
        async with asyncio.timeout(120):
            url = (await process.stdout.readline()).decode().strip()
        async with aiohttp.ClientSession() as session, session.get(url) as response:
            assert "/debug/syncz" in await response.text()
    finally:
        process.send_signal(signal.SIGINT)
    async with asyncio.timeout(120):
        assert await process.wait() == 0
    lacking = await installed.run("dashboard", "grafana")
    assert lacking.exit_code == 1
    assert f"no pod app.kubernetes.io/name=grafana runs in namespace {installed.namespace}" in lacking.stderr


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

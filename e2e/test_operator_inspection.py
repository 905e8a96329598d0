"""The command line looks into an installed operator: real replicas, real Envoys in pods, by the API server alone."""

import json
import tarfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
import yaml

from dragoman.cli.inspect.comparison import SECTIONS
from dragoman.kube.resources import NODES
from e2e.harness.kubelet.streams import streams
from e2e.harness.kubernetes import Kubernetes
from e2e.operator_shop import DRAGOMAN, deployment, install

pytestmark = [
    pytest.mark.real_api,
    pytest.mark.netns,
    pytest.mark.envoy,
    pytest.mark.asyncio(loop_scope="module"),
]

POLICY = """
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: readers}
spec: {selector: {matchLabels: {app: server}}, rules: [{to: [{operation: {methods: [GET]}}]}]}
"""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def kubernetes(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Kubernetes]:
    """A cluster with two replicas, and a server and a client with sidecars."""
    async with Kubernetes.running() as running:
        node = await running.until(NODES, "node-a", None, lambda node: "status" in node)
        folder = tmp_path_factory.mktemp("kubelet")
        async with streams(running.cluster, running.kubelet, running.pods, node["metadata"]["name"], folder):
            await install(running)
            await running.apply(
                "{apiVersion: v1, kind: Namespace, metadata: {name: shop, labels: {istio-injection: enabled}}}"
            )
            await running.apply(deployment("server") + deployment("client") + POLICY, "shop")
            for each in ("server-v1", "client-v1"):
                await running.rolled_out(each, "shop", seconds=120)
            yield running


def pod(kubernetes: Kubernetes, app: str) -> str:
    (found,) = kubernetes.running_pods("shop", app=app)
    return str(found["metadata"]["name"])


async def test_every_proxy_is_in_sync_with_some_replica(kubernetes: Kubernetes) -> None:
    replicas = {each["metadata"]["name"] for each in kubernetes.running_pods("istio-system", app="istiod")}
    found = json.loads(await kubernetes.program(DRAGOMAN, "proxy-status", "-o", "json"))
    assert {status["proxy"] for status in found} == {f"{pod(kubernetes, app)}.shop" for app in ("server", "client")}
    assert {status["istiod"] for status in found} <= replicas
    version = await kubernetes.program(DRAGOMAN, "version")
    assert all(f": {replica}\n" in version for replica in replicas)
    assert "data plane envoy 1.40.0: 2 proxies" in version


async def test_what_the_envoy_in_a_pod_has_is_what_it_is_served(kubernetes: Kubernetes) -> None:
    server = pod(kubernetes, "server")
    # It ends with an exit code of its own where anything differs.
    compared = await kubernetes.program(DRAGOMAN, "proxy-status", server, "-n", "shop")
    assert [line for line in compared.splitlines() if line.endswith(" Match")] == [
        f"{section.capitalize()} Match" for section in SECTIONS
    ]
    served = await kubernetes.program(DRAGOMAN, "authz", "check", server, "-n", "shop")
    had = await kubernetes.program(DRAGOMAN, "authz", "check", server, "-n", "shop", "--from", "proxy")
    assert served.split() == had.split()
    assert "readers.shop" in served
    bootstrap = await kubernetes.program(DRAGOMAN, "proxy-config", "bootstrap", f"{server}.shop")
    assert json.loads(bootstrap)["bootstrap"]["node"]["id"].startswith("sidecar~")


async def test_a_pod_is_described(kubernetes: Kubernetes) -> None:
    told = await kubernetes.program(DRAGOMAN, "describe", "pod", pod(kubernetes, "server"), "-n", "shop")
    assert "ALLOW AuthorizationPolicy shop/readers, 1 rule" in told
    assert "Service server.shop" in told
    assert "1 speak mutual TLS" in told


async def test_a_report_of_everything(kubernetes: Kubernetes, tmp_path: Path) -> None:
    archive = tmp_path / "report.tar.gz"
    await kubernetes.program(DRAGOMAN, "bug-report", "-f", archive)
    with tarfile.open(archive) as tar:
        files = {
            member.name.partition("/")[2]: file.read().decode()
            for member in tar.getmembers()
            if (file := tar.extractfile(member)) is not None
        }
    assert files["problems.txt"] == ""
    server = f"proxies/{pod(kubernetes, 'server')}.shop"
    assert {f"{server}/envoy/config_dump", f"{server}/istio-proxy.log", "cluster/leases.yaml"} <= files.keys()
    assert [name for name in files if name.startswith("control-plane/") and name.endswith("discovery.log")]
    # Of their own pods, no key and no token; nor of the control plane, which has both.
    assert not [name for name, text in files.items() if "PRIVATE KEY" in text or "eyJhbGciOi" in text]
    assert yaml.safe_load(files["cluster/pods.yaml"])

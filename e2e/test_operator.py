"""The operator in a cluster: installed by one command, with real pods, Envoys and traffic, until it is uninstalled.

The tests of this file are the steps of one story, in their order.
"""

import functools
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from dragoman.kube import resources
from e2e.harness import Client, Outcome, eventually, failing
from e2e.harness.kubernetes import Kubernetes
from e2e.operator_shop import DRAGOMAN, canary, deployment, install, loaded, pods_gone, statistics
from tests.support.api_server_credentials import ClusterCA

pytestmark = [
    pytest.mark.real_api,
    pytest.mark.netns,
    pytest.mark.envoy,
    pytest.mark.asyncio(loop_scope="module"),
]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def kubernetes() -> AsyncIterator[Kubernetes]:
    """One cluster for the whole story."""
    async with Kubernetes.running() as running:
        yield running


async def test_one_command_installs_it(kubernetes: Kubernetes) -> None:
    gateway = "gateways.istio-ingressgateway"
    one = (f"{gateway}.autoscaling.enabled=false", f"{gateway}.replicaCount=1", f"{gateway}.service.type=ClusterIP")
    await install(kubernetes, *one)
    for name in ("istiod", "istio-ingressgateway"):
        assert await kubernetes.is_rolled_out(name, "istio-system"), f"{name} was not waited for"
    await kubernetes.pods.caught_up()
    assert len(kubernetes.running_pods("istio-system", app="istiod")) == 2


async def test_pods_of_a_labelled_namespace_get_sidecars(kubernetes: Kubernetes) -> None:
    await kubernetes.apply("""
{apiVersion: v1, kind: Namespace, metadata: {name: shop, labels: {istio-injection: enabled}}}
---
{apiVersion: v1, kind: Namespace, metadata: {name: outside}}
""")
    await kubernetes.apply(deployment("server") + deployment("client"), "shop")
    await kubernetes.apply(deployment("stranger"), "outside")
    for name, namespace in (("server-v1", "shop"), ("client-v1", "shop"), ("stranger-v1", "outside")):
        await kubernetes.rolled_out(name, namespace)
    (server,) = kubernetes.running_pods("shop", app="server")
    (stranger,) = kubernetes.running_pods("outside", app="stranger")
    assert [each["name"] for each in server["spec"]["initContainers"]] == ["istio-init", "istio-proxy"]
    assert "initContainers" not in stranger["spec"]


async def test_traffic_is_mutual_tls(kubernetes: Kubernetes) -> None:
    (client,) = kubernetes.running_pods("shop", app="client")
    (stranger,) = kubernetes.running_pods("outside", app="stranger")
    answer = await eventually(
        lambda: kubernetes.client(client).http("http://server:8080/"),
        # Without, it was passed through: by an Envoy that has not heard of the server yet.
        lambda answer: answer.status == 200 and "x-forwarded-client-cert" in answer.echo.headers,
    )
    assert answer.echo.peer == "127.0.0.6"
    assert "URI=spiffe://cluster.local/ns/shop/sa/client" in answer.echo.headers["x-forwarded-client-cert"]
    url = "http://server.shop:8080/"
    # By another way: the node knows the Service's endpoints at its own time.
    await eventually(lambda: kubernetes.client(stranger).http(url), lambda answer: answer.status == 200, steady=0)
    await kubernetes.apply("""
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: default, namespace: istio-system}
spec: {mtls: {mode: STRICT}}
""")
    # Envoy still serves connections that were open, and a stranger has none.
    assert await eventually(lambda: failing(kubernetes.client(stranger).http(url)), lambda error: error is not None)
    assert (await kubernetes.client(client).http(url)).status == 200


async def test_a_gateway_lets_in_who_is_outside(kubernetes: Kubernetes) -> None:
    await kubernetes.apply(
        """
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: front}
spec:
  selector: {istio: ingressgateway}
  servers: [{port: {number: 80, name: http, protocol: HTTP}, hosts: [shop.example]}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: front}
spec:
  hosts: [shop.example]
  gateways: [front]
  http: [{route: [{destination: {host: server}}]}]
---
apiVersion: networking.k8s.io/v1
kind: IngressClass
metadata: {name: istio}
spec: {controller: istio.io/ingress-controller}
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: side}
spec:
  ingressClassName: istio
  rules:
  - host: side.example
    http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: server, port: {number: 8080}}}}]}
""",
        "shop",
    )
    (stranger,) = kubernetes.running_pods("outside", app="stranger")
    client = kubernetes.client(stranger)
    for host in ("shop.example", "side.example"):
        ask = functools.partial(client.http, "http://istio-ingressgateway.istio-system/", headers={"host": host})
        answer = await eventually(ask, lambda answer: answer.status == 200)
        assert answer.echo.workload == "server"
        gateway = "URI=spiffe://cluster.local/ns/istio-system/sa/istio-ingressgateway"
        assert gateway in answer.echo.headers["x-forwarded-client-cert"]


async def test_a_gateway_ends_tls_with_a_secret_of_the_cluster(kubernetes: Kubernetes, tmp_path: Path) -> None:
    certificate, key = ClusterCA(tmp_path).serving("shop.example", ["shop.example"])
    files = {"tls.crt": certificate.read_text(), "tls.key": key.read_text()}
    secret = {"apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/tls", "stringData": files}
    await kubernetes.apply([{**secret, "metadata": {"name": "shop-certificate"}}], "istio-system")
    await kubernetes.apply(
        """
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: front}
spec:
  selector: {istio: ingressgateway}
  servers:
  - {port: {number: 80, name: http, protocol: HTTP}, hosts: [shop.example]}
  - port: {number: 443, name: https, protocol: HTTPS}
    hosts: [shop.example]
    tls: {mode: SIMPLE, credentialName: shop-certificate}
""",
        "shop",
    )
    trust = ssl.create_default_context(cafile=str(tmp_path / "ca.crt"))
    (stranger,) = kubernetes.running_pods("outside", app="stranger")
    (gateway,) = kubernetes.running_pods("istio-system", istio="ingressgateway")
    client = Client(kubernetes.client(stranger).namespace, lambda name: str(gateway["status"]["podIP"]))
    answer = await eventually(
        lambda: client.http("https://shop.example/", tls=trust), lambda answer: answer.status == 200
    )
    assert answer.echo.workload == "server"
    await kubernetes.cluster.delete(resources.SECRETS, "shop-certificate", "istio-system")


async def test_a_canary_takes_its_share(kubernetes: Kubernetes) -> None:
    await kubernetes.apply(deployment("server", "v2"), "shop")
    await kubernetes.rolled_out("server-v2", "shop")
    await kubernetes.apply(
        """
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: server}
spec:
  host: server
  subsets: [{name: v1, labels: {version: v1}}, {name: v2, labels: {version: v2}}]
""",
        "shop",
    )
    await kubernetes.apply(canary(0), "shop")
    (client,) = kubernetes.running_pods("shop", app="client")
    async with kubernetes.client(client).traffic("http://server:8080/", per_second=30) as traffic:
        await traffic.until(lambda outcome: outcome.answer is not None and outcome.answer.echo.version == "v1")
        await kubernetes.apply(canary(100), "shop")
        in_a_row = 0

        def all_of_them(outcome: Outcome) -> bool:
            nonlocal in_a_row
            of_second = outcome.answer is not None and outcome.answer.echo.version == "v2"
            in_a_row = in_a_row + 1 if of_second else 0
            return in_a_row == 20

        await traffic.until(all_of_them)
        await kubernetes.apply(canary(50), "shop")
        # The first of the others says that it is in force.
        await traffic.until(lambda outcome: outcome.answer is not None and outcome.answer.echo.version == "v1")
        versions = [outcome.answer.echo.version for outcome in await traffic.more(100) if outcome.answer is not None]
        assert 20 <= versions.count("v2") <= 80
        await kubernetes.apply(canary(0), "shop")
    assert not traffic.errors
    assert set(traffic.statuses) == {200}


async def test_scaling_under_load_loses_nothing(kubernetes: Kubernetes) -> None:
    async with loaded(kubernetes) as traffic:
        for replicas in (5, 1):
            await kubernetes.cluster.patch(resources.DEPLOYMENTS, "server-v1", {"spec": {"replicas": replicas}}, "shop")
            await kubernetes.rolled_out("server-v1", "shop")
            await pods_gone(kubernetes, "shop")
            await traffic.more(30)


async def test_a_rolling_restart_of_workloads_loses_nothing(kubernetes: Kubernetes) -> None:
    async with loaded(kubernetes) as traffic:
        await kubernetes.kubectl("rollout", "restart", "deployment/server-v1", "-n", "shop")
        await kubernetes.rolled_out("server-v1", "shop")
        await pods_gone(kubernetes, "shop")
        await traffic.more(30)


async def test_a_rolling_restart_of_the_control_plane_loses_nothing(kubernetes: Kubernetes) -> None:
    before = {pod["metadata"]["uid"] for pod in kubernetes.running_pods("istio-system", app="istiod")}
    async with loaded(kubernetes) as traffic:
        await kubernetes.kubectl("rollout", "restart", "deployment/istiod", "-n", "istio-system")
        await kubernetes.rolled_out("istiod", "istio-system")
        await pods_gone(kubernetes, "istio-system")
        after = {pod["metadata"]["uid"] for pod in kubernetes.running_pods("istio-system", app="istiod")}
        assert len(after) == 2
        assert not before & after
        # Who is in charge now reaches the proxies.
        await kubernetes.apply(canary(100), "shop")
        await traffic.until(lambda outcome: outcome.answer is not None and outcome.answer.echo.version == "v2")
        await kubernetes.apply(canary(0), "shop")
        await traffic.until(lambda outcome: outcome.answer is not None and outcome.answer.echo.version == "v1")


async def test_a_restart_of_the_api_server_loses_nothing(kubernetes: Kubernetes) -> None:
    (client,) = kubernetes.running_pods("shop", app="client")
    updates = "_manager.[cl]ds.update_success"
    before = await statistics(kubernetes, client, updates)
    async with loaded(kubernetes) as traffic:
        await kubernetes.api.stop_server()
        await traffic.more(60)
        await kubernetes.api.start_server()
        await kubernetes.apply(canary(100), "shop")
        await traffic.until(lambda outcome: outcome.answer is not None and outcome.answer.echo.version == "v2")
        await kubernetes.apply(canary(0), "shop")
        await traffic.until(lambda outcome: outcome.answer is not None and outcome.answer.echo.version == "v1")
    # Routes went out and back; nothing else was sent anew.
    assert await statistics(kubernetes, client, updates) == before
    restarts = [
        status["restartCount"]
        for pod in kubernetes.running_pods("istio-system", app="istiod")
        for status in pod["status"]["containerStatuses"]
    ]
    assert restarts == [0, 0]


async def test_uninstalled_it_leaves_its_definitions_only(kubernetes: Kubernetes) -> None:
    await kubernetes.program(DRAGOMAN, "uninstall", "--yes", "--timeout=180s")
    left = await kubernetes.kubectl(
        "get",
        "deployments,services,configmaps,secrets,serviceaccounts,roles,rolebindings,leases,poddisruptionbudgets,hpa",
        "--namespace=istio-system",
        "--output=name",
    )
    assert set(left.split()) <= {"configmap/kube-root-ca.crt", "serviceaccount/default"}
    cluster_wide = await kubernetes.kubectl(
        "get",
        "mutatingwebhookconfigurations,validatingwebhookconfigurations,validatingadmissionpolicies,clusterroles,"
        "clusterrolebindings",
        "--output=name",
    )
    assert [name for name in cluster_wide.split() if "istio" in name or "dragoman" in name] == []
    definitions = await kubernetes.cluster.list(resources.CUSTOM_RESOURCE_DEFINITIONS)
    assert len([each for each in definitions if each["spec"]["group"].endswith("istio.io")]) == 15
    # What operators wrote is theirs.
    assert (await kubernetes.kubectl("get", "virtualservices", "-n", "shop", "--output=name")).split()

"""Injected pods as Kubernetes runs them, where nobody may speak plaintext, and what the command line sees of them.

Probes, metrics, jobs, ends, gateways; and real replicas and real Envoys in pods, looked into by the API server alone.
"""

import asyncio
import json
import tarfile
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
import yaml

from dragoman.cli.inspect.comparison import SECTIONS
from dragoman.kube import resources
from e2e.harness import eventually, failing
from e2e.harness.capture import INBOUND_SOURCE
from e2e.harness.commands import CommandError
from e2e.harness.kubelet.streams import streams
from e2e.harness.kubernetes import Kubernetes
from e2e.operator_shop import DRAGOMAN, deployment, install

pytestmark = [
    pytest.mark.real_api,
    pytest.mark.netns,
    pytest.mark.envoy,
    pytest.mark.asyncio(loop_scope="module"),
]


MANIFESTS = """
{apiVersion: v1, kind: Namespace, metadata: {name: shop, labels: {istio-injection: enabled}}}
---
{apiVersion: v1, kind: Namespace, metadata: {name: outside}}
---
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: default, namespace: istio-system}
spec: {mtls: {mode: STRICT}}
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: readers, namespace: shop}
spec: {selector: {matchLabels: {app: server}}, rules: [{to: [{operation: {methods: [GET]}}]}]}
"""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def kubernetes(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Kubernetes]:
    """A cluster with two replicas, a namespace `shop` that is injected, and mutual TLS everywhere."""
    async with Kubernetes.running() as running:
        node = await running.until(resources.NODES, "node-a", None, lambda node: "conditions" in node["status"])
        folder = tmp_path_factory.mktemp("kubelet")
        async with streams(running.cluster, running.kubelet, running.pods, node["metadata"]["name"], folder):
            await install(running)
            await running.apply(MANIFESTS)
            await running.apply(deployment("client") + deployment("server"), "shop")
            await running.apply(deployment("stranger"), "outside")
            await running.rolled_out("client-v1", "shop")
            await running.rolled_out("server-v1", "shop")
            await running.rolled_out("stranger-v1", "outside")
            yield running


def only(kubernetes: Kubernetes, namespace: str, app: str) -> Mapping[str, Any]:
    (pod,) = kubernetes.running_pods(namespace, app=app)
    return pod


def restarts(pod: Mapping[str, Any]) -> list[int]:
    status = pod["status"]
    return [each["restartCount"] for each in (*status["containerStatuses"], *status.get("initContainerStatuses", ()))]


def name_of(kubernetes: Kubernetes, app: str) -> str:
    return str(only(kubernetes, "shop", app)["metadata"]["name"])


async def test_every_proxy_is_in_sync_with_some_replica(kubernetes: Kubernetes) -> None:
    replicas = {each["metadata"]["name"] for each in kubernetes.running_pods("istio-system", app="istiod")}
    found = json.loads(await kubernetes.program(DRAGOMAN, "proxy-status", "-o", "json"))
    assert {status["proxy"] for status in found} == {f"{name_of(kubernetes, app)}.shop" for app in ("server", "client")}
    assert {status["istiod"] for status in found} <= replicas
    version = await kubernetes.program(DRAGOMAN, "version")
    assert all(f": {replica}\n" in version for replica in replicas)
    assert "data plane envoy 1.40.0: 2 proxies" in version


async def test_what_the_envoy_in_a_pod_has_is_what_it_is_served(kubernetes: Kubernetes) -> None:
    server = name_of(kubernetes, "server")

    async def compare() -> str:
        try:
            return await kubernetes.program(DRAGOMAN, "proxy-status", server, "-n", "shop")
        except CommandError as error:
            # It ends with an exit code of its own where anything differs: as while a change is on its way.
            return f"differs: {error}"

    compared = await eventually(compare, lambda told: not told.startswith("differs"), steady=0)
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
    told = await kubernetes.program(DRAGOMAN, "describe", "pod", name_of(kubernetes, "server"), "-n", "shop")
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
    server = f"proxies/{name_of(kubernetes, 'server')}.shop"
    assert {f"{server}/envoy/config_dump", f"{server}/istio-proxy.log", "cluster/leases.yaml"} <= files.keys()
    assert [name for name in files if name.startswith("control-plane/") and name.endswith("discovery.log")]
    # Of their own pods, no key and no token; nor of the control plane, which has both.
    assert not [name for name, text in files.items() if "PRIVATE KEY" in text or "eyJhbGciOi" in text]
    assert yaml.safe_load(files["cluster/pods.yaml"])


@pytest.mark.parametrize("mode", ["REDIRECT", "TPROXY"])
async def test_probes_reach_applications_that_take_no_plaintext(kubernetes: Kubernetes, mode: str) -> None:
    name = f"probed-by-{mode.lower()}"
    await kubernetes.apply(
        f"""
apiVersion: v1
kind: Service
metadata: {{name: {name}}}
spec: {{selector: {{app: {name}}}, ports: [{{name: http, port: 8080}}]}}
---
metadata:
  name: {name}
  labels: {{app: {name}}}
  annotations: {{sidecar.istio.io/interceptionMode: {mode}, prometheus.io/scrape: "true", prometheus.io/port: "8080"}}
"""
        """
apiVersion: v1
kind: Pod
spec:
  terminationGracePeriodSeconds: 5
  containers:
  - name: probed
    image: echo
    args: [--http=8080]
    ports: [{name: http, containerPort: 8080}]
    startupProbe:
      {httpGet: {path: "/?status=204", port: http}, periodSeconds: 1, failureThreshold: 60, timeoutSeconds: 10}
    readinessProbe: {httpGet: {path: /, port: 8080}, periodSeconds: 1, timeoutSeconds: 10}
    livenessProbe: {tcpSocket: {port: 8080}, periodSeconds: 1, failureThreshold: 2, timeoutSeconds: 10}
""",
        "shop",
    )
    pod = await kubernetes.until(resources.PODS, name, "shop", ready)
    (stranger,) = kubernetes.running_pods("outside", app="stranger")
    outside = kubernetes.client(stranger)
    address = pod["status"]["podIP"]
    assert await eventually(lambda: failing(outside.http(f"http://{address}:8080/")), lambda error: error is not None)
    # For longer than what the probes asked before the policy was known to this proxy would do.
    pod = await eventually(
        lambda: kubernetes.cluster.get(resources.PODS, name, "shop"),
        lambda pod: ready(pod) and set(restarts(pod)) == {0},
        steady=150,
    )

    client = only(kubernetes, "shop", "client")
    answer = await eventually(lambda: kubernetes.client(client).http(f"http://{name}:8080/"), lambda a: a.status == 200)
    assert answer.echo.peer == (client["status"]["podIP"] if mode == "TPROXY" else INBOUND_SOURCE)

    annotations = pod["metadata"]["annotations"]
    assert annotations["prometheus.io/port"] == "15020"
    scrape = await outside.http(f"http://{address}:15020{annotations['prometheus.io/path']}")
    assert scrape.status == 200
    assert "envoy_server_live" in scrape.text
    assert '"path": "/metrics"' in scrape.text  # the application's answer, whatever it is
    assert (await outside.http(f"http://{address}:15020/drain")).status == 404
    assert await failing(outside.http(f"http://{address}:15000/")) is not None


async def test_what_listens_no_more_is_seen_by_a_tcp_probe(kubernetes: Kubernetes) -> None:
    await kubernetes.apply(
        """
apiVersion: v1
kind: Pod
metadata: {name: silent, labels: {app: silent}}
spec:
  terminationGracePeriodSeconds: 1
  containers:
  - name: silent
    image: echo
    args: [--http=8080]
    livenessProbe: {tcpSocket: {port: 8081}, periodSeconds: 1, failureThreshold: 3}
""",
        "shop",
    )
    await kubernetes.until(
        resources.PODS,
        "silent",
        "shop",
        lambda pod: any(each["restartCount"] for each in pod.get("status", {}).get("containerStatuses", ())),
    )
    await kubernetes.cluster.delete(resources.PODS, "silent", "shop")


@pytest.mark.parametrize("native", [True, False])
async def test_jobs_come_to_their_end(kubernetes: Kubernetes, native: bool) -> None:
    """One whose sidecar is no native one has to say so itself, as under Istio."""
    name = "native" if native else "older"
    call = "import urllib.request as r; print(r.urlopen('http://server:8080/').status)"
    farewell = "import urllib.request as r; r.urlopen(r.Request('http://127.0.0.1:15020/quitquitquit', method='POST'))"
    last = "true" if native else f'python3 -c "{farewell}"'
    arguments = json.dumps(["-ec", f'until python3 -c "{call}"; do sleep 0.2; done; {last}'])
    await kubernetes.apply(
        f"""
apiVersion: batch/v1
kind: Job
metadata: {{name: {name}}}
spec:
  template:
    metadata: {{annotations: {{sidecar.istio.io/nativeSidecar: "{str(native).lower()}"}}}}
    spec:
      restartPolicy: Never
      containers:
      - name: main
        image: shell
        args: {arguments}
""",
        "shop",
    )
    job = await kubernetes.until(resources.JOBS, name, "shop", lambda job: job["status"].get("succeeded") == 1)
    assert job["status"].get("failed", 0) == 0
    pod = next(each for each in kubernetes.pods.objects if each["metadata"]["labels"].get("job-name") == name)
    assert "200" in kubernetes.worker(pod).log("main").read_text()
    assert ("istio-proxy" in [each["name"] for each in pod["spec"]["initContainers"]]) is native


async def test_a_pod_whose_sidecar_is_no_native_one_loses_nothing_at_its_end(kubernetes: Kubernetes) -> None:
    older = deployment("older", replicas=2).replace(
        "labels: {app: older, version: v1}}\n    spec:",
        'labels: {app: older, version: v1}, annotations: {sidecar.istio.io/nativeSidecar: "false"}}\n    spec:',
    )
    assert "nativeSidecar" in older
    await kubernetes.apply(older, "shop")
    await kubernetes.rolled_out("older-v1", "shop")
    client = kubernetes.client(only(kubernetes, "shop", "client"))
    await eventually(lambda: client.http("http://older:8080/"), lambda answer: answer.status == 200)
    async with client.traffic("http://older:8080/", per_second=30) as traffic:
        await traffic.more(10)
        await kubernetes.cluster.patch(resources.DEPLOYMENTS, "older-v1", {"spec": {"replicas": 1}}, "shop")
        await kubernetes.rolled_out("older-v1", "shop")
        async with asyncio.timeout(180):
            while len([pod for pod in kubernetes.pods.objects if pod["metadata"]["labels"].get("app") == "older"]) > 1:
                await kubernetes.pods.changed()
        await traffic.more(30)
    assert not traffic.errors
    assert set(traffic.statuses) == {200}


async def test_a_gateway_by_template(kubernetes: Kubernetes) -> None:
    await kubernetes.apply(
        """
apiVersion: apps/v1
kind: Deployment
metadata: {name: gateway}
spec:
  selector: {matchLabels: {istio: ingress}}
  template:
    metadata: {labels: {istio: ingress}, annotations: {inject.istio.io/templates: gateway}}
    spec: {containers: [{name: istio-proxy, image: auto, ports: [{containerPort: 8088}]}]}
---
apiVersion: v1
kind: Service
metadata: {name: gateway}
spec: {selector: {istio: ingress}, ports: [{name: http, port: 80, targetPort: 8088}]}
---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: shop}
spec:
  selector: {istio: ingress}
  servers: [{port: {number: 80, name: http, protocol: HTTP}, hosts: [shop.example.com]}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: shop}
spec:
  hosts: [shop.example.com]
  gateways: [shop]
  http: [{route: [{destination: {host: server}}]}]
""",
        "shop",
    )
    await kubernetes.rolled_out("gateway", "shop")
    stranger = kubernetes.client(only(kubernetes, "outside", "stranger"))
    answer = await eventually(
        lambda: stranger.http("http://gateway.shop/", headers={"host": "shop.example.com"}),
        lambda answer: answer.status == 200,
    )
    assert "spiffe://cluster.local/ns/shop/sa/default" in answer.echo.headers["x-forwarded-client-cert"]
    client = kubernetes.client(only(kubernetes, "shop", "client"))  # of the mesh, at the gateway's plaintext port
    # This proxy has heard of the new Service at its own time.
    await eventually(
        lambda: client.http("http://gateway/", headers={"host": "shop.example.com"}),
        lambda answer: answer.status == 200,
        steady=0,
    )


def ready(pod: Mapping[str, Any]) -> bool:
    conditions = pod.get("status", {}).get("conditions", ())
    return any(each["type"] == "Ready" and each["status"] == "True" for each in conditions)

"""What a cluster does to an operator: API servers slow, cut off, forgetful or overrun, and dead replicas."""

import asyncio
import functools
import os
import signal
from collections.abc import AsyncIterator, Mapping
from typing import Any

import pytest
import pytest_asyncio

from dragoman.kube import resources
from dragoman.kube.errors import ApiError
from dragoman.kube.resource import ApiResource
from e2e.harness import Answer, Outcome, eventually
from e2e.harness.kubernetes import Kubernetes
from e2e.operator_shop import DRAGOMAN, Absence, canary, deployment, install, loaded, pods_gone

pytestmark = [
    pytest.mark.real_api,
    pytest.mark.netns,
    pytest.mark.envoy,
    pytest.mark.asyncio(loop_scope="module"),
]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def kubernetes() -> AsyncIterator[Kubernetes]:
    """A cluster with two replicas of the control plane and a shop; every test leaves it so."""
    async with Kubernetes.running() as running:
        await install(running)
        await running.apply(injected_namespace("shop"))
        await running.apply(deployment("server") + deployment("server", "v2") + deployment("client"), "shop")
        for name in ("server-v1", "server-v2", "client-v1"):
            await running.rolled_out(name, "shop")
        await running.apply(SUBSETS + canary(0), "shop")
        # Until then both versions answer in turns, and some turns look as if it were in force.
        await running.until(VIRTUAL_SERVICES, "server", "shop", is_programmed)
        await steered(running, 0)
        yield running


VIRTUAL_SERVICES = ApiResource("networking.istio.io", "v1", "virtualservices", "VirtualService")

SUBSETS = """
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: server}
spec:
  host: server
  subsets: [{name: v1, labels: {version: v1}}, {name: v2, labels: {version: v2}}]
---
"""


async def steered(kubernetes: Kubernetes, percent: int) -> None:
    """Send all requests to the first version (0) or to the second (100), and see that they go there."""
    await kubernetes.apply(canary(percent), "shop")
    (client,) = kubernetes.running_pods("shop", app="client")
    await eventually(
        lambda: kubernetes.client(client).http("http://server:8080/"),
        lambda answer: answer.status == 200 and answer.echo.version == ("v2" if percent else "v1"),
        seconds=180,
    )


async def applied(kubernetes: Kubernetes, manifests: str, namespace: str) -> None:
    """Apply, as often as it takes: while a replica is dead but not known to be, webhooks that it should answer fail."""
    async with asyncio.timeout(120):
        while True:
            try:
                return await kubernetes.apply(manifests, namespace)
            except ApiError as error:
                if "webhook" not in error.message:
                    raise
            await asyncio.sleep(0.2)


def restarts(kubernetes: Kubernetes) -> int:
    """How often containers of the control plane were started anew."""
    return sum(
        status["restartCount"]
        for pod in kubernetes.running_pods("istio-system", app="istiod")
        for status in pod["status"]["containerStatuses"]
    )


async def test_an_api_server_whose_connections_are_cut_every_second(kubernetes: Kubernetes) -> None:
    async with loaded(kubernetes) as traffic, kubernetes.api_path.cut_every(1):
        for percent in (100, 0, 100, 0):
            await steered(kubernetes, percent)
            await traffic.more(45)  # and another cut
    assert restarts(kubernetes) == 0


async def test_an_api_server_that_takes_seconds(kubernetes: Kubernetes) -> None:
    async with loaded(kubernetes):
        with kubernetes.api_path.slow(2):
            await kubernetes.api_path.cut()  # also what is open already is opened anew, slowly
            await steered(kubernetes, 100)
            await steered(kubernetes, 0)
    assert restarts(kubernetes) == 0


async def test_an_api_server_that_forgets_what_was_before(kubernetes: Kubernetes) -> None:
    async with loaded(kubernetes):
        for percent in (100, 0):
            await kubernetes.api.stop_server()
            await kubernetes.api.compact()
            await kubernetes.api.start_server()
            await steered(kubernetes, percent)
    assert restarts(kubernetes) == 0


async def test_the_leader_is_killed_while_it_writes(kubernetes: Kubernetes) -> None:
    names = [f"route-{number}" for number in range(40)]
    (client,) = kubernetes.running_pods("shop", app="client")

    async def ask(name: str) -> Answer:
        return await kubernetes.client(client).http("http://server:8080/", headers={"host": f"{name}.example"})

    absence = Absence()
    async with loaded(kubernetes), absence.watched(kubernetes, kubernetes.running_pods("shop")):
        leader = await leading(kubernetes)
        for name in names[:20]:
            await kubernetes.apply(route(name), "shop")
        process = kubernetes.worker(leader).containers["discovery"].process
        assert process is not None
        os.kill(process.pid, signal.SIGKILL)
        for name in names[20:]:
            await applied(kubernetes, route(name), "shop")
        for name in names:
            await eventually(functools.partial(ask, name), lambda answer: answer.status == 200, steady=0)
            await kubernetes.until(VIRTUAL_SERVICES, name, "shop", is_programmed)
        assert (await leading(kubernetes))["metadata"]["name"]
    # No longer than to notice, and to find the other replica: it begins at half a second and doubles.
    assert absence.longest < 30
    await kubernetes.rolled_out("istiod", "istio-system")
    for name in names:
        await kubernetes.cluster.delete(VIRTUAL_SERVICES, name, "shop")


async def test_without_a_control_plane_no_pod_is_let_in_without_its_sidecar(kubernetes: Kubernetes) -> None:
    deployments = resources.DEPLOYMENTS
    async with loaded(kubernetes):
        await kubernetes.until(
            resources.VALIDATING_WEBHOOK_CONFIGURATIONS, "istio-validator-istio-system", None, fails_closed
        )
        await kubernetes.cluster.patch(deployments, "istiod", {"spec": {"replicas": 0}}, "istio-system")
        try:
            async with asyncio.timeout(180):
                while any(pod["metadata"]["labels"].get("app") == "istiod" for pod in kubernetes.pods.objects):
                    await kubernetes.pods.changed()
            await kubernetes.cluster.patch(deployments, "server-v1", {"spec": {"replicas": 2}}, "shop")
            await kubernetes.until(deployments, "server-v1", "shop", replica_failure)
            # Where nothing is injected nothing is asked.
            await kubernetes.apply(deployment("bystander"), "default")
            await kubernetes.rolled_out("bystander-v1")
            with pytest.raises(ApiError, match="webhook"):
                await kubernetes.apply(canary(100), "shop")
        finally:
            await kubernetes.cluster.patch(deployments, "istiod", {"spec": {"replicas": 2}}, "istio-system")
        await kubernetes.rolled_out("istiod", "istio-system")
        await kubernetes.rolled_out("server-v1", "shop")
        assert all(
            "istio-proxy" in [each["name"] for each in pod["spec"]["initContainers"]]
            for pod in kubernetes.running_pods("shop", app="server")
        )
        await kubernetes.cluster.patch(deployments, "server-v1", {"spec": {"replicas": 1}}, "shop")
        await kubernetes.rolled_out("server-v1", "shop")
        await pods_gone(kubernetes, "shop")
        await steered(kubernetes, 100)
        await steered(kubernetes, 0)


async def test_one_kind_is_forbidden(kubernetes: Kubernetes) -> None:
    cluster_role = await kubernetes.resource("rbac.authorization.k8s.io/v1", "ClusterRole")
    (role,) = [
        each
        for each in await kubernetes.cluster.list(cluster_role)
        if any("networking.istio.io" in rule.get("apiGroups", ()) for rule in each["rules"])
        and each["metadata"]["name"].startswith("istiod")
    ]
    name = role["metadata"]["name"]
    async with loaded(kubernetes):
        await kubernetes.cluster.patch(cluster_role, name, {"rules": without(role["rules"], "wasmplugins")})
        await kubernetes.kubectl("rollout", "restart", "deployment/istiod", "-n", "istio-system")
        await kubernetes.rolled_out("istiod", "istio-system")
        await pods_gone(kubernetes, "istio-system")
        await steered(kubernetes, 100)
        await steered(kubernetes, 0)
        for replica in kubernetes.running_pods("istio-system", app="istiod"):
            assert "wasmplugins" in kubernetes.worker(replica).log("discovery").read_text()
        report = await kubernetes.program(DRAGOMAN, "precheck", "-o", "json")
        assert "istio-system/istiod is not allowed: get, list, watch wasmplugins.extensions.istio.io" in report
        await kubernetes.cluster.patch(cluster_role, name, {"rules": role["rules"]})


async def test_another_manager_writes_status(kubernetes: Kubernetes) -> None:
    condition = {"type": "Reviewed", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"}
    status = {"conditions": [{**condition, "reason": "Looked", "message": "by somebody"}]}
    metadata = {"name": "server", "namespace": "shop"}
    body = {
        "apiVersion": VIRTUAL_SERVICES.api_version,
        "kind": "VirtualService",
        "metadata": metadata,
        "status": status,
    }
    await kubernetes.cluster.apply(VIRTUAL_SERVICES, body, field_manager="reviewer", subresource="status")
    await steered(kubernetes, 100)
    found = await kubernetes.until(VIRTUAL_SERVICES, "server", "shop", is_programmed)
    assert "Reviewed" in [each["type"] for each in found["status"]["conditions"]]
    await steered(kubernetes, 0)


async def test_a_namespace_is_deleted_under_load(kubernetes: Kubernetes) -> None:
    await kubernetes.apply(injected_namespace("fair"))
    await kubernetes.apply(deployment("stall", replicas=2), "fair")
    await kubernetes.rolled_out("stall-v1", "fair")
    (client,) = kubernetes.running_pods("shop", app="client")
    async with (
        loaded(kubernetes),
        kubernetes.client(client).traffic("http://stall.fair:8080/", per_second=20) as doomed,
    ):
        await doomed.until(lambda outcome: answered(outcome, 200))
        await kubernetes.cluster.delete(resources.NAMESPACES, "fair")
        await kubernetes.gone(resources.NAMESPACES, "fair")
        await doomed.until(lambda outcome: not answered(outcome, 200))
        await steered(kubernetes, 100)
        await steered(kubernetes, 0)
    assert restarts(kubernetes) == 0


async def test_a_thousand_pods_at_once(kubernetes: Kubernetes) -> None:
    await kubernetes.apply(injected_namespace("crowd"))
    await kubernetes.until(resources.SERVICE_ACCOUNTS, "default", "crowd", lambda account: True)
    limit = asyncio.Semaphore(50)

    async def make(number: int) -> Mapping[str, Any]:
        # Of a node that nobody runs: it is how many are asked for that counts.
        spec = {"nodeName": "elsewhere", "containers": [{"name": "main", "image": "echo"}]}
        metadata = {"name": f"pod-{number}", "labels": {"app": "crowd"}}
        async with limit:
            return await kubernetes.cluster.create(
                resources.PODS, {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}, "crowd"
            )

    async with loaded(kubernetes, per_second=10):
        made = await asyncio.gather(*map(make, range(1000)))
        assert all("istio-proxy" in [each["name"] for each in pod["spec"].get("initContainers", ())] for pod in made)
        now = {"gracePeriodSeconds": 0}
        await kubernetes.cluster.request("DELETE", resources.PODS.path("crowd"), body=now, within=300)
        await kubernetes.cluster.delete(resources.NAMESPACES, "crowd")
        await kubernetes.gone(resources.NAMESPACES, "crowd")
        await steered(kubernetes, 100)
        await steered(kubernetes, 0)
    assert restarts(kubernetes) == 0


def injected_namespace(name: str) -> str:
    """A namespace whose pods get sidecars."""
    return f"{{apiVersion: v1, kind: Namespace, metadata: {{name: {name}, labels: {{istio-injection: enabled}}}}}}"


def route(name: str) -> str:
    """A host of its own, by way of the mesh's clients to the server."""
    return f"""
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: {name}}}
spec:
  hosts: [{name}.example]
  http: [{{route: [{{destination: {{host: server}}}}]}}]
"""


def is_programmed(item: Mapping[str, Any]) -> bool:
    """Whether the status says so of the newest generation."""
    status = item.get("status", {})
    newest = int(status.get("observedGeneration", 0)) == item["metadata"]["generation"]
    return newest and any(
        each["type"] == "Programmed" and each["status"] == "True" for each in status.get("conditions", ())
    )


def replica_failure(item: Mapping[str, Any]) -> bool:
    """Whether a Deployment's pods are refused."""
    return any(
        each["type"] == "ReplicaFailure" and each["status"] == "True"
        for each in item.get("status", {}).get("conditions", ())
    )


def fails_closed(item: Mapping[str, Any]) -> bool:
    """Whether objects are refused that no webhook has looked at."""
    return all(webhook["failurePolicy"] == "Fail" for webhook in item["webhooks"])


def without(rules: list[dict[str, Any]], resource: str) -> list[dict[str, Any]]:
    """The rules of a role, but for one resource."""
    return [
        {**rule, "resources": [each for each in rule["resources"] if each.partition("/")[0] != resource]}
        for rule in rules
    ]


def answered(outcome: Outcome, status: int) -> bool:
    """Whether a request had an answer of this status."""
    return outcome.answer is not None and outcome.answer.status == status


async def leading(kubernetes: Kubernetes) -> Mapping[str, Any]:
    """The pod of the replica that holds the Lease, once some does that is ready."""

    async def holders() -> list[Mapping[str, Any]]:
        lease = await kubernetes.cluster.get(resources.LEASES, "dragoman-leader", "istio-system")
        holder = lease["spec"].get("holderIdentity", "")
        pods = kubernetes.running_pods("istio-system", app="istiod")
        return [pod for pod in pods if holder.startswith(pod["metadata"]["name"])]

    (found,) = await eventually(holders, lambda pods: len(pods) == 1, steady=0)
    return found

"""Injected pods before a real API server: its schema, and the levels of pod security."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from injected_proxy import SETTINGS, container, injected, pod_of

from dragoman.kube import ApiError, Cluster
from dragoman.kube.resources import NAMESPACES, PODS
from tests.support.until import until

pytestmark = pytest.mark.real_api

GOLDEN = Path(__file__).parents[2] / "golden" / "injection"


async def created(cluster: Cluster, pod: dict[str, Any], namespace: str) -> dict[str, Any]:
    """The pod as the server keeps it; unknown fields are errors."""
    query = (("fieldValidation", "Strict"), ("dryRun", "All"))
    path = PODS.path(namespace)
    answer = json.loads(await cluster.request("POST", path, query=query, body=pod))
    assert isinstance(answer, dict)
    return answer


@pytest.mark.parametrize("case", sorted(path.name for path in GOLDEN.iterdir()))
async def test_the_server_takes_them(case: str, cluster: Cluster, namespace: str) -> None:
    pod = yaml.safe_load((GOLDEN / case / "patched.yaml").read_text())
    del pod["metadata"]["ownerReferences"]
    pod["spec"].pop("serviceAccountName", None)
    await created(cluster, pod, namespace)


async def test_what_the_server_fills_in_does_not_change_what_a_second_injection_makes(
    cluster: Cluster, namespace: str
) -> None:
    """As when a webhook is called again, or `kubectl get -o yaml` is injected."""
    probes = {"readinessProbe": {"httpGet": {"path": "/", "port": 80}}, "livenessProbe": {"tcpSocket": {"port": 80}}}
    pod = pod_of({"name": "web", "image": "i", **probes}, annotations={"prometheus.io/scrape": "true"})
    del pod["metadata"]["ownerReferences"], pod["metadata"]["generateName"]
    pod["metadata"]["name"] = "web"
    kept = await created(cluster, dict(injected(pod).pod), namespace)
    again = injected(kept).pod
    assert container(again)["args"] == container(kept)["args"]
    assert container(again, "web")["readinessProbe"] == container(kept, "web")["readinessProbe"] | {
        "httpGet": {"path": "/app-health/web/readyz", "port": 15020}
    }
    assert again["metadata"]["annotations"] == kept["metadata"]["annotations"]


async def test_with_the_nodes_capture_pods_may_be_restricted(cluster: Cluster, namespace: str) -> None:
    label = {"metadata": {"labels": {"pod-security.kubernetes.io/enforce": "restricted"}}}
    await cluster.patch(NAMESPACES, namespace, label)
    context = {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "runAsNonRoot": True,
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    pod = pod_of({"name": "web", "image": "i", "securityContext": context})
    del pod["metadata"]["ownerReferences"]
    told: list[ApiError] = []

    async def refused() -> bool:
        """The API server judges by the namespaces that it watches, and hears of the label after it is stored."""
        try:
            await created(cluster, dict(injected(pod).pod), namespace)
        except ApiError as error:
            told.append(error)
        return bool(told)

    await until(refused)
    assert "istio-init" in str(told[0])
    assert told[0].forbidden
    await created(cluster, dict(injected(pod, replace(SETTINGS, cni=True)).pod), namespace)

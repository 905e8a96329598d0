"""ValidatingAdmissionPolicies in a real API server."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
import yaml

from crds.manifests import admission_policies
from dragoman.kube.cluster import Cluster
from tests.crds.verdicts import document, known, refusal, served
from tests.support.api_server import ApiServer
from tests.support.kubectl import Kubectl

pytestmark = pytest.mark.real_api


def labelled(kind: str, spec: str, namespace: str, revision: str | None) -> dict[str, Any]:
    held = document(kind, spec, namespace=namespace)
    held["metadata"]["labels"] = {"istio.io/rev": revision} if revision else {}
    return held


@pytest.fixture
async def revision(cluster: Cluster, custom_resources: None, namespace: str) -> AsyncIterator[str]:
    """One whose objects the policies are for, so that no other test notices; `namespace` is the root namespace."""
    documents = admission_policies(revisions=(namespace,), unlabelled=False, root_namespace=namespace)
    for held in documents:
        await cluster.apply(served(held["kind"]), held, field_manager="tests")
    yield namespace
    for held in reversed(documents):
        await cluster.delete(served(held["kind"]), held["metadata"]["name"])


UNSTABLE = [
    ("EnvoyFilter", "{}", "not stable"),
    ("ProxyConfig", "{concurrency: 1}", "not stable"),
    ("WasmPlugin", "{url: a}", "not stable"),
    ("TrafficExtension", "{lua: {inlineCode: a}}", "not stable"),
    ("Telemetry", "{tracing: [{useRequestIdForTraceSampling: true}]}", "useRequestIdForTraceSampling"),
    ("Telemetry", "{metrics: [{reportingInterval: 5s}]}", "reportingInterval"),
    ("Telemetry", "{accessLogging: [{filter: {expression: a}}]}", "filter"),
]


async def test_the_stable_channel_refuses_what_may_change(cluster: Cluster, revision: str) -> None:
    async with asyncio.timeout(120):
        while not await refusal(cluster, labelled("EnvoyFilter", "{}", "default", revision)):
            pass  # until the API server has heard of it
    for kind, spec, said in UNSTABLE:
        assert said in await refusal(cluster, labelled(kind, spec, "default", revision))
        assert await refusal(cluster, labelled(kind, spec, "default", None)) == ""
        assert await refusal(cluster, labelled(kind, spec, "default", "another")) == ""
    stable = "{tracing: [{randomSamplingPercentage: 5}], metrics: [{providers: [{name: a}]}], accessLogging: [{}]}"
    assert await refusal(cluster, labelled("Telemetry", stable, "default", revision)) == ""
    route = "{hosts: [a], http: [{route: [{destination: {host: a}}]}]}"
    assert await refusal(cluster, labelled("VirtualService", route, "default", revision)) == ""


ODD = [
    ("PeerAuthentication", "{selector: {matchLabels: {app: a}}, mtls: {mode: STRICT}}", True, "has no effect"),
    ("PeerAuthentication", "{mtls: {mode: STRICT}}", True, ""),
    ("PeerAuthentication", "{selector: {matchLabels: {app: a}}, mtls: {mode: STRICT}}", False, ""),
    (
        "Sidecar",
        "{workloadSelector: {labels: {app: a}}, egress: [{hosts: ['./*']}]}",
        True,
        "of its own namespace only",
    ),
    ("Sidecar", "{egress: [{hosts: ['./*']}]}", True, ""),
    ("DestinationRule", "{host: a, workloadSelector: {matchLabels: {app: a}}}", True, "of its own namespace only"),
    ("DestinationRule", "{host: a, workloadSelector: {matchLabels: {app: a}}}", False, ""),
    ("ServiceEntry", "{hosts: [a.elsewhere.svc.cluster.local]}", False, "of another namespace"),
    ("ServiceEntry", "{hosts: [a.elsewhere.svc]}", False, "of another namespace"),
    ("ServiceEntry", "{hosts: [a.default.svc.cluster.local, example.com, '*.a.b']}", False, ""),
]


async def test_what_is_odd_where_it_stands_is_warned_of(api_server: ApiServer, revision: str, kubectl: Kubectl) -> None:
    async def warnings(kind: str, spec: str, in_root: bool) -> str:
        held = labelled(kind, spec, revision if in_root else "default", revision)
        arguments = ("create", "--dry-run=server", "-f", "-")
        done = await kubectl(api_server.kubeconfig, *arguments, text=yaml.safe_dump(held))
        assert done.returncode == 0, done.stderr
        return done.stderr

    await known(kubectl, api_server.kubeconfig)
    async with asyncio.timeout(120):
        while not await warnings(*ODD[0][:3]):
            pass  # until the API server has heard of it
    for kind, spec, in_root, warning in ODD:
        said = await warnings(kind, spec, in_root)
        assert (warning in said) if warning else not said, (spec, said)


def test_revisions_have_policies_of_their_own_names() -> None:
    canary = admission_policies(revisions=("canary",), unlabelled=False)
    names = {held["metadata"]["name"] for held in (*admission_policies(), *canary)}
    assert len(names) == len(canary)

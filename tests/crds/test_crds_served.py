"""A real API server and our own models agree about which objects are good."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from crds.manifests import definitions
from crds.manifests.constraint import RULES
from crds.manifests.documents import to_json
from crds.registry import ISTIO_GROUPS, ISTIO_KINDS
from crds.shape import message_of
from dragoman.kube.cluster import Cluster
from tests.crds import random_documents
from tests.crds.specs import GOOD
from tests.crds.verdicts import document, errors, known, refusal, refusals_of_bad_objects, served
from tests.support.api_server import ApiServer
from tests.support.kubectl import Kubectl

pytestmark = [pytest.mark.real_api, pytest.mark.usefixtures("custom_resources")]

KINDS = sorted(ISTIO_KINDS)
ROOT = Path(__file__).parents[2]


def rules(schema: Any) -> Iterator[dict[str, str]]:
    if isinstance(schema, dict):
        yield from (rule for rule in schema.get(RULES, ()))
        schema = list(schema.values())
    if isinstance(schema, list):
        for inner in schema:
            yield from rules(inner)


async def test_good_objects_are_taken(cluster: Cluster) -> None:
    for kind, spec in GOOD:
        held = document(kind, spec)
        assert (errors(held), await refusal(cluster, held)) == ([], ""), spec


async def test_objects_of_the_golden_cases_and_of_the_demo_are_taken(api_server: ApiServer, kubectl: Kubectl) -> None:
    """Without a word of warning, as kubectl sees it."""
    files = [*ROOT.glob("tests/golden/*/*/in.yaml"), *ROOT.glob("dragoman/demo/**/*.yaml")]
    documents = [held for file in files for held in yaml.safe_load_all(file.read_text()) if held]
    ours = [held for held in documents if held["apiVersion"].rpartition("/")[0] in ISTIO_GROUPS and not errors(held)]
    assert len(ours) > 100
    for held in ours:
        held["metadata"] = {"name": held["metadata"]["name"]}  # one namespace is as good as the other
    await known(kubectl, api_server.kubeconfig)
    arguments = ("create", "--validate=strict", "--dry-run=server", "-f", "-")
    done = await kubectl(api_server.kubeconfig, *arguments, text=to_json(ours))
    assert done.stderr == ""
    assert done.stdout.count("created") == len(ours)


async def test_kubectl_explains_fields_and_shows_istios_columns(
    cluster: Cluster, namespace: str, api_server: ApiServer, kubectl: Kubectl
) -> None:
    await cluster.create(served("VirtualService"), document("VirtualService", GOOD[0][1], namespace=namespace))
    await known(kubectl, api_server.kubeconfig)
    table = await kubectl(api_server.kubeconfig, "get", "vs", "-n", namespace)
    assert table.stdout.splitlines()[0].split() == ["NAME", "GATEWAYS", "HOSTS", "AGE"]
    wide = await kubectl(api_server.kubeconfig, "get", "istio-io", "-n", namespace, "-o", "wide")
    assert wide.stdout.splitlines()[0].split()[-2:] == ["ACCEPTED", "PROGRAMMED"]
    explained = await kubectl(api_server.kubeconfig, "explain", "vs.spec.http.retries.attempts")
    assert "How often a request is tried again" in explained.stdout


async def test_what_our_models_refuse_the_api_server_refuses_as_far_as_schemas_can_say_it(cluster: Cluster) -> None:
    """Each rule of a schema has a bad object that breaks it, and says the code of ours that it stands for."""
    said = "\n".join(await refusals_of_bad_objects(cluster))
    unheard = {rule["message"] for held in definitions() for rule in rules(held) if rule["message"] not in said}
    assert unheard == set()


@pytest.mark.parametrize("kind", KINDS)
async def test_documents_at_random_are_taken_by_both_or_refused_by_ours(kind: str, cluster: Cluster) -> None:
    """A schema never refuses what our models take."""
    for seed in range(12):
        rnd = random_documents.seeded(f"{kind} {seed}")
        held = random_documents.document(kind, rnd, fill=rnd.choice((0.05, 0.2, 0.4)))
        held["metadata"]["namespace"] = "default"
        if answer := await refusal(cluster, held):
            assert errors(held), (json.dumps(held), answer)


_FAULTS = (None, True, "x", "", 5, -1, 2**40, 1.5, [], {}, ["x"], {"x": "y"}, [None], "5s", "-3s", "0")


@pytest.mark.parametrize("kind", KINDS)
async def test_faults_of_shape_are_refused_by_both(kind: str, cluster: Cluster) -> None:
    spec = message_of(ISTIO_KINDS[kind]).fields["spec"].shape
    for seed in range(20):
        rnd = random_documents.seeded(f"fault {kind} {seed}")
        held = random_documents.document(kind, rnd, fill=rnd.choice((0.05, 0.2)))
        held["metadata"]["namespace"] = "default"
        places = random_documents.places(held["spec"], spec)
        if not places:
            continue
        path, container, _, key = rnd.choice(places)
        container[key] = fault = rnd.choice(_FAULTS)
        found, answer = errors(held), await refusal(cluster, held)
        assert found or not answer, (path, fault, answer)
        if any(problem.code.startswith("DRG01") for problem in found) and not (fault is None and path.endswith("]")):
            # An API server drops what is null in a map; in a file that is more likely a value forgotten.
            assert answer, (path, fault, found)


async def test_large_objects_stay_within_what_rules_may_cost_at_run_time(cluster: Cluster) -> None:
    """Kubernetes: RuntimeCELCostBudget."""
    route = {
        "match": [{"uri": {"prefix": "/"}, "headers": {"x": {"exact": "a"}}}],
        "route": [{"destination": {"host": "a"}, "weight": 50}, {"destination": {"host": "b"}, "weight": 50}],
        "retries": {"attempts": 3, "perTryTimeout": "1s"},
        "corsPolicy": {"allowOrigins": [{"exact": "*"}], "maxAge": "5s"},
        "timeout": "5s",
    }
    routes = document("VirtualService", "{hosts: [a]}") | {"spec": {"hosts": ["a"], "http": [route] * 2000}}
    assert await refusal(cluster, routes) == ""
    rule = {"from": [{"source": {"ipBlocks": ["10.0.0.0/8"]}}] * 4, "to": [{"operation": {"methods": ["GET"]}}]}
    policy = document("AuthorizationPolicy", "{action: CUSTOM, provider: {name: a}}")
    policy["spec"]["rules"] = [rule] * 512
    assert await refusal(cluster, policy) == ""
    policy["spec"]["rules"] = [rule] * 513
    assert "must have at most 512 items" in await refusal(cluster, policy)
    assert [(problem.code, problem.path) for problem in errors(policy)] == [("DRG0106", "spec.rules")]


@pytest.mark.parametrize("kind", KINDS)
async def test_every_version_is_served_and_keeps_every_field(kind: str, cluster: Cluster, namespace: str) -> None:
    """What is written at one version is read at the others, and what a controller says is not lost."""
    held = document(kind, next(spec for name, spec in (*GOOD, *_MORE) if name == kind), namespace=namespace)
    await cluster.create(served(kind), held)
    status = {
        "conditions": [{"type": "Accepted", "status": "True", "observedGeneration": 1}],
        "observedGeneration": "1",
    }
    for version in ISTIO_KINDS[kind].resource.versions:
        resource = served(kind, version)
        assert (await cluster.get(resource, "a", namespace))["spec"] == held["spec"]
        await cluster.patch(resource, "a", {"status": status}, namespace, subresource="status")
        assert (await cluster.get(resource, "a", namespace))["status"] == status


_MORE = [
    ("WorkloadEntry", "{address: 10.0.0.1}"),
    ("ProxyConfig", "{concurrency: 2}"),
    ("TrafficExtension", "{lua: {inlineCode: x}}"),
    ("Telemetry", "{tracing: [{randomSamplingPercentage: 12.5}]}"),
]

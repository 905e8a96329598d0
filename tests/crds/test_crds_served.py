"""A real API server and our own models agree about which objects are good."""

import copy
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from crds import Invalid, Problem, decode
from crds.manifests import definitions
from crds.manifests.constraint import RULES
from crds.problem import Severity
from crds.registry import ISTIO_GROUPS, ISTIO_KINDS
from crds.shape import message_of
from crds.validate import validate
from dragoman.kube.cluster import Cluster
from dragoman.kube.errors import ApiError
from dragoman.kube.resource import ApiResource
from tests.crds import random_documents
from tests.crds.specs import BAD, GOOD

pytestmark = [pytest.mark.real_api, pytest.mark.usefixtures("custom_resources")]

KINDS = sorted(ISTIO_KINDS)
ROOT = Path(__file__).parents[2]

LEFT_TO_THE_WEBHOOK = {
    # What neither patterns nor CEL can say at all
    ("VirtualService", "DRG0306", "spec.http[].match[].uri.regex"): "whether RE2 reads an expression",
    ("VirtualService", "DRG0306", "spec.http[].rewrite.uriRegexRewrite.match"): "whether RE2 reads an expression",
    ("VirtualService", "DRG0314", "spec.http[].rewrite.uriRegexRewrite.rewrite"): "the groups of an expression",
    ("DestinationRule", "DRG0314", "spec.trafficPolicy.loadBalancer.consistentHash.maglev.tableSize"): "primes",
    # What CEL could say of few objects only: its cost at worst grows with the product of what it compares
    ("VirtualService", "DRG0309", "spec.hosts[]"): "each host with each other",
    ("VirtualService", "DRG0311", "spec.tls[].match[].sniHosts[]"): "each name with each host",
    ("VirtualService", "DRG0311", "spec.http[].match[].headers[]"): "each name of each match",
    ("VirtualService", "DRG0313", "spec.http[].match[].headers[]"): "each name of each match",
    ("VirtualService", "DRG0313", "spec.http[].headers.response.set[]"): "each name of each destination",
    ("VirtualService", "DRG0303", "spec.http[].timeout"): "a multiple of 1ms, of each duration of each port",
    ("VirtualService", "DRG0303", "spec.http[].corsPolicy.maxAge"): "a multiple of 1s",
    ("DestinationRule", "DRG0309", "spec.subsets[].name"): "each subset with each other",
    ("DestinationRule", "DRG0305", "spec.trafficPolicy.loadBalancer.localityLbSetting.distribute[].to"): "sums",
    ("DestinationRule", "DRG0311", "spec.trafficPolicy.loadBalancer.localityLbSetting.failover[]"): "texts without end",
    ("AuthorizationPolicy", "DRG0302", "spec.rules[].when[].values[]"): "each value of each condition",
    ("AuthorizationPolicy", "DRG0310", "spec.rules[].when[].values[]"): "each value of each condition",
}
"""Errors that our validation finds and no schema: the admission webhook refuses these objects."""


def document(kind: str, spec: str) -> dict[str, Any]:
    api_version = ISTIO_KINDS[kind].resource.api_version()
    return {"apiVersion": api_version, "kind": kind, "metadata": {"name": "a"}, "spec": yaml.safe_load(spec)}


def errors(held: dict[str, Any]) -> list[Problem]:
    """What our models say."""
    try:
        found = validate(decode(held))
    except Invalid as invalid:
        return list(invalid.problems)
    return [problem for problem in found if problem.severity is Severity.ERROR]


async def refusal(cluster: Cluster, held: dict[str, Any]) -> str:
    """What the API server says to `kubectl create --validate=strict --dry-run=server`; empty if it takes it."""
    group, _, version = held["apiVersion"].rpartition("/")
    resource = ApiResource(group, version, ISTIO_KINDS[held["kind"]].resource.plural, held["kind"])
    body = copy.deepcopy(held)
    body["metadata"]["namespace"] = "default"
    query = {"dryRun": "All", "fieldValidation": "Strict"}
    try:
        await cluster.request("POST", resource.path("default"), query=query, body=body)
    except ApiError as error:
        return error.message
    return ""


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


async def test_objects_of_the_golden_cases_and_of_the_demo_are_taken(cluster: Cluster) -> None:
    files = [*ROOT.glob("tests/golden/*/*/in.yaml"), *ROOT.glob("dragoman/demo/**/*.yaml")]
    documents = [held for file in files for held in yaml.safe_load_all(file.read_text()) if held]
    ours = [held for held in documents if held["apiVersion"].rpartition("/")[0] in ISTIO_GROUPS]
    assert len(ours) > 100
    for held in ours:
        held["metadata"].pop("creationTimestamp", None)  # a date of YAML; the API server writes its own
        if not errors(held):
            assert await refusal(cluster, held) == "", held


async def test_what_our_models_refuse_the_api_server_refuses_as_far_as_schemas_can_say_it(cluster: Cluster) -> None:
    """Each rule of a schema has a bad object that breaks it, and says the code of ours that it stands for."""
    answers, left = [], set()
    for kind, spec, _ in BAD:
        held = document(kind, spec)
        found, answer = errors(held), await refusal(cluster, held)
        assert found or not answer, (spec, answer)
        if answer:
            answers.append(answer)
            assert {*re.findall(r"\((DRG\d{4})\)", answer)} <= {problem.code for problem in found}, (spec, answer)
        else:
            left |= {(kind, problem.code, re.sub(r"\[[^]]*\]", "[]", problem.path)) for problem in found}
    assert left == set(LEFT_TO_THE_WEBHOOK)
    said = "\n".join(answers)
    unheard = {rule["message"] for held in definitions() for rule in rules(held) if rule["message"] not in said}
    assert unheard == set()


@pytest.mark.parametrize("kind", KINDS)
async def test_documents_at_random_are_taken_by_both_or_refused_by_ours(kind: str, cluster: Cluster) -> None:
    """A schema never refuses what our models take."""
    for seed in range(12):
        rnd = random_documents.seeded(f"{kind} {seed}")
        held = random_documents.document(kind, rnd, fill=rnd.choice((0.05, 0.2, 0.4)))
        if answer := await refusal(cluster, held):
            assert errors(held), (json.dumps(held), answer)


_FAULTS = (None, True, "x", "", 5, -1, 2**40, 1.5, [], {}, ["x"], {"x": "y"}, [None], "5s", "-3s", "0")


@pytest.mark.parametrize("kind", KINDS)
async def test_faults_of_shape_are_refused_by_both(kind: str, cluster: Cluster) -> None:
    spec = message_of(ISTIO_KINDS[kind]).fields["spec"].shape
    for seed in range(20):
        rnd = random_documents.seeded(f"fault {kind} {seed}")
        held = random_documents.document(kind, rnd, fill=rnd.choice((0.05, 0.2)))
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


@pytest.mark.parametrize("kind", KINDS)
async def test_every_version_is_served_and_keeps_every_field(kind: str, cluster: Cluster, namespace: str) -> None:
    """What is written at one version is read at the others, and what a controller says is not lost."""
    cls = ISTIO_KINDS[kind]
    held = document(kind, next(spec for name, spec in (*GOOD, *_MORE) if name == kind))
    held["metadata"]["namespace"] = namespace
    resource = cls.resource
    await cluster.create(ApiResource(resource.group, resource.storage, resource.plural, kind), held)
    status = {
        "conditions": [{"type": "Accepted", "status": "True", "observedGeneration": 1}],
        "observedGeneration": "1",
    }
    for version in resource.versions:
        served = ApiResource(resource.group, version, resource.plural, kind)
        read = await cluster.get(served, "a", namespace)
        assert read["spec"] == held["spec"]
        await cluster.patch(served, "a", {"status": status}, namespace, subresource="status")
        assert (await cluster.get(served, "a", namespace))["status"] == status


_MORE = [
    ("WorkloadEntry", "{address: 10.0.0.1}"),
    ("ProxyConfig", "{concurrency: 2}"),
    ("TrafficExtension", "{lua: {inlineCode: x}}"),
    ("Telemetry", "{tracing: [{randomSamplingPercentage: 12.5}]}"),
]

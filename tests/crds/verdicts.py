"""What our models and an API server say of a document."""

import copy
import re
from pathlib import Path
from typing import Any

import yaml

from crds import Invalid, Problem, decode
from crds.manifests import definitions
from crds.problem import Severity
from crds.registry import ISTIO_KINDS
from crds.validate import validate
from dragoman.kube.cluster import Cluster
from dragoman.kube.errors import ApiError
from dragoman.kube.resource import ApiResource
from tests.crds.specs import BAD
from tests.support.kubectl import Kubectl
from tests.support.until import until

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

ELSEWHERE = {
    ("DestinationRule", "spec.trafficPolicy.portLevelSettings[].port"),
    ("EnvoyFilter", "spec.configPatches[].patch"),
    ("ServiceEntry", "spec.ports[]"),
    ("WasmPlugin", "spec.vmConfig.env[]"),
}
"""Where an API server names the message and we its field: one that is missing, or its key in a list that is a map."""

_KEY = re.compile(r"\[([^]]*[^]0-9][^]]*)\]")
_NOT_LOOKED_AT = "<nil>"  # "some validation rules were not checked"

_POLICIES = {
    "ValidatingAdmissionPolicy": "validatingadmissionpolicies",
    "ValidatingAdmissionPolicyBinding": "validatingadmissionpolicybindings",
}


def served(kind: str, version: str | None = None) -> ApiResource:
    """A kind of Istio's, or an admission policy, as an API server serves it; at its storage version if none is said."""
    if kind in _POLICIES:
        return ApiResource("admissionregistration.k8s.io", "v1", _POLICIES[kind], kind, namespaced=False)
    resource = ISTIO_KINDS[kind].resource
    return ApiResource(resource.group, version or resource.storage, resource.plural, kind)


def document(kind: str, spec: str, name: str = "a", namespace: str = "default") -> dict[str, Any]:
    """A document with a spec in YAML."""
    meta = {"name": name, "namespace": namespace}
    return {"apiVersion": served(kind).api_version, "kind": kind, "metadata": meta, "spec": yaml.safe_load(spec)}


def errors(held: dict[str, Any]) -> list[Problem]:
    """What our models say."""
    try:
        found = validate(decode(held))
    except Invalid as invalid:
        return list(invalid.problems)
    return [problem for problem in found if problem.severity is Severity.ERROR]


async def known(kubectl: Kubectl, kubeconfig: Path) -> None:
    """Wait until kubectl is told of the last of our kinds and its fields: an API server serves them before."""
    *_, last = definitions()

    async def explained() -> bool:
        return (await kubectl(kubeconfig, "explain", f"{last['spec']['names']['plural']}.spec")).returncode == 0

    await until(explained)


async def refused(cluster: Cluster, held: dict[str, Any]) -> ApiError | None:
    """What the API server says to `kubectl create --validate=strict --dry-run=server`; None if it takes it."""
    body = copy.deepcopy(held)
    body["metadata"].setdefault("namespace", "default")
    path = served(held["kind"], held["apiVersion"].rpartition("/")[2]).path(body["metadata"]["namespace"])
    try:
        await cluster.request("POST", path, query={"dryRun": "All", "fieldValidation": "Strict"}, body=body)
    except ApiError as error:
        return error
    return None


async def refusal(cluster: Cluster, held: dict[str, Any]) -> str:
    """The same in words; empty if it takes it."""
    error = await refused(cluster, held)
    return error.message if error is not None else ""


async def refusals_of_bad_objects(cluster: Cluster) -> list[str]:
    """What the API server says to the bad objects that we know: as far as schemas can say it, what we say, at the field
    where we say it, or at the list that it is in.
    """
    answers, left, elsewhere = [], set(), set()
    for kind, spec, _ in BAD:
        held = document(kind, spec)
        found, error = errors(held), await refused(cluster, held)
        assert found or error is None, (spec, error)
        if error is None:
            left |= {(kind, problem.code, re.sub(r"\[[^]]*\]", "[]", problem.path)) for problem in found}
            continue
        answers.append(error.message)
        assert {*re.findall(r"\((DRG\d{4})\)", error.message)} <= {problem.code for problem in found}, (spec, error)
        paths = {problem.path for problem in found} | {_KEY.sub(r".\1", problem.path) for problem in found}
        for field in {_KEY.sub(r".\1", cause["field"]) for cause in error.details["causes"]} - {_NOT_LOOKED_AT}:
            if not any(path == field or path.startswith(f"{field}[") for path in paths):
                elsewhere.add((kind, re.sub(r"\[[^]]*\]", "[]", field)))
    assert left == set(LEFT_TO_THE_WEBHOOK), left ^ set(LEFT_TO_THE_WEBHOOK)
    assert elsewhere == ELSEWHERE, elsewhere ^ ELSEWHERE
    return answers

"""What the charts make of a revision: objects that fit each other, and the programs that they start."""

from __future__ import annotations

import os
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml
from documents import all_of, one, rendered

from crds.manifests import admission_policies
from crds.manifests.documents import to_yaml
from crds.meshconfig import MeshConfig, parse
from crds.registry import ISTIO_KINDS
from dragoman.charts import Chart, ChartError, Release
from dragoman.cli.main import app
from dragoman.installation.bundle import Component, charts_folder
from dragoman.installation.installer import steps
from dragoman.installation.objects import identity
from dragoman.installation.written import written
from dragoman.sidecar.injection.config_map import settings_of

ROOT = Path(__file__).parents[2]
MANIFESTS = ROOT / "deploy" / "manifests"
RELEASES = {"control-plane": "dragoman", "gateway": "istio-ingressgateway"}


def plain(chart: str) -> str:
    """A chart with its own values as one stream of YAML, comments included, in the order of applying."""
    found = Chart(charts_folder() / chart).render({}, Release(RELEASES[chart], "istio-system"))
    found.sort(key=lambda each: identity(each.document).rank)
    first = [written([one(rendered(), "Namespace")]).removeprefix("---\n").strip()] if chart == "control-plane" else []
    return "".join(f"---\n{text}\n" for text in (*first, *(each.text for each in found)))


@pytest.mark.parametrize("chart", RELEASES)
def test_plain_manifests_are_the_charts(chart: str) -> None:
    path = MANIFESTS / f"{chart}.yaml"
    text = f"# The chart {chart} with its own values; made from deploy/charts.\n{plain(chart)}"
    if os.environ.get("UPDATE_GOLDEN"):
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    assert path.read_text() == text, "run: UPDATE_GOLDEN=1 python -m pytest tests/installation/test_bundle.py"


def test_the_plain_definitions_are_those_of_the_chart() -> None:
    # One file in two places: it is long.
    documents = list(yaml.load_all((MANIFESTS / "base.yaml").read_text(), Loader=yaml.CSafeLoader))
    found = Chart(charts_folder() / "base").render({}, Release("dragoman-base", "istio-system"))
    assert [each.document for each in found] == documents
    assert {each.document["kind"] for each in found} == {"CustomResourceDefinition"}
    # Objects of these kinds would go with their definitions.
    assert all(each.document["metadata"]["annotations"]["helm.sh/resource-policy"] == "keep" for each in found)


def policy_files() -> dict[str, str]:
    """The policies, with words for what each revision puts into them."""
    written_as = {"revisions": ("REVISION",), "unlabelled": False, "root_namespace": "ROOT-NAMESPACE"}
    documents = admission_policies(**written_as)
    return {
        f"policy-{name}.yaml": to_yaml(
            [each for each in documents if each["metadata"]["name"] == f"dragoman-{name}-REVISION"]
        ).replace("] : false", "] : UNLABELLED")
        for name in ("placement", "stable-channel")
    }


def test_the_chart_has_the_current_policies() -> None:
    for name, text in policy_files().items():
        path = ROOT / "deploy/charts/control-plane/files" / name
        if os.environ.get("UPDATE_GOLDEN"):
            path.write_text(text)
        assert path.read_text() == text, f"run: UPDATE_GOLDEN=1 python -m pytest {__file__}"


@pytest.mark.parametrize(
    ("revision", "tags", "namespace"),
    [("", [], "istio-system"), ("canary", ["prod"], "mesh"), ("new", ["default"], "istio-system")],
)
def test_policies_are_for_the_revision_and_its_tags(revision: str, tags: list[str], namespace: str) -> None:
    found = rendered(namespace, revision=revision, revisionTags=tags, validationPolicies={"stableChannel": True})
    names = (revision or "default", *tags)
    expected = admission_policies(revisions=names, unlabelled="default" in names, root_namespace=namespace)
    for kind in ("ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding"):
        ours = [each["spec"] for each in all_of(found, kind)]
        theirs = [each["spec"] for each in expected if each["kind"] == kind]
        if kind == "ValidatingAdmissionPolicyBinding":
            assert {each["policyName"] for each in ours} == {
                each["metadata"]["name"] for each in all_of(found, "ValidatingAdmissionPolicy")
            }
            ours, theirs = ([each["validationActions"] for each in group] for group in (ours, theirs))
        assert sorted(map(str, ours)) == sorted(map(str, theirs))


def containers(template: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield from template["spec"].get("initContainers", ())
    yield from template["spec"]["containers"]


def test_charts_have_the_version_of_the_package() -> None:
    for path in charts_folder().glob("*/Chart.yaml"):
        metadata = yaml.safe_load(path.read_text())
        assert (metadata["version"], metadata["appVersion"]) == (version("dragoman"), version("dragoman"))


def test_the_arguments_are_those_of_serve() -> None:
    found = rendered(
        pilot={
            "plaintextXds": True,
            "maxStreams": 5,
            "trustedGatewayCIDRs": ["192.0.2.1/32"],
            "trustedNodeAccounts": ["a/b"],
        }
    )
    (container,) = one(found, "Deployment")["spec"]["template"]["spec"]["containers"]
    command, *arguments = container["args"]
    group = typer.main.get_command(app)
    _, serve, _ = group.resolve_command(typer.Context(group), [command])  # type: ignore[attr-defined]
    known = {option for parameter in serve.params for option in parameter.opts}
    assert {argument.partition("=")[0] for argument in arguments} <= known


def test_the_pods_ask_for_nothing_that_they_do_not_need() -> None:
    found = rendered(gateways={"edge": {}})
    for deployment in all_of(found, "Deployment"):
        template = deployment["spec"]["template"]
        assert template["spec"]["securityContext"]["runAsNonRoot"]
        assert template["spec"]["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        for container in containers(template):
            assert container["securityContext"]["readOnlyRootFilesystem"]
            assert not container["securityContext"]["allowPrivilegeEscalation"]
            assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    assert one(found, "Namespace")["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"


def test_selectors_labels_ports_and_accounts_fit_each_other() -> None:
    found = rendered(revision="canary")
    template = one(found, "Deployment")["spec"]["template"]
    labels = template["metadata"]["labels"].items()
    service = one(found, "Service")
    assert service["spec"]["selector"].items() <= labels
    assert one(found, "PodDisruptionBudget")["spec"]["selector"]["matchLabels"].items() <= labels
    assert one(found, "NetworkPolicy")["spec"]["podSelector"]["matchLabels"].items() <= labels
    assert (
        one(found, "HorizontalPodAutoscaler")["spec"]["scaleTargetRef"]["name"]
        == identity(one(found, "Deployment")).name
    )
    listening = {port["containerPort"] for port in template["spec"]["containers"][0]["ports"]}
    assert {port.get("targetPort", port["port"]) for port in service["spec"]["ports"]} == listening
    allowed = {port["port"] for rule in one(found, "NetworkPolicy")["spec"]["ingress"] for port in rule["ports"]}
    assert allowed == listening
    assert template["spec"]["serviceAccountName"] == one(found, "ServiceAccount")["metadata"]["name"]
    for kind in ("ClusterRoleBinding", "RoleBinding"):
        assert one(found, kind)["subjects"][0]["name"] == template["spec"]["serviceAccountName"]


def test_revisions_share_no_object_but_the_definitions() -> None:
    first, second = (set(map(identity, rendered(revision=name, base={}).documents)) for name in ("", "canary"))
    shared = {each.kind for each in first & second}
    assert shared == {"Namespace", "CustomResourceDefinition"}


def test_meshes_in_other_namespaces_share_no_name_in_the_cluster() -> None:
    first, second = (set(map(identity, rendered(name, base={}).documents)) for name in ("istio-system", "other"))
    shared = {each.kind for each in first & second}
    assert shared == {"CustomResourceDefinition"}


def test_its_rights_name_every_kind_of_ours() -> None:
    rules = one(rendered(), "ClusterRole")["rules"]
    for kind in ISTIO_KINDS.values():
        verbs = {
            (resource, verb)
            for rule in rules
            if kind.resource.group in rule["apiGroups"]
            for resource in rule["resources"]
            for verb in rule["verbs"]
        }
        plural = kind.resource.plural
        assert {(plural, "get"), (plural, "list"), (plural, "watch"), (f"{plural}/status", "patch")} <= verbs
        assert (plural, "update") not in verbs


def test_nothing_is_allowed_by_wildcard() -> None:
    for kind in ("ClusterRole", "Role"):
        for role in all_of(rendered(gateways={"edge": {}}), kind):
            for rule in role["rules"]:
                assert "*" not in (*rule["apiGroups"], *rule["resources"], *rule["verbs"])


def test_its_rights_to_secrets_can_be_narrowed() -> None:
    found = rendered(pilot={"secretNamespaces": ["edge"]})
    assert not any("secrets" in rule["resources"] for rule in one(found, "ClusterRole")["rules"])
    assert {each["metadata"]["namespace"] for each in all_of(found, "Role")} == {"istio-system", "edge"}


def test_mesh_configuration_is_laid_over_the_charts_own() -> None:
    found = rendered(
        "mesh", revision="canary", meshConfig={"trustDomain": "example.com", "defaultConfig": {"concurrency": 3}}
    )
    mesh = parse(one(found, "ConfigMap", "istio-canary")["data"]["mesh"])
    assert mesh.trust_domain == "example.com"
    assert mesh.root_namespace == "mesh"
    assert mesh.default_config.concurrency == 3
    assert mesh.default_config.discovery_address == "istiod-canary.mesh.svc:15012"


def test_the_injector_reads_what_is_installed_for_it() -> None:
    found = rendered(
        revision="canary",
        revisionTags=["prod"],
        **{"global": {"hub": "registry.example.com", "tag": "v1", "proxy": {"image": "envoy:1"}}},
    )
    data = one(found, "ConfigMap", "istio-sidecar-injector-canary")["data"]
    settings = settings_of(data, drain_secret=b"s", mesh=MeshConfig())
    assert (settings.revision, settings.tags) == ("canary", frozenset({"prod"}))
    assert (settings.proxy_image, settings.capture_image) == ("envoy:1", "registry.example.com/dragoman:v1")
    assert one(found, "Deployment")["spec"]["template"]["spec"]["containers"][0]["image"] == settings.capture_image


def matches(expressions: list[dict[str, Any]], labels: dict[str, str]) -> bool:
    """A label selector (Kubernetes: LabelSelectorRequirement)."""
    return all(
        {
            "In": lambda each: labels.get(each["key"]) in each["values"],
            "NotIn": lambda each: labels.get(each["key"]) not in each["values"],
            "Exists": lambda each: each["key"] in labels,
            "DoesNotExist": lambda each: each["key"] not in labels,
        }[each["operator"]](each)
        for each in expressions
    )


ON, OFF, REV = {"istio-injection": "enabled"}, {"istio-injection": "disabled"}, {"istio.io/rev": "canary"}
YES, NO = {"sidecar.istio.io/inject": "true"}, {"sidecar.istio.io/inject": "false"}


@pytest.mark.parametrize(
    ("namespace", "pod", "taken_by"),
    [
        ({}, {}, set()),
        (ON, {}, {"default"}),
        (ON, NO, set()),
        (OFF, YES, set()),
        ({}, YES, {"default"}),
        ({}, REV, {"canary"}),
        ({}, REV | YES, {"canary"}),
        ({}, REV | NO, set()),
        (REV, {}, {"canary"}),
        (REV, NO, set()),
        (REV | ON, {}, {"default"}),
        (REV, {"istio.io/rev": "default"}, {"canary"}),
        ({"istio.io/rev": "default"}, {}, {"default"}),
        ({"istio.io/rev": "prod"}, {}, {"canary"}),
        ({"istio.io/rev": "other"}, {}, set()),
    ],
)
def test_each_pod_is_of_at_most_one_revision(
    namespace: dict[str, str], pod: dict[str, str], taken_by: set[str]
) -> None:
    """Istio: pkg/kube/inject, the order of its labels; no pod is sent through two webhooks."""
    takers = []
    for revision, tags in (("", []), ("canary", ["prod"])):
        for configuration in all_of(rendered(revision=revision, revisionTags=tags), "MutatingWebhookConfiguration"):
            takers += [
                revision or "default"
                for webhook in configuration["webhooks"]
                if matches(webhook["namespaceSelector"]["matchExpressions"], namespace)
                and matches(webhook["objectSelector"]["matchExpressions"], pod)
            ]
    assert sorted(takers) == sorted(taken_by)


def test_webhooks_come_when_the_control_plane_is_there_and_gateways_when_webhooks_are() -> None:
    found = rendered(gateways={"edge": {}}, monitoring={"serviceMonitor": {"enabled": True}})
    order = [step.title for step in steps(found) if step.documents]
    assert order.index("control plane") < order.index("webhooks") < order.index("gateways")
    assert order.index("namespace") == 0
    together = [identity(each) for step in steps(found) for each in step.documents]
    assert sorted(together) == sorted(map(identity, found.documents))


def test_gateways_are_as_many_as_are_named() -> None:
    found = rendered(gateways={"edge": {"namespace": "ingress"}, "inner": None}, revision="canary")
    deployments = {identity(each)[1:]: each for each in all_of(found, "Deployment")}
    assert set(deployments) == {("istio-system", "istiod-canary"), ("ingress", "edge"), ("istio-system", "inner")}
    template = deployments["ingress", "edge"]["spec"]["template"]
    assert template["metadata"]["annotations"]["inject.istio.io/templates"] == "gateway"
    assert template["metadata"]["labels"]["istio.io/rev"] == "canary"
    assert {part.component for part in found.parts if part.document["metadata"]["name"] == "edge"} == {
        Component.GATEWAY
    }


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"pilt": {}}, "'pilt' was unexpected"),
        ({"gateways": ["edge"]}, "gateways: a map"),
        ({"gateways": {"edge": "x"}}, "edge: a map"),
        ({"gateways": {"edge": {"replicas": 1}}}, "'replicas' was unexpected"),
        ({"base": {"crds": True}}, "'crds' was unexpected"),
    ],
)
def test_values_that_no_chart_takes_are_refused(values: dict[str, Any], said: str) -> None:
    with pytest.raises(ChartError, match=said):
        rendered(**values)


def test_what_is_next_is_said_of_the_control_plane_and_of_each_gateway() -> None:
    def labelled(notes: str) -> str:
        (line,) = [line for line in notes.splitlines() if "kubectl label namespace NAME" in line]
        return line.rpartition(" ")[2]

    (default,) = rendered("istio-system").notes
    canary, edge = rendered("mesh", revision="canary", gateways={"edge": {"namespace": "in"}}).notes
    (tagged,) = rendered("istio-system", revision="canary", revisionTags=["default"]).notes
    assert labelled(default) == labelled(tagged) == "istio-injection=enabled"
    assert labelled(canary) == "istio.io/rev=canary"
    assert "deployment/istiod-canary" in canary
    assert "gateway edge in in gets its Envoy from the control plane of revision canary" in edge

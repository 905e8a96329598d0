"""Judgements before an installation: what is told of each thing that would go wrong, and nothing of what would not."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest
from documents import all_of, rendered

from dragoman.installation import judgements
from dragoman.installation.findings import Finding, Level, worst


def told(findings: Iterable[Finding]) -> list[tuple[str, str]]:
    return [(str(each.level), each.message) for each in findings]


def named(name: str, namespace: str = "", **labels: str) -> dict[str, Any]:
    metadata: dict[str, Any] = {
        "name": name,
        "labels": {key.replace("__", "/"): value for key, value in labels.items()},
    }
    return {"kind": "X", "metadata": metadata | ({"namespace": namespace} if namespace else {})}


@pytest.mark.parametrize(
    ("version", "level"),
    [("v1.36.3", Level.OK), ("v1.31.0+k3s1", Level.OK), ("v1.30.9", Level.ERROR), ("v2.0.0", Level.OK)],
)
def test_an_old_api_server_will_not_do(version: str, level: Level) -> None:
    assert judgements.api_version(version).level is level


def test_old_kubelets_are_named() -> None:
    nodes = [
        named(name) | {"status": {"nodeInfo": {"kubeletVersion": version}}}
        for name, version in (("a", "v1.36.0"), ("b", "v1.29.1"))
    ]
    assert told(judgements.kubelets(nodes)) == [("warning", "1 with an older kubelet: b (v1.29.1)")]
    assert told(judgements.kubelets(nodes[:1])) == []


def test_a_control_plane_of_others_with_our_name_is_in_the_way() -> None:
    ours = named("istiod", "mesh") | {}
    ours["metadata"]["labels"] = {"app.kubernetes.io/managed-by": "dragoman"}
    istio = named("istiod", "istio-system", app="istiod")
    assert [each.level for each in judgements.control_planes([ours], "mesh", "istiod")] == [Level.OK]
    assert [each.level for each in judgements.control_planes([istio], "istio-system", "istiod")] == [Level.ERROR]
    assert [each.level for each in judgements.control_planes([istio], "istio-system", "istiod-canary")] == [
        Level.WARNING
    ]


def injectors(namespace: str = "istio-system", **values: Any) -> list[dict[str, Any]]:
    return all_of(rendered(namespace, **values), "MutatingWebhookConfiguration")


SERVICES = frozenset(("istio-system/istiod", "istio-system/istiod-canary", "other/istiod"))


def test_injectors_that_take_the_same_pods_are_told() -> None:
    assert told(judgements.webhooks(injectors(), injectors("other"), SERVICES)) == [
        ("error", "istio-sidecar-injector-other injects the same namespaces or pods")
    ]
    assert told(judgements.webhooks(injectors(), injectors(revision="canary"), SERVICES)) == []
    assert told(judgements.webhooks(injectors(), injectors(), SERVICES)) == []


def test_a_selector_is_the_same_however_it_is_written() -> None:
    (istio,) = injectors("other")
    for webhook in istio["webhooks"]:
        expressions = webhook["namespaceSelector"]["matchExpressions"]
        labels = {each["key"]: each["values"][0] for each in expressions if each["operator"] == "In"}
        webhook["namespaceSelector"] = {
            "matchLabels": labels,
            "matchExpressions": [each for each in reversed(expressions) if each["operator"] != "In"],
        }
    assert [each.level for each in judgements.webhooks(injectors(), [istio], SERVICES)] == [Level.ERROR]


def test_a_tag_that_moves_is_told() -> None:
    before = injectors(revision="old", revisionTags=["prod"])
    found = told(
        judgements.webhooks(
            injectors(revision="new", revisionTags=["prod"]), before, SERVICES | {"istio-system/istiod-old"}
        )
    )
    assert found == [("warning", "istio-revision-tag-prod is of revision old, and would be of new")]


def test_webhooks_that_nobody_answers_are_told() -> None:
    left = injectors(revision="gone")
    assert told(judgements.webhooks(injectors(), left, SERVICES)) == [
        ("warning", "istio-sidecar-injector-gone calls the Service istio-system/istiod-gone, which does not exist")
    ]


def definition(name: str, *versions: str, stored: tuple[str, ...] = (), **labels: str) -> dict[str, Any]:
    return named(name, **labels) | {
        "spec": {"versions": [{"name": version, "served": True} for version in versions]},
        "status": {"storedVersions": list(stored)},
    }


@pytest.mark.parametrize(
    ("there", "expected"),
    [
        ({}, []),
        ({"a": definition("a", "v1", app__kubernetes="x")}, ["warning"]),
        ({"a": definition("a", "v1", **{"app.kubernetes.io__managed-by": "dragoman"})}, []),
        ({"a": definition("a", "v1", "v2")}, ["error"]),
        ({"a": definition("a", "v1", stored=("v1alpha9",))}, ["error"]),
        ({"b": definition("b", "v9")}, []),
    ],
)
def test_definitions_of_newer_versions_are_in_the_way(there: dict[str, Any], expected: list[str]) -> None:
    ours = [definition("a", "v1beta1", "v1")]
    assert [level for level, _ in told(judgements.definitions(ours, there))] == expected


@pytest.mark.parametrize(
    ("labels", "cni", "expected"),
    [
        ({}, False, []),
        ({"istio-injection": "enabled"}, False, []),
        ({"istio-injection": "enabled", "pod-security.kubernetes.io/enforce": "baseline"}, False, ["warning"]),
        ({"istio.io/rev": "canary", "pod-security.kubernetes.io/enforce": "restricted"}, False, ["warning"]),
        ({"istio-injection": "enabled", "pod-security.kubernetes.io/enforce": "restricted"}, True, []),
        ({"pod-security.kubernetes.io/enforce": "restricted"}, False, []),
    ],
)
def test_pod_security_that_refuses_injected_pods(labels: dict[str, str], cni: bool, expected: list[str]) -> None:
    namespace = {"metadata": {"name": "shop", "labels": labels}}
    assert [level for level, _ in told(judgements.pod_security([namespace], "istio-system", cni=cni))] == expected


def test_the_node_agent_needs_a_privileged_namespace() -> None:
    namespace = {"metadata": {"name": "own", "labels": {"pod-security.kubernetes.io/enforce": "baseline"}}}
    assert worst(judgements.pod_security([namespace], "own", cni=True)) is Level.ERROR
    assert worst(judgements.pod_security([namespace], "own", cni=False)) is Level.OK

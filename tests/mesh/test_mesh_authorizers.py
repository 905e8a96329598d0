"""Policies that ask an external authorizer who cannot be asked say why."""

from __future__ import annotations

import pytest

from crds.authorizationpolicy import AuthorizationPolicy
from crds.meta import ObjectKey
from crds.problem import Problem
from dragoman.mesh.authorizers import authorizer, disagreement, unaskable
from tests.support.mesh_of_yaml import Mesh, istio, mesh_settings

GUARD = """
---
apiVersion: v1
kind: Service
metadata: {name: guard, namespace: guards}
spec: {clusterIP: 10.96.0.9, ports: [{name: http, port: 8000}, {name: udp, port: 53, protocol: UDP}]}
"""
HOST = "guard.guards.svc.cluster.local"


def settings(name: str = "guard", service: str = HOST, port: int = 8000) -> str:
    return mesh_settings(
        f"extensionProviders: [{{name: {name}, envoyExtAuthzHttp: {{service: {service}, port: {port}}}}}]"
    )


def found(text: str, spec: str = "{action: CUSTOM, provider: {name: guard}, rules: [{}]}") -> Problem | None:
    mesh = Mesh(text + istio("AuthorizationPolicy", "ask", spec))
    policy = mesh.world.objects[ObjectKey("AuthorizationPolicy", "shop", "ask")]
    assert isinstance(policy, AuthorizationPolicy)
    problem = unaskable(mesh.graph, policy)
    if policy.spec.provider is not None and policy.spec.provider.name:
        assert (problem is None) == (authorizer(mesh.graph, policy.spec.provider.name) is not None)
    return problem


def test_one_that_can_be_asked() -> None:
    assert found(GUARD + settings()) is None


@pytest.mark.parametrize(
    ("text", "said"),
    [
        pytest.param(GUARD, "the mesh has no extensionProvider 'guard'", id="no settings"),
        pytest.param(GUARD + settings("gaurd"), "the mesh has no extensionProvider 'guard'", id="another name"),
        pytest.param(settings(), f"'{HOST}', TCP port 8000", id="no service"),
        pytest.param(GUARD + settings(service=f"shop/{HOST}"), f"'shop/{HOST}'", id="a service of another namespace"),
        pytest.param(GUARD + settings(port=1), "TCP port 1", id="no port"),
        pytest.param(GUARD + settings(port=53), "TCP port 53", id="a port of datagrams"),
        pytest.param(
            GUARD + mesh_settings("extensionProviders: [{name: guard}]"), "is no external authorizer", id="another kind"
        ),
    ],
)
def test_one_that_cannot_be_asked(text: str, said: str) -> None:
    problem = found(text)
    assert problem is not None
    assert (problem.code, problem.path) == ("DRG0413", "spec.provider.name")
    assert said in problem.message
    assert "is denied" in problem.message


def test_policies_that_ask_nobody() -> None:
    assert found("", "{action: DENY, rules: [{}]}") is None
    mesh = Mesh(istio("AuthorizationPolicy", "ask", "{action: CUSTOM, provider: {name: guard}, rules: [{}]}"))
    policy = mesh.world.objects[ObjectKey("AuthorizationPolicy", "shop", "ask")]
    assert unaskable(mesh.graph, policy) is not None
    dry = istio("AuthorizationPolicy", "ask", "{action: CUSTOM, provider: {name: guard}, rules: [{}]}")
    mesh.apply(dry.replace("metadata: {", 'metadata: {annotations: {istio.io/dry-run: "true"}, '))
    assert unaskable(mesh.graph, mesh.world.objects[policy.key]) is None


def test_services_that_come_and_go() -> None:
    mesh = Mesh(
        settings() + istio("AuthorizationPolicy", "ask", "{action: CUSTOM, provider: {name: guard}, rules: [{}]}")
    )
    policy = mesh.world.objects[ObjectKey("AuthorizationPolicy", "shop", "ask")]
    seen = [unaskable(mesh.graph, policy) is None]
    mesh.apply(GUARD)
    seen.append(unaskable(mesh.graph, policy) is None)
    mesh.remove("Service", "guards", "guard")
    seen.append(unaskable(mesh.graph, policy) is None)
    assert seen == [False, True, False]


ROOT = "istio-system"
WEB = "selector: {matchLabels: {app: web}}"
TARGET = "targetRefs: [{group: gateway.networking.k8s.io, kind: Gateway, name: edge}]"


@pytest.mark.parametrize(
    ("one", "other", "namespace", "meet"),
    [
        pytest.param(WEB, WEB, "shop", True, id="the same selector"),
        pytest.param(WEB, "selector: {matchLabels: {app: web, version: v1}}", "shop", True, id="a narrower one"),
        pytest.param(WEB, "", "shop", True, id="the whole namespace"),
        pytest.param(WEB, WEB, ROOT, True, id="everywhere"),
        pytest.param(WEB, "", ROOT, True, id="the whole mesh"),
        pytest.param(TARGET, TARGET, "shop", True, id="the same gateway"),
        pytest.param(TARGET, TARGET, ROOT, False, id="gateways of other namespaces"),
        pytest.param(WEB, WEB, "bank", False, id="another namespace"),
        pytest.param(WEB, "selector: {matchLabels: {app: db}}", "shop", False, id="another workload"),
        pytest.param(WEB, TARGET, "shop", False, id="a gateway"),
    ],
)
def test_two_authorizers_for_one_workload(one: str, other: str, namespace: str, meet: bool) -> None:
    def policy(name: str, who: str, provider: str, namespace: str, more: str = "") -> str:
        spec = f"{{{who + ', ' if who else ''}action: CUSTOM, rules: [{{}}], provider: {{name: {provider}}}}}"
        return istio("AuthorizationPolicy", name, spec, namespace).replace("metadata: {", "metadata: {" + more)

    def said(*policies: str) -> list[Problem | None]:
        mesh = Mesh("".join(policies))
        found = [obj for obj in mesh.world.objects.values() if isinstance(obj, AuthorizationPolicy)]
        return [disagreement(each, found, ROOT) for each in found]

    ours = policy("a", one, "guard", "shop")
    problems = said(ours, policy("b", other, "other", namespace))
    assert [problem is not None for problem in problems] == [meet, meet], "neither of them wins"
    if problems[0] is not None:
        assert (problems[0].code, problems[0].path) == ("DRG0414", "spec.provider.name")
        assert f"AuthorizationPolicy {namespace}/b names 'other' for the same workloads" in problems[0].message
    assert said(ours, policy("b", other, "guard", namespace)) == [None, None]
    dry = 'annotations: {istio.io/dry-run: "true"}, '
    assert said(ours, policy("b", other, "other", namespace, dry)) == [None, None]

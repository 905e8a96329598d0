"""Policies that ask an external authorizer who cannot be asked say why."""

from __future__ import annotations

import pytest

from crds.authorizationpolicy import AuthorizationPolicy
from crds.meta import ObjectKey
from crds.problem import Problem
from dragoman.mesh.authorizers import authorizer, unaskable
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

"""To whom policies with targets are attached, and to whom they never are."""

from __future__ import annotations

import pytest

from dragoman.mesh.labels import Labels, labels_of
from dragoman.mesh.policies import authorization_policies, policy_label_keys
from dragoman.mesh.request_authentications import jwt_rules
from tests.support.mesh_of_yaml import Mesh, istio

GATEWAY = "{{kind: Gateway, group: gateway.networking.k8s.io, name: {}}}"
FRONT, BACK = GATEWAY.format("front"), GATEWAY.format("back")

OF_FRONT = labels_of({"gateway.networking.k8s.io/gateway-name": "front", "app": "front"})
ORDINARY = labels_of({"app": "front"})


def attached(spec: str, namespace: str, labels: Labels, *, of_policy: str = "edge") -> bool:
    """Whether both kinds of policies, of `of_policy`, hold for a workload; they never differ."""
    mesh = Mesh(
        istio("AuthorizationPolicy", "a", f"{{{spec}}}", of_policy)
        + istio("RequestAuthentication", "r", f"{{{spec}, jwtRules: [{{issuer: https://a.example}}]}}", of_policy)
    )
    found = {
        bool(authorization_policies(mesh.graph, namespace, labels)),
        bool(jwt_rules(mesh.graph, namespace, labels)),
    }
    assert len(found) == 1
    return found.pop()


@pytest.mark.parametrize(
    "spec",
    [
        pytest.param(f"targetRefs: [{FRONT}]", id="a target"),
        pytest.param(f"targetRef: {FRONT}", id="as it was written once"),
        pytest.param(f"targetRefs: [{BACK}, {FRONT}, {FRONT}]", id="one of several"),
        pytest.param(f"targetRefs: [{{kind: Service, name: x}}, {FRONT}]", id="beside one that is for waypoints"),
        pytest.param("selector: {matchLabels: {app: front}}", id="a selector"),
        pytest.param("selector: {}", id="neither"),
    ],
)
def test_policies_of_a_gateway(spec: str) -> None:
    assert attached(spec, "edge", OF_FRONT)


@pytest.mark.parametrize(
    ("spec", "labels"),
    [
        pytest.param(f"targetRefs: [{BACK}]", OF_FRONT, id="another Gateway"),
        pytest.param(f"targetRefs: [{FRONT}]", ORDINARY, id="no instance of any Gateway"),
        pytest.param("targetRefs: [{kind: Service, name: front}]", OF_FRONT, id="for waypoints"),
        pytest.param("targetRefs: [{kind: Service, name: front}]", ORDINARY, id="for waypoints, at a sidecar"),
        pytest.param(
            "targetRefs: [{kind: Gateway, group: networking.istio.io, name: front}]", OF_FRONT, id="another kind's name"
        ),
        pytest.param("selector: {matchLabels: {app: back}}", OF_FRONT, id="a selector of others"),
    ],
)
def test_whom_policies_do_not_hold_for(spec: str, labels: Labels) -> None:
    assert not attached(spec, "edge", labels)


def test_targets_are_in_the_policys_own_namespace_wherever_that_is() -> None:
    assert not attached(f"targetRefs: [{FRONT}]", "shop", OF_FRONT)
    assert not attached(f"targetRefs: [{FRONT}]", "edge", OF_FRONT, of_policy="istio-system")
    assert attached(f"targetRefs: [{FRONT}]", "istio-system", OF_FRONT, of_policy="istio-system")


def test_a_policy_of_several_targets_is_there_once_and_in_its_place() -> None:
    mesh = Mesh(
        istio("AuthorizationPolicy", "c", f"{{targetRefs: [{FRONT}, {BACK}]}}", "edge", "2026-01-01T00:00:00Z")
        + istio("AuthorizationPolicy", "b", "{}", "edge", "2026-01-02T00:00:00Z")
        + istio("AuthorizationPolicy", "a", f"{{targetRefs: [{BACK}, {FRONT}]}}", "edge", "2026-01-03T00:00:00Z")
    )
    assert [policy.name for policy in authorization_policies(mesh.graph, "edge", OF_FRONT)] == ["c", "b", "a"]


@pytest.mark.parametrize("kind", ["AuthorizationPolicy", "RequestAuthentication"])
def test_the_name_of_a_gateway_makes_a_class_only_where_a_target_is(kind: str) -> None:
    mesh = Mesh(istio(kind, "p", f"{{targetRefs: [{FRONT}]}}", "istio-system"))
    assert policy_label_keys(mesh.graph, "edge") == frozenset()
    mesh.apply(istio(kind, "q", f"{{targetRefs: [{FRONT}]}}", "edge"))
    assert policy_label_keys(mesh.graph, "edge") == {"gateway.networking.k8s.io/gateway-name"}

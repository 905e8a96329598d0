"""PeerAuthentication precedence and which AuthorizationPolicies hold."""

from __future__ import annotations

import pytest

from dragoman.mesh.labels import labels_of
from dragoman.mesh.policies import (
    MtlsMode,
    authorization_policies,
    mtls_mode,
    namespace_mtls_mode,
    policy_label_keys,
)
from tests.support.mesh_of_yaml import Mesh, istio, mesh_settings

WEB = labels_of({"app": "web", "pod-template-hash": "x"})


def peer(name: str, spec: str, namespace: str = "shop", created: str = "2026-01-01T00:00:00Z") -> str:
    return istio("PeerAuthentication", name, spec, namespace, created)


MESH = peer("default", "{mtls: {mode: STRICT}}", "istio-system")
NAMESPACE = peer("default", "{mtls: {mode: DISABLE}}")
WORKLOAD = peer("web", "{selector: {matchLabels: {app: web}}, mtls: {mode: PERMISSIVE}}")
PORT = peer(
    "web", "{selector: {matchLabels: {app: web}}, mtls: {mode: PERMISSIVE}, portLevelMtls: {8080: {mode: STRICT}}}"
)

SELECTED = "{{selector: {{matchLabels: {{app: web}}}}, mtls: {}}}"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("", MtlsMode.PERMISSIVE, id="nothing says anything"),
        pytest.param(MESH, MtlsMode.STRICT, id="mesh"),
        pytest.param(MESH + NAMESPACE, MtlsMode.DISABLE, id="namespace over mesh"),
        pytest.param(MESH + NAMESPACE + WORKLOAD, MtlsMode.PERMISSIVE, id="workload over namespace"),
        pytest.param(MESH + NAMESPACE + PORT, MtlsMode.STRICT, id="port over workload"),
        pytest.param(MESH + peer("default", "{mtls: {mode: UNSET}}"), MtlsMode.STRICT, id="unset inherits"),
        pytest.param(
            NAMESPACE + peer("web", "{selector: {matchLabels: {app: web}}}"), MtlsMode.DISABLE, id="workload inherits"
        ),
        pytest.param(
            peer("web", "{selector: {matchLabels: {app: web}}, mtls: {mode: STRICT}}", "istio-system"),
            MtlsMode.PERMISSIVE,
            id="a selector in the root namespace selects nothing elsewhere",
        ),
        pytest.param(
            peer("new", "{mtls: {mode: STRICT}}", created="2026-02-01T00:00:00Z") + NAMESPACE,
            MtlsMode.DISABLE,
            id="the oldest of a scope counts",
        ),
        pytest.param(
            peer("new", "{mtls: {mode: STRICT}}", created="2026-02-01T00:00:00Z") + peer("default", "{}") + MESH,
            MtlsMode.STRICT,
            id="the oldest of a scope counts also where it says nothing: the mesh decides, not the next",
        ),
        pytest.param(
            peer("b", "{mtls: {mode: STRICT}}") + peer("a", "{mtls: {mode: DISABLE}}"),
            MtlsMode.DISABLE,
            id="of the same age the first by name",
        ),
        pytest.param(
            peer("new", SELECTED.format("{mode: STRICT}"), created="2026-02-01T00:00:00Z")
            + peer("old", SELECTED.format("{mode: DISABLE}")),
            MtlsMode.DISABLE,
            id="the oldest of the workload's policies",
        ),
        pytest.param(
            peer("new", SELECTED.format("{mode: STRICT}"), created="2026-02-01T00:00:00Z")
            + peer("old", SELECTED.format("{mode: UNSET}"))
            + NAMESPACE,
            MtlsMode.DISABLE,
            id="the workload's oldest inherits, its next is not asked",
        ),
        pytest.param(
            peer("db", "{selector: {matchLabels: {app: db}}, mtls: {mode: STRICT}}"),
            MtlsMode.PERMISSIVE,
            id="a selector for others",
        ),
        pytest.param(
            peer("web", "{selector: {matchLabels: {app: web, version: v1}}, mtls: {mode: STRICT}}"),
            MtlsMode.PERMISSIVE,
            id="all labels of a selector",
        ),
        pytest.param(
            NAMESPACE + peer("default", "{mtls: {mode: STRICT}}", "other"), MtlsMode.DISABLE, id="another namespace"
        ),
        pytest.param(
            MESH + peer("web", "{selector: {matchLabels: {app: web}}, portLevelMtls: {8080: {mode: UNSET}}}"),
            MtlsMode.STRICT,
            id="an unset port inherits from the mesh",
        ),
        pytest.param(
            WORKLOAD.replace("PERMISSIVE}", "STRICT}, portLevelMtls: {8080: {mode: UNSET}}"),
            MtlsMode.STRICT,
            id="an unset port inherits from the workload",
        ),
        pytest.param(
            NAMESPACE + peer("web", "{selector: {matchLabels: {app: web}}, portLevelMtls: {9090: {mode: STRICT}}}"),
            MtlsMode.DISABLE,
            id="another port",
        ),
        pytest.param(
            peer("web", "{selector: {matchLabels: {app: web}}, portLevelMtls: {8080: {mode: STRICT}}}"),
            MtlsMode.STRICT,
            id="a port alone",
        ),
    ],
)
def test_mode_of_a_port(text: str, expected: MtlsMode) -> None:
    assert mtls_mode(Mesh(text).graph, "shop", WEB, 8080) is expected


def test_what_goes_away_uncovers_what_was_under_it() -> None:
    mesh = Mesh(MESH + NAMESPACE + PORT)
    seen = [mtls_mode(mesh.graph, "shop", WEB, 8080)]
    for name, namespace in (("web", "shop"), ("default", "shop"), ("default", "istio-system")):
        mesh.remove("PeerAuthentication", namespace, name)
        seen.append(mtls_mode(mesh.graph, "shop", WEB, 8080))
    assert seen == [MtlsMode.STRICT, MtlsMode.DISABLE, MtlsMode.STRICT, MtlsMode.PERMISSIVE]


def test_a_workload_of_the_root_namespace_follows_the_mesh_policy() -> None:
    """There a selector has no meaning (Istio: policy_applier.go, ComposePeerAuthentication)."""
    mesh = Mesh(MESH + peer("web", SELECTED.format("{mode: DISABLE}"), "istio-system"))
    assert mtls_mode(mesh.graph, "istio-system", WEB, 8080) is MtlsMode.STRICT


def test_clients_infer_a_namespace_without_its_workload_policies() -> None:
    mesh = Mesh(NAMESPACE + WORKLOAD)
    assert namespace_mtls_mode(mesh.graph, "shop") is MtlsMode.DISABLE


def test_root_namespace_is_a_setting() -> None:
    mesh = Mesh(mesh_settings("rootNamespace: policies") + peer("x", "{mtls: {mode: STRICT}}", "policies"))
    assert mtls_mode(mesh.graph, "shop", WEB, 8080) is MtlsMode.STRICT


def test_policies_of_root_and_own_namespace_by_selector() -> None:
    mesh = Mesh(
        istio("AuthorizationPolicy", "root", "{}", "istio-system")
        + istio("AuthorizationPolicy", "all", "{}")
        + istio("AuthorizationPolicy", "web", "{selector: {matchLabels: {app: web}}}")
        + istio("AuthorizationPolicy", "db", "{selector: {matchLabels: {app: db}}}")
        + istio("AuthorizationPolicy", "elsewhere", "{}", "other")
        + istio("AuthorizationPolicy", "gw", "{targetRefs: [{kind: Gateway, group: g.k8s.io, name: x}]}")
    )
    assert [p.name for p in authorization_policies(mesh.graph, "shop", WEB)] == ["root", "all", "web"]


def test_policies_come_oldest_first_however_they_select() -> None:
    ages = (("c", "{}", 1), ("a", "{selector: {matchLabels: {app: web}}}", 2), ("b", "{}", 3))
    mesh = Mesh(
        "".join(istio("AuthorizationPolicy", n, spec, created=f"2026-01-0{day}T00:00:00Z") for n, spec, day in ages)
    )
    assert [p.name for p in authorization_policies(mesh.graph, "shop", WEB)] == ["c", "a", "b"]
    mesh.apply(istio("AuthorizationPolicy", "d", "{selector: {matchLabels: {app: web, pod-template-hash: y}}}"))
    assert [p.name for p in authorization_policies(mesh.graph, "shop", WEB)] == ["c", "a", "b"]
    mesh.apply(istio("AuthorizationPolicy", "d", "{selector: {matchLabels: {pod-template-hash: x, app: web}}}"))
    assert {p.name for p in authorization_policies(mesh.graph, "shop", WEB)} == {"a", "b", "c", "d"}


def test_only_labels_that_a_selector_reads_make_classes() -> None:
    mesh = Mesh(WORKLOAD + istio("Sidecar", "s", '{workloadSelector: {labels: {tier: a}}, egress: [{hosts: ["*/*"]}]}'))
    assert policy_label_keys(mesh.graph, "shop") == {"app", "tier"}

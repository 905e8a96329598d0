"""Names of credentials, who may have them, and which ones a proxy needs."""

from __future__ import annotations

import pytest

from crds.meta import ObjectKey
from dragoman.mesh.credential_uses import credentials_of, credentials_view
from dragoman.mesh.credentials import CredentialUse, holders, may_read, sds_name
from dragoman.mesh.proxy_id import ProxyType
from tests.support.mesh_of_yaml import Mesh, istio, pod, service


def secret(namespace: str, name: str) -> ObjectKey:
    return ObjectKey("Secret", namespace, name)


def test_names_without_a_scheme_are_secrets() -> None:
    assert sds_name("a") == sds_name("kubernetes://a") == "kubernetes://a"
    assert sds_name("configmap://b/a") == "configmap://b/a"


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("kubernetes://a", [secret("edge", "a")]),
        ("kubernetes://a-cacert", [secret("edge", "a-cacert"), secret("edge", "a")]),
        ("kubernetes://shop/a", [secret("shop", "a")]),
        ("kubernetes-gateway://edge/a", [secret("edge", "a")]),
        ("kubernetes-gateway://edge/a-cacert", [secret("edge", "a-cacert"), secret("edge", "a")]),
        ("kubernetes-gateway://a", []),
        ("configmap://shop/a-cacert", [ObjectKey("ConfigMap", "shop", "a")]),
        ("configmap://a-cacert", []),
        (
            "clustertrustbundle://example.org:ca:root-cacert",
            [ObjectKey("ClusterTrustBundle", "", "example.org:ca:root")],
        ),
        ("clustertrustbundle://", []),
        ("kubernetes://a/b/c", []),
        ("kubernetes://", []),
        ("vault://a", []),
    ],
)
def test_what_may_hold_a_credential(name: str, found: list[ObjectKey]) -> None:
    assert list(holders(name, "edge")) == found


@pytest.mark.parametrize(
    ("name", "kind", "owner", "may"),
    [
        ("kubernetes://a", "Gateway", "edge", True),
        ("kubernetes://a", "Gateway", "elsewhere", True),
        ("kubernetes://edge/a", "Gateway", "elsewhere", True),
        ("kubernetes://shop/a", "Gateway", "shop", False),
        ("kubernetes://shop/a-cacert", "Gateway", "shop", False),
        ("kubernetes-gateway://edge/a", "Gateway", "edge", True),
        ("kubernetes-gateway://edge/a", "Gateway", "elsewhere", False),
        ("kubernetes-gateway://shop/a", "Gateway", "edge", False),
        ("kubernetes-gateway://edge/a", "DestinationRule", "edge", False),
        ("configmap://shop/a-cacert", "DestinationRule", "shop", True),
        ("clustertrustbundle://a-cacert", "DestinationRule", "shop", True),
    ],
)
def test_secrets_stay_in_their_namespace(name: str, kind: str, owner: str, may: bool) -> None:
    assert may_read(CredentialUse(name, ObjectKey(kind, owner, "x"), "spec"), "edge") is may


GATEWAY_POD = pod("gw-1", "10.1.0.9", "edge", "istio: gw")
WEB = service("web") + pod("web-1", "10.1.0.1")


def needed(mesh: Mesh, kind: ProxyType, namespace: str, name: str) -> list[tuple[str, str, str]]:
    view = credentials_view(mesh.graph, kind, namespace, name)
    if view is None:
        return []
    return [(use.name, str(use.by), use.path) for use in credentials_of(mesh.graph, view)]


def test_a_gateway_needs_what_its_servers_name() -> None:
    servers = """{selector: {istio: gw}, servers: [
      {port: {number: 80, name: a, protocol: HTTP}, hosts: ["*"]},
      {port: {number: 443, name: b, protocol: HTTPS}, hosts: [b], tls: {mode: MUTUAL, credentialName: b}},
      {port: {number: 443, name: c, protocol: HTTPS}, hosts: [c],
       tls: {mode: OPTIONAL_MUTUAL, credentialNames: [c, d], caCertCredentialName: e}},
      {port: {number: 443, name: d, protocol: HTTPS}, hosts: [d], tls: {mode: ISTIO_MUTUAL, credentialName: f}}]}"""
    mesh = Mesh(GATEWAY_POD + istio("Gateway", "gw", servers, "edge"))
    by = "Gateway edge/gw"
    assert needed(mesh, ProxyType.ROUTER, "edge", "gw-1") == [
        ("kubernetes://b", by, "spec.servers[1].tls.credentialName"),
        ("kubernetes://b-cacert", by, "spec.servers[1].tls.credentialName"),
        ("kubernetes://c", by, "spec.servers[2].tls.credentialNames[0]"),
        ("kubernetes://d", by, "spec.servers[2].tls.credentialNames[1]"),
        ("kubernetes://e-cacert", by, "spec.servers[2].tls.caCertCredentialName"),
    ]


RULE = "{host: web.shop.svc.cluster.local, trafficPolicy: {tls: {mode: MUTUAL, credentialName: c}}%s}"
PATH = "spec.trafficPolicy.tls.credentialName"


def rule(namespace: str, more: str = "", text: str = RULE) -> str:
    return istio("DestinationRule", "web", text % more, namespace)


def test_clients_of_gateways_need_what_rules_for_them_name() -> None:
    mesh = Mesh(WEB + GATEWAY_POD)
    assert needed(mesh, ProxyType.ROUTER, "edge", "gw-1") == []
    mesh.apply(rule("shop"))
    both = [
        ("kubernetes://c", "DestinationRule shop/web", PATH),
        ("kubernetes://c-cacert", "DestinationRule shop/web", PATH),
    ]
    assert needed(mesh, ProxyType.ROUTER, "edge", "gw-1") == both
    mesh.apply(rule("shop", ", exportTo: [.]"))
    assert needed(mesh, ProxyType.ROUTER, "edge", "gw-1") == []


def test_sidecars_need_what_rules_that_select_them_name() -> None:
    mesh = Mesh(WEB + pod("other-1", "10.1.0.2") + pod("web-1", "10.1.0.3", "bank") + rule("shop"))
    assert needed(mesh, ProxyType.SIDECAR, "shop", "web-1") == []
    assert credentials_view(mesh.graph, ProxyType.SIDECAR, "shop", "web-1") is None
    mesh.apply(rule("shop", ", workloadSelector: {matchLabels: {app: web}}"))
    assert [name for name, _, _ in needed(mesh, ProxyType.SIDECAR, "shop", "web-1")] == [
        "kubernetes://c",
        "kubernetes://c-cacert",
    ]
    assert needed(mesh, ProxyType.SIDECAR, "shop", "other-1") == []
    assert needed(mesh, ProxyType.SIDECAR, "bank", "web-1") == []
    mesh.remove("DestinationRule", "shop", "web")
    assert needed(mesh, ProxyType.SIDECAR, "shop", "web-1") == []


def test_authorities_in_config_maps_are_for_all_clients() -> None:
    simple = "{host: web, trafficPolicy: {tls: {mode: SIMPLE, credentialName: 'configmap://shop/roots'}}%s}"
    mesh = Mesh(WEB + rule("shop", text=simple))
    assert [name for name, _, _ in needed(mesh, ProxyType.SIDECAR, "shop", "web-1")] == [
        "configmap://shop/roots-cacert"
    ]


def test_of_subsets_and_ports_and_what_is_verified_by_nothing() -> None:
    text = """{host: web, workloadSelector: {matchLabels: {app: web}},
      trafficPolicy: {portLevelSettings: [{port: {number: 80}, tls: {mode: SIMPLE, credentialName: a}}]},
      subsets: [{name: v, trafficPolicy: {tls: {mode: MUTUAL, credentialName: b, insecureSkipVerify: true}}}]%s}"""
    mesh = Mesh(WEB + rule("shop", text=text))
    assert needed(mesh, ProxyType.SIDECAR, "shop", "web-1") == [
        (
            "kubernetes://a-cacert",
            "DestinationRule shop/web",
            "spec.trafficPolicy.portLevelSettings[0].tls.credentialName",
        ),
        ("kubernetes://b", "DestinationRule shop/web", "spec.subsets[0].trafficPolicy.tls.credentialName"),
    ]

"""Objects that lose against older ones: who is told, of what, and who is left alone."""

from __future__ import annotations

from crds.meta import ObjectKey
from dragoman.mesh.conflicts import conflicts_of, rivals
from tests.support.mesh_of_yaml import Mesh, istio

FIRST, SECOND = "2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z"
ROUTE = "hosts: [{hosts}], http: [{{route: [{{destination: {{host: web}}}}]}}]"


def told(mesh: Mesh, kind: str, name: str, namespace: str = "shop") -> list[str]:
    obj = mesh.world.objects[ObjectKey(kind, namespace, name)]
    return [f"{conflict.what} < {conflict.winner}" for conflict in conflicts_of(mesh.graph, obj)]


def routes(name: str, hosts: str, created: str, namespace: str = "shop", more: str = "") -> str:
    spec = "{" + ROUTE.format(hosts=hosts) + (", " + more if more else "") + "}"
    return istio("VirtualService", name, spec, namespace, created)


def test_the_younger_virtual_service_of_a_host_loses_that_host() -> None:
    mesh = Mesh(routes("b", "web, other", FIRST) + routes("a", "web.shop.svc.cluster.local", SECOND))
    assert told(mesh, "VirtualService", "a") == ["host 'web.shop.svc.cluster.local' < VirtualService shop/b"]
    assert told(mesh, "VirtualService", "b") == []
    b = mesh.world.objects[ObjectKey("VirtualService", "shop", "b")]
    assert rivals(mesh.graph, b) == {ObjectKey("VirtualService", "shop", "a")}


def test_who_is_private_or_for_gateways_shadows_on_purpose() -> None:
    host = "web.shop.svc.cluster.local"
    mesh = Mesh(
        routes("public", host, FIRST)
        + routes("private", host, SECOND, more='exportTo: ["."]')
        + routes("gateway", host, SECOND, more="gateways: [edge]")
    )
    assert told(mesh, "VirtualService", "private") == []
    assert told(mesh, "VirtualService", "gateway") == []
    assert rivals(mesh.graph, mesh.world.objects[ObjectKey("VirtualService", "shop", "gateway")]) == frozenset()
    mesh.apply(routes("hidden", host, SECOND, namespace="far", more='exportTo: ["."]'))
    assert told(mesh, "VirtualService", "hidden", "far") == []


def test_merged_destination_rules_lose_what_an_older_one_says() -> None:
    policy = "trafficPolicy: {connectionPool: {tcp: {maxConnections: 1}}}"
    one = "{host: web, " + policy + ", subsets: [{name: v1, labels: {v: a}}]}"
    two = "{host: web.shop.svc.cluster.local, " + policy + ", subsets: [{name: v1, labels: {v: b}}, {name: v2}]}"
    mesh = Mesh(
        istio("DestinationRule", "one", one, created=FIRST) + istio("DestinationRule", "two", two, created=SECOND)
    )
    assert told(mesh, "DestinationRule", "two") == [
        "traffic policy of host 'web.shop.svc.cluster.local' < DestinationRule shop/one",
        "subset 'v1' of host 'web.shop.svc.cluster.local' < DestinationRule shop/one",
    ]
    assert told(mesh, "DestinationRule", "one") == []
    narrow = "{host: web, workloadSelector: {matchLabels: {app: a}}, " + policy + "}"
    mesh.apply(istio("DestinationRule", "narrow", narrow, created=SECOND))
    assert told(mesh, "DestinationRule", "narrow") == []


def test_of_policies_and_sidecars_for_the_same_workloads_one_counts() -> None:
    mesh = Mesh(
        istio("PeerAuthentication", "old", "{mtls: {mode: STRICT}}", created=FIRST)
        + istio("PeerAuthentication", "new", "{mtls: {mode: DISABLE}}", created=SECOND)
        + istio("PeerAuthentication", "one", "{selector: {matchLabels: {app: a}}, mtls: {mode: DISABLE}}")
        + istio("Sidecar", "old", "{egress: [{hosts: ['./*']}]}", created=FIRST)
        + istio("Sidecar", "new", "{egress: [{hosts: ['*/*']}]}", created=SECOND)
    )
    everything = "all workloads that it selects"
    assert told(mesh, "PeerAuthentication", "new") == [f"{everything} < PeerAuthentication shop/old"]
    assert told(mesh, "PeerAuthentication", "one") == []
    assert told(mesh, "Sidecar", "new") == [f"{everything} < Sidecar shop/old"]


def test_a_gateway_server_without_room_names_who_has_it() -> None:
    server = "{selector: {istio: gw}, servers: [{port: {number: 80, name: %s, protocol: %s}, hosts: [a.com]}]}"
    mesh = Mesh(
        istio("Gateway", "old", server % ("web", "HTTP"), created=FIRST)
        + istio("Gateway", "new", server % ("bytes", "TCP"), created=SECOND)
        + istio("Gateway", "same", server % ("web", "HTTP"), created=SECOND)
    )
    (conflict,) = told(mesh, "Gateway", "new")
    assert conflict.startswith("server 'bytes': the port speaks")
    assert conflict.endswith("< Gateway shop/old")
    assert told(mesh, "Gateway", "same") == []

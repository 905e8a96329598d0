# ruff: noqa: E501 - YAML

"""What a change costs does not grow with the mesh, and proxies that see the same share what is made for them."""

from __future__ import annotations

from typing import Any

import pytest

from dragoman.mesh.proxies import InboundView, OutboundView
from tests.support.mesh_of_yaml import Mesh, istio, pod, service
from translators.sidecars import inbound, outbound

PROXY = "sidecar~10.0.0.1~client-1.shop~shop.svc.cluster.local"


def shop(services: int) -> Mesh:
    text = pod("client-1", "10.0.0.1")
    for number in range(services):
        name, third, last = f"s{number}", number // 200, number % 200 + 1
        text += service(
            name, clusterIP=f"10.96.{third}.{last}", ports="[{name: http, port: 80}, {name: tcp, port: 90}]"
        )
        text += pod(f"{name}-1", f"10.1.{third}.{last}") + pod(f"{name}-2", f"10.2.{third}.{last}")
        text += istio("DestinationRule", name, f"{{host: {name}, subsets: [{{name: v1, labels: {{version: v1}}}}]}}")
        text += istio(
            "VirtualService", name, f"{{hosts: [{name}], http: [{{route: [{{destination: {{host: {name}}}}}]}}]}}"
        )
    return Mesh(text + endpoint_slice("10.9.9.8"))


def endpoint_slice(*addresses: str) -> str:
    return f"""
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {{name: s3-a, namespace: shop, labels: {{kubernetes.io/service-name: s3}}}}
addressType: IPv4
ports: [{{name: http, port: 80}}, {{name: tcp, port: 90}}]
endpoints: [{", ".join(f"{{addresses: [{address}]}}" for address in addresses)}]
"""


CHANGES = {
    "endpoint": endpoint_slice("10.9.9.8", "10.9.9.9"),
    "VirtualService": istio(
        "VirtualService", "s3", "{hosts: [s3], http: [{timeout: 3s, route: [{destination: {host: s3}}]}]}"
    ),
    "pod": pod("s3-9", "10.3.0.9"),
    "DestinationRule": istio("DestinationRule", "s3", "{host: s3, trafficPolicy: {loadBalancer: {simple: RANDOM}}}"),
}


def computed(services: int) -> dict[str, tuple[int, int]]:
    """Computations and changed leaves of each change."""
    mesh = shop(services)
    mounts = [
        mesh.graph.mount((outbound if isinstance(view, OutboundView) else inbound).call(view))
        for view in mesh.views(PROXY)
    ]
    found = {}
    for name, text in CHANGES.items():
        before = mesh.graph.statistics().computed
        mesh.apply(text)
        found[name] = (mesh.graph.statistics().computed - before, sum(len(mount.changes) for mount in mounts))
    return found


def test_a_change_costs_the_same_in_a_small_and_a_large_mesh() -> None:
    assert computed(20) == computed(400)


def views(mesh: Mesh, name: str) -> tuple[Any, ...]:
    return mesh.views(f"sidecar~10.0.0.1~{name}.shop~shop.svc.cluster.local")


TWO = (
    service("web")
    + pod("web-1", "10.0.0.1", labels="pod-template-hash: a, version: v1")
    + pod("web-2", "10.0.0.2", labels="pod-template-hash: b, version: v2")
)


def test_labels_that_nobody_reads_do_not_split_views() -> None:
    mesh = Mesh(TWO)
    assert views(mesh, "web-1") == views(mesh, "web-2")


@pytest.mark.parametrize(
    ("kind", "spec", "split"),
    [
        (
            "DestinationRule",
            "{host: web, workloadSelector: {matchLabels: {version: v1}}, trafficPolicy: {loadBalancer: {simple: RANDOM}}}",
            OutboundView,
        ),
        (
            "VirtualService",
            "{hosts: [web], http: [{match: [{sourceLabels: {version: v1}}], route: [{destination: {host: web}}]}]}",
            OutboundView,
        ),
        ("AuthorizationPolicy", "{selector: {matchLabels: {version: v1}}}", InboundView),
        ("PeerAuthentication", "{selector: {matchLabels: {version: v1}}, mtls: {mode: STRICT}}", InboundView),
    ],
)
def test_a_label_that_something_reads_splits_the_views_that_it_changes(kind: str, spec: str, split: type) -> None:
    mesh = Mesh(TWO + istio(kind, "reader", spec))
    differing = [type(one) for one, two in zip(views(mesh, "web-1"), views(mesh, "web-2"), strict=True) if one != two]
    assert differing == [split]

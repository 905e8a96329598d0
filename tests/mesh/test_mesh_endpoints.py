"""Endpoints: where they come from, their health, locality, and whether they speak mutual TLS."""

from __future__ import annotations

from dragoman.mesh.endpoints import Endpoint, Health, endpoints, service_accounts
from tests.support.mesh_of_yaml import Mesh, istio, pod, service


def found(mesh: Mesh, port: str = "http") -> dict[str, Endpoint]:
    return {e.address: e for e in endpoints(mesh.graph, "shop", "web", port)}


SLICE = """
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
addressType: IPv4
metadata: {name: web-1, namespace: shop, labels: {kubernetes.io/service-name: web}}
ports: [{name: http, port: 8080}]
endpoints:
- {addresses: [10.1.0.1], conditions: {ready: true}, targetRef: {kind: Pod, name: web-1}}
- {addresses: [10.1.0.2], conditions: {ready: false}, nodeName: n1}
- {addresses: [10.1.0.3], conditions: {ready: false, serving: true, terminating: true}, zone: z9}
- {addresses: [10.1.0.4]}
"""


def test_pods_that_a_service_selects_stand_in_for_slices_that_nobody_writes() -> None:
    mesh = Mesh(
        service("web", ports="[{name: http, port: 80, targetPort: web}]")
        + pod("web-1", "10.1.0.1", account="sa")
        + pod("web-2", "10.1.0.2", extra=', conditions: [{type: Ready, status: "False"}]')
        + pod("other-1", "10.1.0.3")
    )
    listed = found(mesh)
    assert {a: (e.port, e.health) for a, e in listed.items()} == {
        "10.1.0.1": (8080, Health.HEALTHY),
        "10.1.0.2": (8080, Health.UNHEALTHY),
    }
    assert listed["10.1.0.1"].mtls
    assert listed["10.1.0.1"].service_account == "sa"


def test_slices_decide_where_there_are_any() -> None:
    node = "---\napiVersion: v1\nkind: Node\nmetadata: {name: n1, labels: {topology.kubernetes.io/zone: z1}}\n"
    mesh = Mesh(service("web") + SLICE + node + pod("web-1", "10.1.0.1") + pod("web-9", "10.1.0.9"))
    listed = found(mesh)
    assert {a: e.health for a, e in listed.items()} == {
        "10.1.0.1": Health.HEALTHY,
        "10.1.0.2": Health.UNHEALTHY,
        "10.1.0.3": Health.DRAINING,
        "10.1.0.4": Health.HEALTHY,
    }
    assert (listed["10.1.0.1"].mtls, listed["10.1.0.4"].mtls) == (True, False)
    assert (listed["10.1.0.2"].locality.zone, listed["10.1.0.3"].locality.zone) == ("z1", "z9")
    mesh.remove("EndpointSlice", "shop", "web-1")
    assert set(found(mesh)) == {"10.1.0.1", "10.1.0.9"}


def test_not_ready_addresses_are_published_on_demand() -> None:
    mesh = Mesh(service("web", publishNotReadyAddresses=True) + SLICE)
    assert found(mesh)["10.1.0.2"].health is Health.HEALTHY


def test_endpoints_object() -> None:
    mesh = Mesh(
        service("web")
        + """
---
apiVersion: v1
kind: Endpoints
metadata: {name: web, namespace: shop}
subsets: [{addresses: [{ip: 10.2.0.1}], notReadyAddresses: [{ip: 10.2.0.2}], ports: [{name: http, port: 81}]}]
"""
    )
    assert {a: (e.port, e.health) for a, e in found(mesh).items()} == {
        "10.2.0.1": (81, Health.HEALTHY),
        "10.2.0.2": (81, Health.UNHEALTHY),
    }


def test_a_port_without_mutual_tls_is_called_in_plaintext() -> None:
    mesh = Mesh(service("web", ports="[{name: http, port: 80, targetPort: 8080}]") + pod("web-1", "10.1.0.1"))
    assert found(mesh)["10.1.0.1"].mtls
    mesh.apply(
        istio(
            "PeerAuthentication",
            "web",
            "{selector: {matchLabels: {app: web}}, mtls: {mode: STRICT}, portLevelMtls: {8080: {mode: DISABLE}}}",
        )
    )
    assert not found(mesh)["10.1.0.1"].mtls


def test_new_pods_of_the_same_account_do_not_change_who_answers_for_a_service() -> None:
    mesh = Mesh(service("web") + pod("web-1", "10.1.0.1", account="sa"))
    before = service_accounts(mesh.graph, "shop", "web")
    assert before == (("shop", "sa"),)
    mesh.apply(pod("web-2", "10.1.0.2", account="sa"))
    assert len(found(mesh)) == 2
    assert service_accounts(mesh.graph, "shop", "web") is before


def pod_of_both(name: str = "web-1", four: str = "10.1.0.1", six: str = "fd00::1") -> str:
    return pod(name, four, extra=f', podIPs: [{{ip: {four}}}, {{ip: "{six}"}}]')


def a_slice(family: str, *endpoints: str) -> str:
    return f"""
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
addressType: {family}
metadata: {{name: web-{family.lower()}, namespace: shop, labels: {{kubernetes.io/service-name: web}}}}
ports: [{{name: http, port: 8080}}]
endpoints: [{", ".join(endpoints)}]
"""


def entry(address: str, pod: str = "web-1") -> str:
    return f'{{addresses: ["{address}"], targetRef: {{kind: Pod, name: {pod}}}}}'


def addresses(mesh: Mesh) -> list[tuple[str, ...]]:
    return [e.addresses for e in endpoints(mesh.graph, "shop", "web", "http")]


def test_a_pod_in_slices_of_both_families_is_one_endpoint() -> None:
    pods = pod_of_both() + pod_of_both("web-2", "10.1.0.2", "fd00::2")
    four = a_slice("IPv4", entry("10.1.0.1"), entry("10.1.0.2", "web-2"))
    six = a_slice("IPv6", entry("fd00::1"), '{addresses: ["fd00::9"]}')
    mesh = Mesh(service("web") + pods + four)
    assert addresses(mesh) == [("10.1.0.1",), ("10.1.0.2",)]  # a service of IPv4: perhaps nobody listens on IPv6
    mesh.apply(six)
    assert addresses(mesh) == [("10.1.0.1", "fd00::1"), ("10.1.0.2",), ("fd00::9",)]
    mesh.remove("EndpointSlice", "shop", "web-ipv4")
    assert addresses(mesh) == [("fd00::1",), ("fd00::9",)]


def test_names_are_no_addresses() -> None:
    assert addresses(Mesh(service("web") + a_slice("FQDN", '{addresses: ["elsewhere.example.com"]}'))) == []


def test_selected_pods_have_the_addresses_of_the_services_families() -> None:
    pods = pod_of_both() + pod("web-2", "10.1.0.2")
    for spec, expected in (
        ({}, [("10.1.0.1",), ("10.1.0.2",)]),
        ({"clusterIP": "fd00:96::1"}, [("fd00::1",)]),
        ({"clusterIPs": ["10.96.0.1", "fd00:96::1"]}, [("10.1.0.1", "fd00::1"), ("10.1.0.2",)]),
        ({"clusterIP": "None"}, [("10.1.0.1",), ("10.1.0.2",)]),
        ({"clusterIP": "None", "ipFamilies": ["IPv6"]}, [("fd00::1",)]),
    ):
        assert addresses(Mesh(service("web", **spec) + pods)) == expected, spec

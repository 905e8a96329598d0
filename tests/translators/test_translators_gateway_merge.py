"""Several Gateways on one workload: what shares a port, what is refused, and that it is said."""

from __future__ import annotations

from typing import Any

import pytest

from dragoman.codec import LISTENER, ROUTE, Encoded, to_json
from dragoman.engine import Failure, QueryFailed
from dragoman.mesh.gateways import hosts_served, merged_servers, servers_of
from dragoman.mesh.proxies import GatewayView
from dragoman.provenance import origins
from tests.support.mesh_of_yaml import Mesh, objects
from translators.gateways import gateway, refused_server

PROXY = "router~10.0.0.9~gw.edge~edge.svc.cluster.local"
WORKLOAD = """
apiVersion: v1
kind: Pod
metadata: {name: gw, namespace: edge, labels: {istio: ingressgateway}}
spec: {serviceAccountName: gw, containers: [{name: proxy}]}
status: {podIP: 10.0.0.9, phase: Running}
---
apiVersion: v1
kind: Service
metadata: {name: gw, namespace: edge}
spec:
  clusterIP: 10.96.0.9
  selector: {istio: ingressgateway}
  ports: [{name: http, port: 80, targetPort: 8080}, {name: https, port: 443, targetPort: 8443}]
"""
UNCAPTURED = """
apiVersion: v1
kind: ConfigMap
metadata: {name: istio, namespace: istio-system}
data: {mesh: "defaultConfig: {interceptionMode: NONE}"}
"""
HTTP_80 = "{port: {number: 80, name: http, protocol: HTTP}, hosts: ['*']}"


def https(*hosts: str, name: str = "https", port: int = 443, extra: str = "") -> str:
    listed = ", ".join(f"'{host}'" for host in hosts)
    tls = "{mode: SIMPLE, credentialName: cert}"
    return f"{{port: {{number: {port}, name: {name}, protocol: HTTPS}}, hosts: [{listed}], tls: {tls}{extra}}}"


def gateway_yaml(name: str, *servers: str, namespace: str = "edge", created: int = 1) -> str:
    listed = "".join(f"  - {server}\n" for server in servers)
    return (
        "---\napiVersion: networking.istio.io/v1\nkind: Gateway\n"
        f"metadata: {{name: {name}, namespace: {namespace}, creationTimestamp: '2026-01-0{created}T00:00:00Z'}}\n"
        f"spec:\n  selector: {{istio: ingressgateway}}\n  servers:\n{listed}"
    )


def mesh_of(*gateways: str, more: str = "") -> Mesh:
    return Mesh(WORKLOAD + "".join(gateways) + more)


def view_of(mesh: Mesh) -> GatewayView:
    return next(view for view in mesh.views(PROXY) if isinstance(view, GatewayView))


def leaves(mesh: Mesh) -> tuple[dict[str, dict[str, Any]], list[str]]:
    """Listeners by name, and what failed."""
    mount = mesh.graph.mount(gateway.call(view_of(mesh)))
    found = mount.leaves().values()
    mount.close()
    listeners = {
        value.name: to_json(LISTENER, value.payload)
        for value in found
        if isinstance(value, Encoded) and value.type_url == LISTENER
    }
    return listeners, [str(value.error) for value in found if isinstance(value, Failure)]


def test_plain_http_servers_of_two_gateways_share_a_listener_and_its_routes() -> None:
    mesh = mesh_of(
        gateway_yaml("a", "{port: {number: 80, name: http, protocol: HTTP}, hosts: [a.org]}"),
        gateway_yaml("b", "{port: {number: 80, name: grpc, protocol: GRPC}, hosts: [b.org]}"),
    )
    listeners, failures = leaves(mesh)
    assert list(listeners) == ["0.0.0.0_8080"]
    chains = listeners["0.0.0.0_8080"]["filterChains"]
    assert [chain["filters"][-1]["typedConfig"]["rds"]["routeConfigName"] for chain in chains] == ["http.8080"]
    assert not failures


@pytest.mark.parametrize("created", [(1, 2), (2, 1)])
def test_of_plaintext_and_tls_on_one_port_the_older_stays(created: tuple[int, int]) -> None:
    mesh = mesh_of(
        gateway_yaml("plain", "{port: {number: 443, name: http, protocol: HTTP}, hosts: ['*']}", created=created[0]),
        gateway_yaml("tls", https("a.org"), created=created[1]),
    )
    listeners, failures = leaves(mesh)
    filters = [each["name"] for each in listeners["0.0.0.0_8443"]["listenerFilters"]]
    speaks_tls = "envoy.filters.listener.tls_inspector" in filters
    assert speaks_tls == (created == (2, 1))
    loser, older = ("tls", "plain") if created == (1, 2) else ("plain", "tls")
    assert len(failures) == 1
    assert f"edge/{loser} " in failures[0]
    assert f"edge/{older} " in failures[0]


def test_plaintext_tcp_and_http_do_not_share_a_port() -> None:
    mesh = mesh_of(
        gateway_yaml("a", HTTP_80),
        gateway_yaml("b", "{port: {number: 80, name: tcp, protocol: TCP}, hosts: ['*']}", created=2),
    )
    listeners, failures = leaves(mesh)
    assert list(listeners) == ["0.0.0.0_8080"]
    assert ["edge/b" in failure for failure in failures] == [True]


def test_a_second_server_for_a_name_on_the_same_port_is_refused_whole() -> None:
    mesh = mesh_of(
        gateway_yaml("a", https("a.org", "shared.org")),
        gateway_yaml("b", https("b.org", "other/SHARED.org"), namespace="other", created=2),
        gateway_yaml("c", https("c.org"), created=3),
    )
    listeners, failures = leaves(mesh)
    matches = [chain["filterChainMatch"]["serverNames"] for chain in listeners["0.0.0.0_8443"]["filterChains"]]
    assert matches == [["a.org", "shared.org"], ["c.org"]]
    assert [("other/b" in failure, "'shared.org'" in failure) for failure in failures] == [(True, True)]


def test_the_same_name_on_another_port_or_address_is_no_conflict() -> None:
    mesh = mesh_of(
        gateway_yaml("a", https("a.org")),
        gateway_yaml("b", https("a.org", port=8444), created=2),
        gateway_yaml("c", https("a.org", extra=", bind: 10.0.0.9"), created=3),
    )
    listeners, failures = leaves(mesh)
    assert sorted(listeners) == ["0.0.0.0_8443", "0.0.0.0_8444", "10.0.0.9_8443"]
    assert not failures


def test_age_decides_and_not_arrival() -> None:
    mesh = mesh_of(gateway_yaml("young", https("a.org", name="young"), created=2))
    mesh.apply(gateway_yaml("old", https("a.org", name="old"), created=1))
    (listener,) = leaves(mesh)[0].values()
    routes = [chain["filters"][-1]["typedConfig"]["rds"]["routeConfigName"] for chain in listener["filterChains"]]
    assert routes == ["https.443.old.old.edge"]


def test_a_refusal_names_both_gateways_as_its_authors_and_ends_with_them() -> None:
    mesh = mesh_of(gateway_yaml("a", https("a.org")), gateway_yaml("b", https("a.org"), created=2))
    (refusal,) = merged_servers(mesh.graph, view_of(mesh)).refused
    with pytest.raises(QueryFailed, match=r"edge/b .* has no effect: Gateway edge/a "):
        refused_server(mesh.graph, refusal)
    assert {str(key) for key in origins(mesh.graph, refused_server.call(refusal))} == {
        "Gateway edge/a",
        "Gateway edge/b",
    }
    mesh.remove("Gateway", "edge", "a")
    assert leaves(mesh)[1] == []


def test_a_refused_server_gives_no_route_configuration() -> None:
    mesh = mesh_of(gateway_yaml("a", https("a.org")), gateway_yaml("b", https("a.org"), created=2))
    mount = mesh.graph.mount(gateway.call(view_of(mesh)))
    routes = {v.name for v in mount.leaves().values() if isinstance(v, Encoded) and v.type_url == ROUTE}
    assert routes == {"https.443.https.a.edge"}


def test_one_address_written_in_two_ways_is_no_second_listener() -> None:
    """Envoy refuses two listeners on one address, and both of ours would have its name."""
    mesh = mesh_of(
        gateway_yaml("a", HTTP_80),
        gateway_yaml("b", "{port: {number: 80, name: http, protocol: HTTP}, hosts: ['*'], bind: 0.0.0.0}", created=2),
    )
    listeners, failures = leaves(mesh)
    assert list(listeners) == ["0.0.0.0_8080"]
    assert len(failures) == 1


def test_an_uncaptured_gateway_binds_its_own_address_alone() -> None:
    mesh = mesh_of(gateway_yaml("a", HTTP_80, https("a.org")), more="---" + UNCAPTURED)
    listeners, _ = leaves(mesh)
    addresses = {listener["address"]["socketAddress"]["address"] for listener in listeners.values()}
    assert addresses == {"10.0.0.9"}
    assert sorted(listeners) == ["10.0.0.9_8080", "10.0.0.9_8443"]


def test_bind_is_honoured() -> None:
    server = "{port: {number: 80, name: http, protocol: HTTP}, hosts: ['*'], bind: %s}"
    mesh = mesh_of(gateway_yaml("a", server % "10.1.1.1"), gateway_yaml("b", server % "unix:///run/gw.sock"))
    listeners, failures = leaves(mesh)
    assert listeners["10.1.1.1_8080"]["address"] == {"socketAddress": {"address": "10.1.1.1", "portValue": 8080}}
    assert listeners["unix:///run/gw.sock_8080"]["address"] == {"pipe": {"path": "/run/gw.sock"}}
    assert not failures


def test_only_workloads_that_the_selector_matches_serve_a_gateway() -> None:
    mesh = mesh_of(gateway_yaml("a", HTTP_80).replace("{istio: ingressgateway}", "{istio: other}"))
    assert leaves(mesh) == ({}, [])


def test_a_port_that_no_service_maps_is_listened_on_as_it_is() -> None:
    mesh = mesh_of(gateway_yaml("a", "{port: {number: 9999, name: http, protocol: HTTP}, hosts: ['*']}"))
    assert list(leaves(mesh)[0]) == ["0.0.0.0_9999"]


@pytest.mark.parametrize(
    ("served", "named", "common"),
    [
        ("www.a.org", "www.a.org", ["www.a.org"]),
        ("WWW.a.org", "www.A.org", ["www.a.org"]),
        ("*.a.org", "www.a.org", ["www.a.org"]),
        ("www.a.org", "*.a.org", ["www.a.org"]),
        ("*.a.org", "*.www.a.org", ["*.www.a.org"]),
        ("*.www.a.org", "*.a.org", ["*.www.a.org"]),
        ("*", "www.a.org", ["www.a.org"]),
        ("*", "*", ["*"]),
        ("*.a.org", "a.org", []),
        ("*.a.org", "www.b.org", []),
        ("shop/www.a.org", "www.a.org", ["www.a.org"]),
        ("*/www.a.org", "www.a.org", ["www.a.org"]),
        ("other/www.a.org", "www.a.org", []),
        ("./www.a.org", "www.a.org", []),
        ("*", "short", ["short.shop.svc.cluster.local"]),
    ],
)
def test_hosts_are_what_server_and_virtual_service_have_in_common(served: str, named: str, common: list[str]) -> None:
    mesh = mesh_of(gateway_yaml("a", f"{{port: {{number: 80, name: http, protocol: HTTP}}, hosts: ['{served}']}}"))
    (bound,) = servers_of(mesh.graph, view_of(mesh))
    (rule,) = objects(
        "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: v, namespace: shop}\n"
        f"spec: {{hosts: ['{named}'], gateways: [edge/a], http: [{{directResponse: {{status: 200}}}}]}}"
    )
    assert list(hosts_served(bound, rule)) == common

"""Route configurations as values: what a change costs, what a failure leaves, and that no domain is there twice."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dragoman.codec import CLUSTER, ROUTE, to_json
from dragoman.engine import Failure
from dragoman.provenance import origins, parts
from tests.support.mesh_of_yaml import Mesh
from translators.gateway_routes import gateway_route_configuration
from translators.routes import route_configuration
from translators.sidecars import outbound

PROXY = "sidecar~10.0.0.1~client.shop~shop.svc.cluster.local"
CLIENT = """
apiVersion: v1
kind: Pod
metadata: {name: client, namespace: shop, labels: {app: client}}
spec: {serviceAccountName: client, containers: [{name: app}]}
status: {podIP: 10.0.0.1, phase: Running}
---
"""


def service(name: str, namespace: str = "shop", *, ip: str = "10.96.0.1", port: int = 9080) -> str:
    return f"""
apiVersion: v1
kind: Service
metadata: {{name: {name}, namespace: {namespace}}}
spec: {{clusterIP: {ip}, selector: {{app: {name}}}, ports: [{{name: http, port: {port}}}]}}
---
"""


def external_name(name: str, target: str) -> str:
    return f"""
apiVersion: v1
kind: Service
metadata: {{name: {name}, namespace: shop}}
spec: {{type: ExternalName, externalName: {target}}}
---
"""


def rule(name: str, http: str, *, host: str = "", namespace: str = "shop") -> str:
    return f"""
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: {name}, namespace: {namespace}}}
spec: {{hosts: ["{host or name}"], http: [{http}]}}
---
"""


def to(host: str, **more: str) -> str:
    extra = "".join(f", {key}: {value}" for key, value in more.items())
    return f"{{route: [{{destination: {{host: {host}}}}}]{extra}}}"


def routes(mesh: Mesh, name: str = "9080") -> dict[str, Any]:
    encoded = route_configuration(mesh.graph, mesh.outbound(PROXY), name)
    assert encoded.name == name
    found: dict[str, Any] = to_json(ROUTE, encoded.payload)
    return found


def hosts(mesh: Mesh, name: str = "9080") -> dict[str, Any]:
    return {host["name"]: host for host in routes(mesh, name).get("virtualHosts", [])}


def clusters(host: Any) -> list[str]:
    return [route["route"]["cluster"] for route in host["routes"]]


@pytest.mark.parametrize(
    "name", ["nonsense", "", "unix:///tmp/socket", "host:port", "nowhere.shop.svc.cluster.local:9080"]
)
def test_a_name_that_nobody_knows_is_answered_with_nothing(name: str) -> None:
    assert "virtualHosts" not in routes(Mesh(CLIENT + service("reviews")), name)


def test_a_route_configuration_names_the_clusters_that_must_be_there_before_it() -> None:
    shares = (f"{{destination: {{host: reviews, subset: {subset}}}, weight: 1}}" for subset in "ab")
    split = f"{{route: [{', '.join(shares)}]}}"
    mirrored = "{match: [{uri: {prefix: /m}}], route: [{destination: {host: reviews}}], mirror: {host: shadow}}"
    mesh = Mesh(CLIENT + service("reviews") + rule("reviews", f"{mirrored}, {split}"))
    encoded = route_configuration(mesh.graph, mesh.outbound(PROXY), "9080")
    host = "reviews.shop.svc.cluster.local"
    assert {name for kind, name in encoded.refs if kind == CLUSTER} == {
        *(f"outbound|9080|{subset}|{host}" for subset in ("", "a", "b")),
        "outbound|9080||shadow.shop.svc.cluster.local",
        "PassthroughCluster",
    }


def test_a_rule_costs_its_virtual_host_its_namespace_and_the_join() -> None:
    text = "".join(service(f"s{number}", f"ns{number % 3}", ip=f"10.96.0.{number}") for number in range(1, 60))
    mesh = Mesh(CLIENT + text + rule("s1", to("s1"), namespace="ns1"))
    mount = mesh.graph.mount(route_configuration.call(mesh.outbound(PROXY), "9080"))
    before = mesh.graph.statistics().computed
    mesh.apply(rule("s1", to("s1", timeout="3s"), namespace="ns1"))
    # The rule's place in order, its routes, the host's, the virtual host, its chunk and what that names, those of its
    # namespace, the whole.
    assert mesh.graph.statistics().computed - before <= 8
    assert len(mount.changes) == 1

    before = mesh.graph.statistics().computed
    mesh.apply(service("s7", "ns1", ip="10.96.0.7"))
    assert mesh.graph.statistics().computed == before, "an equal service costs nothing"


def test_the_whole_reads_namespaces_and_not_what_is_in_them() -> None:
    def reads(services: int) -> int:
        text = "".join(service(f"s{number}", f"ns{number % 2}", ip=f"10.96.0.{number}") for number in range(services))
        mesh = Mesh(CLIENT + text + rule("s1", to("s1"), namespace="ns1"))
        return len(mesh.graph.reads(route_configuration.call(mesh.outbound(PROXY), "9080")))

    assert reads(200) == reads(2)


def test_a_virtual_host_is_made_of_its_own_objects_and_no_others() -> None:
    mesh = Mesh(CLIENT + service("reviews") + service("ratings", ip="10.96.0.2") + rule("reviews", to("reviews")))
    made_from = parts(mesh.graph, route_configuration.call(mesh.outbound(PROXY), "9080"))
    assert list(map(str, made_from["reviews.shop.svc.cluster.local:9080"])) == [
        "Service shop/reviews",
        "VirtualService shop/reviews",
    ]


def test_a_rule_that_cannot_be_translated_keeps_its_last_good_routes_and_harms_no_other_host() -> None:
    mesh = Mesh(CLIENT + service("reviews") + service("ratings", ip="10.96.0.2") + rule("reviews", to("good")))
    mesh.graph.mount(route_configuration.call(mesh.outbound(PROXY), "9080"))
    mesh.apply(rule("reviews", "{match: [{uri: {regex: '(?=x)'}}], " + to("bad")[1:]) + rule("ratings", to("new")))
    found = hosts(mesh)
    assert clusters(found["reviews.shop.svc.cluster.local:9080"]) == ["outbound|9080||good.shop.svc.cluster.local"]
    assert clusters(found["ratings.shop.svc.cluster.local:9080"]) == ["outbound|9080||new.shop.svc.cluster.local"]
    mesh.apply(rule("reviews", to("better")))
    better = hosts(mesh)["reviews.shop.svc.cluster.local:9080"]
    assert clusters(better) == ["outbound|9080||better.shop.svc.cluster.local"]


def test_a_rule_that_cannot_be_translated_is_a_failure_that_names_its_field_and_its_object() -> None:
    mesh = Mesh(CLIENT + service("reviews") + rule("reviews", to("reviews")))
    mount = mesh.graph.mount(outbound.call(mesh.outbound(PROXY)))
    mesh.apply(rule("reviews", "{match: [{uri: {regex: '(?=x)'}}], " + to("reviews")[1:]))
    ((call, failure),) = ((call, value) for call, value in mount.changes.items() if isinstance(value, Failure))
    assert str(failure.error).startswith("spec.http[0].match[0].uri.regex: ")
    assert "VirtualService shop/reviews" in map(str, origins(mesh.graph, call))
    mesh.apply(rule("reviews", to("reviews")))
    assert mount.changes[call] is None


def test_a_rule_that_never_worked_is_as_if_it_were_not_there() -> None:
    broken = "{route: [{destination: {host: a}, weight: 0}, {destination: {host: b}, weight: 0}]}"
    mesh = Mesh(CLIENT + service("reviews") + rule("reviews", broken) + rule("other.example.com", broken))
    found = hosts(mesh)
    assert clusters(found["reviews.shop.svc.cluster.local:9080"]) == ["outbound|9080||reviews.shop.svc.cluster.local"]
    assert set(hosts(mesh, "80")) == {"allow_any"}


def test_names_that_lead_to_each_other_fail_alone() -> None:
    loop = external_name("a", "b.shop.svc.cluster.local") + external_name("b", "a.shop.svc.cluster.local")
    mesh = Mesh(CLIENT + loop + service("reviews") + service("ratings", ip="10.96.0.2") + rule("reviews", to("a")))
    assert set(hosts(mesh)) == {
        "reviews.shop.svc.cluster.local:9080",
        "ratings.shop.svc.cluster.local:9080",
        "allow_any",
    }


def test_a_destination_that_is_another_name_of_a_service_is_that_service() -> None:
    alias = external_name("alias", "reviews.shop.svc.cluster.local")
    mesh = Mesh(CLIENT + alias + service("reviews") + service("front", ip="10.96.0.2") + rule("front", to("alias")))
    front = hosts(mesh)["front.shop.svc.cluster.local:9080"]
    assert clusters(front) == ["outbound|9080||reviews.shop.svc.cluster.local"]


def test_of_two_services_with_one_address_the_older_keeps_it() -> None:
    def made(text: str, year: int) -> str:
        return text.replace("metadata: {", f'metadata: {{creationTimestamp: "{year}-01-01T00:00:00Z", ')

    for years, keeper in (((2020, 2021), "a.shop"), ((2021, 2020), "b.other")):
        older, newer = (
            made(service("a", ip="10.96.0.9"), years[0]),
            made(service("b", "other", ip="10.96.0.9"), years[1]),
        )
        found = hosts(Mesh(CLIENT + older + newer))
        assert [name for name, host in found.items() if "10.96.0.9" in host["domains"]] == [
            f"{keeper}.svc.cluster.local:9080"
        ]


def test_a_gateway_keeps_the_last_good_routes_of_one_rule_beside_the_new_ones_of_another() -> None:
    gateway = """
apiVersion: v1
kind: Pod
metadata: {name: gw, namespace: shop, labels: {istio: gw}}
spec: {serviceAccountName: gw, containers: [{name: proxy}]}
status: {podIP: 10.0.0.9, phase: Running}
---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: gw, namespace: shop}
spec: {selector: {istio: gw}, servers: [{port: {number: 80, name: http, protocol: HTTP}, hosts: ["*"]}]}
---
"""

    def bound(name: str, http: str) -> str:
        return rule(name, http, host="www.example.com").replace("spec: {", "spec: {gateways: [gw], ")

    def found() -> list[str]:
        view = mesh.views("router~10.0.0.9~gw.shop~shop.svc.cluster.local")[1]
        encoded = gateway_route_configuration(mesh.graph, view, "http.80")  # type: ignore[arg-type]
        (host,) = to_json(ROUTE, encoded.payload)["virtualHosts"]
        return [cluster.split("|")[3].split(".")[0] for cluster in clusters(host)]

    at_a = "{match: [{uri: {prefix: /a}}], "
    mesh = Mesh(gateway + bound("a", at_a + to("old-a")[1:]) + bound("b", to("old-b")))
    assert found() == ["old-a", "old-b"]
    mesh.apply(bound("a", "{match: [{uri: {regex: '('}}], " + to("bad")[1:]) + bound("b", to("new-b")))
    assert found() == ["old-a", "new-b"]


_NAMES = st.sampled_from(
    ["a", "b", "a.shop", "a.shop.svc", "b.other.svc.cluster.local", "x.example.com", "*.example.com"]
)
_OBJECTS = st.one_of(
    st.builds(
        lambda name, namespace, ip, port: service(name, namespace, ip=ip, port=port),
        st.sampled_from(["a", "b", "svc"]),
        st.sampled_from(["shop", "other"]),
        st.sampled_from(["10.96.0.1", "10.96.0.2", "None"]),
        st.sampled_from([80, 9080]),
    ),
    # No loops: what fails keeps what it last had, and from scratch there is no last.
    st.builds(external_name, st.just("c"), st.sampled_from(["a.shop.svc.cluster.local", "b.other.svc.cluster.local"])),
    st.builds(external_name, st.just("d"), st.sampled_from(["a.shop.svc.cluster.local", "c.shop.svc.cluster.local"])),
    st.builds(
        lambda name, host, namespace, target: rule(name, to(target), host=host, namespace=namespace),
        st.sampled_from(["r1", "r2"]),
        _NAMES,
        st.sampled_from(["shop", "other"]),
        st.sampled_from(["a", "b.other.svc.cluster.local", "c"]),
    ),
)


@given(st.lists(st.tuples(_OBJECTS, st.booleans()), max_size=12))
@settings(max_examples=60, deadline=None)
def test_after_any_changes_all_is_as_if_made_from_scratch_and_no_domain_is_there_twice(
    changes: list[tuple[str, bool]],
) -> None:
    names = ("80", "9080", "http_proxy", "a.shop.svc.cluster.local:9080")
    mesh = Mesh(CLIENT)
    for text, removed in changes:
        mesh.apply(text)
        view = mesh.outbound(PROXY)
        for name in names:
            encoded = route_configuration(mesh.graph, view, name)
            found = to_json(ROUTE, encoded.payload).get("virtualHosts", [])
            counted = Counter(domain for host in found for domain in host["domains"])
            assert not counted or max(counted.values()) == 1
            assert len({host["name"] for host in found}) == len(found)
        if removed:
            key = next(key for key in mesh.world.objects if key.kind != "Pod")
            mesh.remove(*key)
    again = Mesh()
    again.adopt(mesh.world.objects.values())
    for name in names:
        assert route_configuration(mesh.graph, mesh.outbound(PROXY), name) == route_configuration(
            again.graph, again.outbound(PROXY), name
        )

"""Services: protocols, addresses, visibility, names."""

from __future__ import annotations

import pytest

from dragoman.engine import QueryFailed
from dragoman.mesh import services
from dragoman.mesh.hosts import matches, resolve, service_of_host, wildcard_over, wildcards_of
from dragoman.mesh.protocol import Protocol, protocol_of
from tests.support.mesh_of_yaml import Mesh, mesh_settings, service


@pytest.mark.parametrize(
    ("number", "name", "app_protocol", "expected"),
    [
        (80, "http", None, Protocol.HTTP),
        (80, "http-web", None, Protocol.HTTP),
        (80, "HTTP2-x", None, Protocol.HTTP2),
        (80, "grpc-web", None, Protocol.GRPC_WEB),
        (80, "grpc-web-admin", None, Protocol.GRPC_WEB),
        (80, "grpc-api", None, Protocol.GRPC),
        (443, "https", None, Protocol.HTTPS),
        (9000, "tcp-db", None, Protocol.TCP),
        (3306, "", None, Protocol.TCP),
        (8080, "web", None, Protocol.AUTO),
        (8080, "web", "kubernetes.io/h2c", Protocol.HTTP2),
        (8080, "http", "tcp", Protocol.TCP),
        (8080, "http", "example.com/custom", Protocol.HTTP),
        (3306, "mysql", None, Protocol.MYSQL),
    ],
)
def test_protocol_of_a_port(number: int, name: str, app_protocol: str | None, expected: Protocol) -> None:
    assert protocol_of(number, name, app_protocol) is expected


def test_udp_ports_make_no_connections() -> None:
    assert protocol_of(53, "dns", None, "UDP") is Protocol.UDP


def test_a_service_has_host_addresses_and_ports() -> None:
    mesh = Mesh(service("web", ports="[{name: http, port: 80, targetPort: 8080}, {name: adm, port: 81}]"))
    found = services.service(mesh.graph, "shop", "web")
    assert found is not None
    assert found.host == "web.shop.svc.cluster.local"
    assert found.addresses == ("10.96.0.1",)
    assert [(p.number, p.target, p.protocol) for p in found.ports] == [
        (80, 8080, Protocol.HTTP),
        (81, 81, Protocol.AUTO),
    ]
    assert not found.headless


def test_headless_and_external_name() -> None:
    mesh = Mesh(
        service("db", clusterIP="None")
        + service("alias", type="ExternalName", externalName="db.shop.svc.cluster.local")
    )
    headless, alias = (services.service(mesh.graph, "shop", name) for name in ("db", "alias"))
    assert headless is not None
    assert headless.headless
    assert alias is not None
    assert alias.alias_of == "db.shop.svc.cluster.local"
    assert services.canonical_host(mesh.graph, "alias.shop.svc.cluster.local") == "db.shop.svc.cluster.local"


def test_external_names_that_lead_to_each_other_fail_alone() -> None:
    mesh = Mesh(
        service("a", type="ExternalName", externalName="b.shop.svc.cluster.local")
        + service("b", type="ExternalName", externalName="a.shop.svc.cluster.local")
        + service("c")
    )
    with pytest.raises(QueryFailed):
        services.canonical_host(mesh.graph, "a.shop.svc.cluster.local")
    assert services.canonical_host(mesh.graph, "c.shop.svc.cluster.local") == "c.shop.svc.cluster.local"


def test_a_change_that_nobody_reads_changes_no_value() -> None:
    mesh = Mesh(service("web"))
    before = services.service(mesh.graph, "shop", "web")
    mesh.apply(service("web", externalTrafficPolicy="Local"))
    assert services.service(mesh.graph, "shop", "web") is before


def test_visibility_follows_export_to_and_egress() -> None:
    private = service("secret").replace(
        "namespace: shop}", "namespace: shop, annotations: {networking.istio.io/exportTo: .}}"
    )
    mesh = Mesh(service("web") + private)

    def visible(client: str, egress: services.Egress = services.EVERYTHING) -> tuple[str, ...]:
        return services.visible_services(mesh.graph, client, egress, "shop")

    assert visible("shop") == ("secret", "web")
    assert visible("other") == ("web",)
    assert visible("shop", (("shop", "web.shop.svc.cluster.local"),)) == ("web",)
    assert visible("shop", (("other", "*"),)) == ()
    assert services.provider_namespaces(mesh.graph, (("other", "*"),)) == ()


def test_the_mesh_default_of_export_to() -> None:
    mesh = Mesh(service("web") + mesh_settings('defaultServiceExportTo: ["."]'))
    assert services.visible_services(mesh.graph, "other", services.EVERYTHING, "shop") == ()


def test_broken_settings_leave_the_last_good_ones() -> None:
    mesh = Mesh(mesh_settings("trustDomain: first.example"))
    from dragoman.mesh.settings import mesh_config

    assert mesh_config(mesh.graph).trust_domain == "first.example"
    mesh.apply(mesh_settings("trustDomain: [1"))
    assert mesh_config(mesh.graph).trust_domain == "first.example"
    mesh.remove("ConfigMap", "istio-system", "istio")
    assert mesh_config(mesh.graph).trust_domain == "cluster.local"


def test_hosts() -> None:
    assert resolve("web", "shop") == "web.shop.svc.cluster.local"
    assert resolve("web.other", "shop") == "web.other"
    assert service_of_host("web.shop.svc.cluster.local") == ("shop", "web")
    assert service_of_host("a.web.shop.svc.cluster.local") is None
    assert wildcards_of("a.b.c") == ("*.b.c", "*.c", "*")
    assert wildcards_of("*.b.c") == ("*.b.c", "*.c", "*")
    for host in ("a.b.c", "a", "*.b.c", "*"):
        assert wildcards_of(wildcard_over(host)) == wildcards_of(host)
    assert matches("*.b.c", "a.b.c")
    assert not matches("*.b.c", "b.c")
    assert matches("*", "x")

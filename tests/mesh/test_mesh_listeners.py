"""Which listeners a client needs, by the families of its addresses, and what becomes of addresses that two claim."""

from __future__ import annotations

from dragoman.mesh.families import Families
from dragoman.mesh.listeners import targets
from dragoman.mesh.services import EVERYTHING
from dragoman.mesh.workloads import Interception
from tests.support.mesh_of_yaml import Mesh, mesh_settings, pod, service

PORTS = "[{name: tcp, port: 90}]"
BOTH = ["10.96.0.1", "fd00:96::1"]


def listed(mesh: Mesh, families: Families) -> list[tuple[str, tuple[str, ...]]]:
    return [(target.service, target.addresses) for target in targets(mesh.graph, "shop", EVERYTHING, families)]


def test_a_service_of_both_families_has_one_listener() -> None:
    mesh = Mesh(service("a", ports=PORTS, clusterIPs=BOTH) + service("b", ports=PORTS, clusterIP="fd00:96::2"))
    assert listed(mesh, Families.DUAL) == [("a", tuple(BOTH)), ("b", ("fd00:96::2",))]
    assert listed(mesh, Families.IPV4) == [("a", ("10.96.0.1",))]
    assert listed(mesh, Families.IPV6) == [("a", ("fd00:96::1",)), ("b", ("fd00:96::2",))]


def test_a_pod_of_a_headless_service_has_one_listener() -> None:
    mesh = Mesh(
        service("a", ports=PORTS, clusterIP="None", ipFamilies=["IPv4", "IPv6"])
        + pod("a-1", "10.0.0.1", extra=', podIPs: [{ip: 10.0.0.1}, {ip: "fd00::1"}]')
        + pod("a-2", "10.0.0.2")
    )
    assert listed(mesh, Families.DUAL) == [("a", ("10.0.0.1", "fd00::1")), ("a", ("10.0.0.2",))]
    assert listed(mesh, Families.IPV6) == [("a", ("fd00::1",))]


def test_who_loses_one_address_keeps_the_other() -> None:
    mesh = Mesh(service("b", ports=PORTS, clusterIPs=BOTH) + service("a", ports=PORTS, clusterIP="fd00:96::1"))
    assert sorted(listed(mesh, Families.DUAL)) == [("a", ("fd00:96::1",)), ("b", ("10.96.0.1",))]


def test_families_tell_proxies_apart_only_where_they_listen() -> None:
    mesh = Mesh(pod("a-1", "10.0.0.1") + pod("b-1", "fd00::1"))
    four, six = (mesh.outbound(f"sidecar~10.0.0.1~{name}.shop~x") for name in ("a-1", "b-1"))
    assert four != six == four._replace(families=Families.IPV6)
    assert mesh.outbound("router~10.0.0.1~a-1.shop~x") == mesh.outbound("router~10.0.0.1~b-1.shop~x")
    mesh.apply(mesh_settings("defaultConfig: {interceptionMode: NONE}"))
    assert mesh.outbound("sidecar~10.0.0.1~a-1.shop~x") == mesh.outbound("sidecar~10.0.0.1~b-1.shop~x")


def test_a_pod_has_the_listeners_of_the_mode_that_it_is_captured_by() -> None:
    asks = pod("a-1", "10.0.0.1").replace(
        "namespace: shop", "namespace: shop\n  annotations: {sidecar.istio.io/interceptionMode: TPROXY}", 1
    )
    injected = asks.replace("TPROXY}", "TPROXY, sidecar.dragoman.io/captured-by: REDIRECT}")
    assert Mesh(asks).outbound("sidecar~10.0.0.1~a-1.shop~x").mode is Interception.TPROXY
    assert Mesh(injected).outbound("sidecar~10.0.0.1~a-1.shop~x").mode is Interception.REDIRECT

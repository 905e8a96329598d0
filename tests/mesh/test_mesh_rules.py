"""VirtualService and DestinationRule selection and merging."""

from __future__ import annotations

import pytest

from dragoman.mesh.labels import labels_of
from dragoman.mesh.rules import destination_rules, merged_rule, virtual_service
from tests.support.mesh_of_yaml import Mesh, istio

HOST = "web.shop.svc.cluster.local"
OLD, NEW = "2026-01-01T00:00:00Z", "2026-02-01T00:00:00Z"


def vs(name: str, host: str = "web", namespace: str = "shop", created: str = OLD, extra: str = "") -> str:
    spec = f'{{hosts: ["{host}"], http: [{{route: [{{destination: {{host: web}}}}]}}]{extra}}}'
    return istio("VirtualService", name, spec, namespace, created)


def dr(name: str, namespace: str = "shop", host: str = HOST, extra: str = "", created: str = OLD) -> str:
    return istio("DestinationRule", name, f'{{host: "{host}"{extra}}}', namespace, created)


@pytest.mark.parametrize(
    ("text", "client", "expected"),
    [
        pytest.param(vs("a", created=NEW) + vs("b"), "shop", "b", id="the oldest"),
        pytest.param(vs("b") + vs("a"), "shop", "a", id="of one age by name"),
        pytest.param(vs("w", "*.shop.svc.cluster.local") + vs("x", created=NEW), "shop", "x", id="exact over wildcard"),
        pytest.param(
            vs("w", "*") + vs("x", "*.shop.svc.cluster.local", created=NEW), "shop", "x", id="longer wildcard"
        ),
        pytest.param(vs("p", created=NEW, extra=', exportTo: ["."]') + vs("q"), "shop", "p", id="private first"),
        pytest.param(vs("p", extra=', exportTo: ["."]') + vs("q", created=NEW), "other", "q", id="private elsewhere"),
        pytest.param(vs("p", extra=', exportTo: ["other"]', created=NEW) + vs("q"), "other", "p", id="named first"),
        pytest.param(vs("g", extra=", gateways: [gw]"), "shop", None, id="for a gateway only"),
        pytest.param(vs("g", extra=", gateways: [gw, mesh]"), "shop", "g", id="for a gateway and the mesh"),
    ],
)
def test_which_virtual_service_holds(text: str, client: str, expected: str | None) -> None:
    found = virtual_service(Mesh(text).graph, client, HOST)
    assert (found.name if found is not None else None) == expected


@pytest.mark.parametrize(
    ("text", "client", "expected"),
    [
        pytest.param(dr("own", "client") + dr("provider"), "client", [("client", "own")], id="client's first"),
        pytest.param(
            dr("provider") + dr("root", "istio-system"), "client", [("shop", "provider")], id="then the provider's"
        ),
        pytest.param(dr("root", "istio-system"), "client", [("istio-system", "root")], id="then the root's"),
        pytest.param(dr("provider", extra=', exportTo: ["."]'), "client", [], id="not exported"),
        pytest.param(
            dr("wide", host="*.shop.svc.cluster.local") + dr("exact", created=NEW),
            "client",
            [("shop", "exact")],
            id="exact",
        ),
        pytest.param(dr("b") + dr("a", created=NEW), "client", [("shop", "b"), ("shop", "a")], id="all of one host"),
        pytest.param(
            dr("sel", "client", extra=", workloadSelector: {matchLabels: {v: a}}") + dr("all", "client"),
            "client",
            [("client", "sel")],
            id="a selector that matches beats none",
        ),
        pytest.param(
            dr("sel", "client", extra=", workloadSelector: {matchLabels: {v: b}}") + dr("all", "client"),
            "client",
            [("client", "all")],
            id="a selector that does not match",
        ),
    ],
)
def test_which_destination_rules_hold(text: str, client: str, expected: list[tuple[str, str]]) -> None:
    found = destination_rules(Mesh(text).graph, client, labels_of({"v": "a"}), "shop", HOST)
    assert list(found) == expected


def test_rules_of_one_host_are_merged() -> None:
    mesh = Mesh(
        dr("a", extra=", subsets: [{name: v1, labels: {v: '1'}}]")
        + dr(
            "b",
            extra=", subsets: [{name: v1, labels: {v: x}}, {name: v2, labels: {v: '2'}}],"
            " trafficPolicy: {loadBalancer: {simple: RANDOM}}",
        )
    )
    rule = merged_rule(mesh.graph, (("shop", "a"), ("shop", "b")))
    assert rule is not None
    assert [(s.name, s.labels) for s in rule.subsets] == [("v1", {"v": "1"}), ("v2", {"v": "2"})]
    assert rule.traffic_policy is not None
    assert rule.name == "a"


def test_a_rule_that_appears_where_none_was_is_seen() -> None:
    mesh = Mesh()
    assert virtual_service(mesh.graph, "shop", HOST) is None
    assert destination_rules(mesh.graph, "client", frozenset(), "shop", HOST) == ()
    mesh.apply(vs("a") + dr("d"))
    found = virtual_service(mesh.graph, "shop", HOST)
    assert found is not None
    assert destination_rules(mesh.graph, "client", frozenset(), "shop", HOST) == (("shop", "d"),)
    mesh.remove("VirtualService", "shop", "a")
    assert virtual_service(mesh.graph, "shop", HOST) is None

"""Which matches become routes, and how far down a list of rules a request can get."""

from __future__ import annotations

from typing import Any

import pytest

from crds.virtualservice import HTTPMatchRequest
from tests.support.mesh_of_yaml import objects
from translators.http_routes import Origin, applies, http_routes, references
from translators.route_action import Target
from translators.untranslatable import UntranslatableError

ORIGIN = Origin(80, "mesh", "shop", frozenset({("app", "web"), ("version", "v1")}))


@pytest.mark.parametrize(
    ("match", "wanted"),
    [
        (None, True),
        (HTTPMatchRequest(), True),
        (HTTPMatchRequest(port=80), True),
        (HTTPMatchRequest(port=81), False),
        (HTTPMatchRequest(source_namespace="shop"), True),
        (HTTPMatchRequest(source_namespace="other"), False),
        (HTTPMatchRequest(source_labels={"app": "web"}), True),
        (HTTPMatchRequest(source_labels={"app": "web", "version": "v2"}), False),
        (HTTPMatchRequest(gateways=("edge", "mesh")), True),
        (HTTPMatchRequest(gateways=("edge",)), False),
    ],
)
def test_a_match_applies_where_all_that_it_says_of_the_source_holds(
    match: HTTPMatchRequest | None, wanted: bool
) -> None:
    assert applies(match, ORIGIN, "shop") is wanted


def test_a_gateway_without_a_namespace_is_of_the_rules_own() -> None:
    at_edge = Origin(80, "shop/edge", "istio-system", frozenset())
    assert applies(HTTPMatchRequest(gateways=("edge",)), at_edge, "shop")
    assert applies(HTTPMatchRequest(gateways=("shop/edge",)), at_edge, "other")
    assert not applies(HTTPMatchRequest(gateways=("edge",)), at_edge, "other")


def rule(http: str) -> Any:
    (found,) = objects(
        f"""
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: rule, namespace: shop}}
spec: {{hosts: [web], http: [{http}]}}
"""
    )
    return found


def names(http: str) -> list[str]:
    return [route.name for route in http_routes(rule(http), ORIGIN, lambda to: Target(f"outbound|80||{to.host}"))]


TO = "route: [{destination: {host: web}}]"


@pytest.mark.parametrize(
    ("http", "wanted"),
    [
        (f"{{name: a, {TO}}}, {{name: b, {TO}}}", ["a"]),
        (f"{{name: a, match: [{{port: 81}}], {TO}}}, {{name: b, {TO}}}", ["b"]),
        (f"{{name: a, match: [{{name: x, uri: {{prefix: /}}}}, {{name: y}}], {TO}}}, {{name: b, {TO}}}", ["a.x"]),
        (f"{{name: a, match: [{{uri: {{prefix: /}}, headers: {{h: {{}}}}}}], {TO}}}, {{name: b, {TO}}}", ["a", "b"]),
        (f"{{name: a, match: [{{uri: {{regex: '.*'}}}}], {TO}}}, {{name: b, {TO}}}", ["a"]),
        (f"{{match: [{{port: 81}}], {TO}}}", []),
    ],
)
def test_what_nothing_can_reach_is_left_out(http: str, wanted: list[str]) -> None:
    assert names(http) == wanted


def test_an_error_names_its_field_from_the_root_of_the_object() -> None:
    with pytest.raises(UntranslatableError) as error:
        names(f"{{match: [{{port: 81}}], {TO}}}, {{match: [{{}}, {{uri: {{regex: '('}}}}], {TO}}}".replace("{}, ", ""))
    assert error.value.path == "spec.http[1].match[0].uri.regex"
    with pytest.raises(UntranslatableError) as error:
        names("{route: [{destination: {host: a}, weight: 0}, {destination: {host: b}, weight: 0}]}")
    assert error.value.path == "spec.http[0].route"


def test_references_are_all_clusters_that_a_route_names() -> None:
    http = "{route: [{destination: {host: a}, weight: 1}, {destination: {host: b}, weight: 1}], mirror: {host: c}}"
    routes = http_routes(rule(http), ORIGIN, lambda to: Target(f"outbound|80||{to.host}"))
    assert {name for _, name in references(routes)} == {"outbound|80||a", "outbound|80||b", "outbound|80||c"}

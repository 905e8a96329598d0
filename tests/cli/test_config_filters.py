"""What the filters of `proxy-config` let through, as a control plane writes it and as Envoy does."""

from typing import Any

import pytest

from dragoman.cli.inspect import config_filters
from dragoman.cli.inspect.config_dump import Resource, resource
from dragoman.cli.inspect.config_tables import listener_addresses

WEB = {"name": "outbound|80||web.shop.svc.cluster.local"}
SUBSET = {"name": "outbound|80|v1|web.shop.svc.cluster.local"}
INBOUND = {"name": "inbound|8080||"}
OTHER = {"name": "BlackHoleCluster"}


def names(found: list[Resource]) -> list[str]:
    return [str(each.written["name"]) for each in found]


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        ({}, [WEB, SUBSET, INBOUND, OTHER]),
        ({"fqdn": "web.shop"}, [WEB, SUBSET]),
        ({"fqdn": "BlackHole"}, [OTHER]),
        ({"port": 80}, [WEB, SUBSET]),
        ({"port": 8}, []),
        ({"subset": "v1"}, [SUBSET]),
        ({"direction": "inbound"}, [INBOUND]),
        ({"direction": "outbound", "subset": "v2"}, []),
    ],
)
def test_clusters(wanted: dict[str, Any], expected: list[dict[str, str]]) -> None:
    chosen = config_filters.clusters(**({"fqdn": None, "port": None, "subset": None, "direction": None} | wanted))
    assert names(chosen([resource(each) for each in (WEB, SUBSET, INBOUND, OTHER)])) == [e["name"] for e in expected]


def _filter(kind: str) -> dict[str, Any]:
    return {"typed_config": {"@type": f"type.googleapis.com/envoy.extensions.filters.network.{kind}"}}


HTTP = {
    "name": "http",
    "address": {"socket_address": {"address": "0.0.0.0", "port_value": 80}},  # noqa: S104
    "filter_chains": [{"filters": [_filter("http_connection_manager.v3.HttpConnectionManager")]}],
}
BOTH = {
    "name": "both",
    "address": {"socketAddress": {"address": "10.0.0.1", "portValue": 15006}},
    "additionalAddresses": [{"address": {"socketAddress": {"address": "fd00::1", "portValue": 15006}}}],
    "filterChains": [
        {"filters": [{"typedConfig": _filter("http_connection_manager.v3.HttpConnectionManager")["typed_config"]}]}
    ],
    "defaultFilterChain": {"filters": [{"typedConfig": _filter("tcp_proxy.v3.TcpProxy")["typed_config"]}]},
}
SOCKET = {"name": "socket", "address": {"pipe": {"path": "/run/x"}}}


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        ({}, ["http", "both", "socket"]),
        ({"port": 80}, ["http"]),
        ({"address": "10.0.0.1"}, ["both"]),
        ({"address": "fd00::1"}, ["both"]),
        ({"address": "/run/x"}, ["socket"]),
        ({"type_": "http"}, ["http"]),
        ({"type_": "HTTP+TCP"}, ["both"]),
        ({"type_": "TCP"}, []),
    ],
)
def test_listeners(wanted: dict[str, Any], expected: list[str]) -> None:
    chosen = config_filters.listeners(**({"address": None, "port": None, "type_": None} | wanted))
    assert names(chosen([resource(each) for each in (HTTP, BOTH, SOCKET)])) == expected


def test_all_addresses_of_a_listener_are_shown() -> None:
    assert listener_addresses(BOTH) == (("10.0.0.1", "fd00::1"), "15006")
    assert listener_addresses(SOCKET) == (("/run/x",), "")


def test_routes() -> None:
    found = [resource({"name": "80"}), resource({"name": "8080"})]
    assert names(config_filters.routes(name="80")(found)) == ["80"]
    assert config_filters.routes(name=None)(found) == found


def _endpoint(address: str, port: int, health: str) -> dict[str, Any]:
    return {
        "endpoint": {"address": {"socketAddress": {"address": address, "portValue": port}}},
        "healthStatus": health,
    }


ASSIGNMENT = {
    "clusterName": "a",
    "endpoints": [
        {"locality": {"zone": "z"}, "lbEndpoints": [_endpoint("10.0.0.1", 80, "HEALTHY")]},
        {"lbEndpoints": [_endpoint("10.0.0.2", 80, "UNHEALTHY"), _endpoint("10.0.0.1", 81, "HEALTHY")]},
    ],
}
HOSTS = {
    "name": "b",
    "host_statuses": [
        {
            "address": {"socket_address": {"address": "10.0.0.1", "port_value": 80}},
            "health_status": {"eds_health_status": "UNHEALTHY"},
        }
    ],
}


@pytest.mark.parametrize(
    ("wanted", "of_assignment", "of_hosts"),
    [
        ({}, 3, 1),
        ({"address": "10.0.0.1"}, 2, 1),
        ({"address": "10.0.0.1:80"}, 1, 1),
        ({"port": 81}, 1, 0),
        ({"status": "unhealthy"}, 1, 1),
        ({"cluster": "a"}, 3, 0),
        ({"cluster": "b", "status": "HEALTHY"}, 0, 0),
    ],
)
def test_endpoints_are_what_is_left_of_their_clusters(
    wanted: dict[str, Any], of_assignment: int, of_hosts: int
) -> None:
    chosen = config_filters.endpoints(**({"address": None, "port": None, "cluster": None, "status": None} | wanted))
    left = {
        each.written.get("clusterName", each.written.get("name")): each
        for each in chosen([resource(ASSIGNMENT), resource(HOSTS)])
    }
    places = left["a"].written["endpoints"] if "a" in left else []
    assert sum(len(place["lbEndpoints"]) for place in places) == of_assignment
    assert len(left["b"].written["host_statuses"] if "b" in left else []) == of_hosts
    assert set(left) == {name for name, count in (("a", of_assignment), ("b", of_hosts)) if count}

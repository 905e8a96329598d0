"""What differs between a control plane's dump and an Envoy's, and what only looks different."""

from typing import Any

from dragoman.cli.inspect.comparison import Comparison, compare
from tests.cli.cli_runs import run

ADMIN = "type.googleapis.com/envoy.admin.v3."
LISTENER = {"name": "l", "filterChains": [{"filters": [{"typedConfig": {"rds": {"routeConfigName": "80"}}}]}]}


def clusters(*found: dict[str, Any], state: str = "Active") -> dict[str, Any]:
    return {"@type": f"{ADMIN}ClustersConfigDump", f"dynamic{state}Clusters": [{"cluster": each} for each in found]}


def listeners(*found: dict[str, Any]) -> dict[str, Any]:
    entries = [{"name": each["name"], "activeState": {"listener": each}} for each in found]
    return {"@type": f"{ADMIN}ListenersConfigDump", "dynamicListeners": entries}


def routes(*found: dict[str, Any]) -> dict[str, Any]:
    return {"@type": f"{ADMIN}RoutesConfigDump", "dynamicRouteConfigs": [{"routeConfig": each} for each in found]}


def endpoints(*found: dict[str, Any]) -> dict[str, Any]:
    entries = [{"endpointConfig": each} for each in found]
    return {"@type": f"{ADMIN}EndpointsConfigDump", "dynamicEndpointConfigs": entries}


def secrets(*found: dict[str, Any]) -> dict[str, Any]:
    entries = [{"name": each["name"], "secret": each} for each in found]
    return {"@type": f"{ADMIN}SecretsConfigDump", "dynamicActiveSecrets": entries}


def compared(section: str, served: list[dict[str, Any]], had: list[dict[str, Any]]) -> Comparison:
    return compare({"configs": served}, {"configs": had})[section]


def host(address: str, **more: Any) -> dict[str, Any]:
    return {"endpoint": {"address": {"socketAddress": {"address": address, "portValue": 80}}}, **more}


def test_the_same_in_other_words() -> None:
    served = {
        "name": "c",
        "metadata": {"filterMetadata": {"istio": {"port": 80.0}}},
        "key": {"privateKey": {"filename": "/key"}},
    }
    had = {
        "name": "c",
        "metadata": {"filter_metadata": {"istio": {"port": 80}}},
        "key": {"private_key": {"filename": "[redacted]"}},
    }
    assert compared("clusters", [clusters(served)], [clusters(had)]).match


def test_numbers_lists_and_fields_that_differ() -> None:
    for wanted, found in ((80.5, 80), ([1, 2], [1]), ([1], [1, 2]), ({"a": 1}, {}), ({}, {"a": 1}), ({"a": 1}, 1)):
        change = compared("clusters", [clusters({"name": "c", "x": wanted})], [clusters({"name": "c", "x": found})])
        assert [each.name for each in change.changed] == ["c"], (wanted, found)


def test_a_cluster_that_warms_is_not_in_use() -> None:
    had = [clusters({"name": "c"}, state="Warming")]
    assert compared("clusters", [clusters({"name": "c"})], had) == Comparison(missing=("c",), warming=("c",))


def test_routes_of_listeners_that_drain_are_no_difference() -> None:
    of_80, of_81 = {"name": "80"}, {"name": "81"}
    served, had = [listeners(LISTENER), routes(of_80)], [listeners(LISTENER), routes(of_80, of_81)]
    assert compared("routes", served, had).match
    assert compared("routes", served, [listeners(LISTENER)]) == Comparison(missing=("80",))


def test_hosts_count_and_not_what_envoy_finds_of_them() -> None:
    cluster = clusters({"name": "c", "type": "EDS", "edsClusterConfig": {"serviceName": "s"}})
    hosts = [host("10.0.0.1"), host("10.0.0.2")]
    two = {"clusterName": "s", "endpoints": [{"lbEndpoints": hosts}]}
    as_envoy_has_them = {
        "clusterName": "s",
        "endpoints": [
            {
                "locality": {},
                "loadBalancingWeight": 0,
                "lbEndpoints": [
                    host("10.0.0.2", healthStatus="UNHEALTHY", loadBalancingWeight=1),
                    host("10.0.0.1", healthStatus="HEALTHY", loadBalancingWeight=1),
                ],
            }
        ],
        "policy": {"overprovisioningFactor": 140},
    }
    of_another = {"clusterName": "static", "endpoints": []}
    assert compared("endpoints", [cluster, endpoints(two)], [cluster, endpoints(as_envoy_has_them, of_another)]).match
    one = {"clusterName": "s", "endpoints": [{"lbEndpoints": [host("10.0.0.1")]}]}
    (change,) = compared("endpoints", [cluster, endpoints(two)], [cluster, endpoints(one)]).changed
    assert [line for line in change.diff if "10.0.0.2" in line]
    moved = {"clusterName": "s", "endpoints": [{"priority": 1, "lbEndpoints": hosts}]}
    assert compared("endpoints", [cluster, endpoints(two)], [cluster, endpoints(moved)]).changed


def test_secrets_of_a_bootstrap_and_credentials_that_are_names() -> None:
    served = [secrets({"name": "kubernetes://site"}, {"name": "gone"})]
    had = [secrets({"name": "kubernetes://site", "tlsCertificate": {}}, {"name": "token-of-the-bootstrap"})]
    assert compared("secrets", served, had) == Comparison(missing=("gone",))


def test_an_envoy_is_of_one_proxy() -> None:
    nobody = run("proxy-status", "--admin-address", "127.0.0.1:1")
    both = run("proxy-status", "web", "--admin-address", "127.0.0.1:1", "-f", "dump.json")
    assert nobody.exit_code == both.exit_code == 2

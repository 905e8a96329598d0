"""What a proxy is served, in the shape of Envoy's own page."""

import base64
import threading
from pathlib import Path
from typing import Any

import pytest

from dragoman.codec import CLUSTER, ENDPOINT, LISTENER, ROUTE, decode, from_json, to_json
from dragoman.debug import config_dump
from tests.debug.debug_proxy import proxy_at
from tests.debug.running_plane import CART, CLUSTER_OF_WEB, WEB, running_plane
from tests.support.until import until

_SECTIONS = {
    CLUSTER: ("ClustersConfigDump", "dynamicActiveClusters", lambda entry: entry["cluster"]),
    ENDPOINT: ("EndpointsConfigDump", "dynamicEndpointConfigs", lambda entry: entry["endpointConfig"]),
    LISTENER: ("ListenersConfigDump", "dynamicListeners", lambda entry: entry["activeState"]["listener"]),
    ROUTE: ("RoutesConfigDump", "dynamicRouteConfigs", lambda entry: entry["routeConfig"]),
}


def resources(dump: dict[str, Any]) -> dict[str, list[dict[str, Any]]]:
    by_type = {config["@type"].rpartition(".")[2]: config for config in dump["configs"]}
    return {
        type_url: [take(entry) for entry in by_type[message].get(field, [])]
        for type_url, (message, field, take) in _SECTIONS.items()
    }


async def test_it_is_a_config_dump_of_what_the_proxy_holds(tmp_path: Path) -> None:
    async with running_plane(tmp_path) as running, proxy_at(running.xds_port, WEB) as proxy:
        await until(running.all_in_sync)
        dump = await running.ask("/debug/config_dump?proxyID=web-1.shop")
        by_node_id = await running.ask(f"/debug/config_dump?proxyID={WEB}")
    for config in dump["configs"]:
        from_json(config["@type"], {key: value for key, value in config.items() if key != "@type"})
    shown = resources(dump)
    for type_url in (CLUSTER, LISTENER, ENDPOINT):
        held = {name: {"@type": type_url, **to_json(type_url, data)} for name, data in proxy.held[type_url].items()}
        assert {entry.get("name") or entry["clusterName"]: entry for entry in shown[type_url]} == held
    assert "8080" in {entry["name"] for entry in shown[ROUTE]}
    assert by_node_id == dump


async def test_streams_go_on_while_a_dump_is_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The routes of thousands of services are one resource, whose JSON takes a second."""
    threads = set()

    def recorded(type_url: str, payload: bytes) -> dict[str, Any]:
        threads.add((type_url, threading.current_thread() is threading.main_thread()))
        return to_json(type_url, payload)

    monkeypatch.setattr(config_dump, "to_json", recorded)
    async with running_plane(tmp_path) as running, proxy_at(running.xds_port, WEB):
        await running.ask("/debug/config_dump?proxyID=web-1.shop")
    assert {(type_url, False) for type_url in _SECTIONS} <= threads
    assert not {(type_url, True) for type_url in _SECTIONS} & threads


async def test_certificates_are_shown_and_private_keys_are_not(tmp_path: Path) -> None:
    async with running_plane(tmp_path) as running, proxy_at(running.xds_port, WEB) as proxy:
        dump = await running.ask("/debug/config_dump?proxyID=web-1.shop")
    secrets = {entry["name"]: entry["secret"] for entry in dump["configs"][-1]["dynamicActiveSecrets"]}
    assert set(secrets) == {"default", "ROOTCA"}
    certificate = secrets["default"]["tlsCertificate"]
    delivered: Any = decode(secrets["default"]["@type"], proxy.held[secrets["default"]["@type"]]["default"])
    chain = base64.b64decode(certificate["certificateChain"]["inlineBytes"])
    assert chain == delivered.tls_certificate.certificate_chain.inline_bytes
    assert base64.b64decode(certificate["privateKey"]["inlineBytes"]) == b"[redacted]"


async def test_a_rejected_resource_is_not_shown_as_served(tmp_path: Path) -> None:
    async with (
        running_plane(tmp_path) as running,
        proxy_at(running.xds_port, WEB, rejects={CLUSTER_OF_WEB: "no"}),
    ):
        dump = await running.ask("/debug/config_dump?proxyID=web-1.shop")
    assert CLUSTER_OF_WEB not in {cluster["name"] for cluster in resources(dump)[CLUSTER]}


async def test_an_unknown_proxy_is_told_who_is_there(tmp_path: Path) -> None:
    async with (
        running_plane(tmp_path) as running,
        proxy_at(running.xds_port, WEB),
        proxy_at(running.xds_port, CART),
    ):
        for query in ("?proxyID=nobody.shop", "", "?proxyID=a~b~c~d", f"?proxyID={WEB.replace('web-1', 'web-9')}"):
            status, _, response = await running.get(f"/debug/config_dump{query}")
            assert status == 404
            assert (await response.json())["proxies"] == ["cart-1.shop", "web-1.shop"]

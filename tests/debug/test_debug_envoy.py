"""A real Envoy: what the pages say it is served is what it says it has."""

from pathlib import Path
from typing import Any

import pytest

from dragoman.codec import CLUSTER, ENDPOINT, LISTENER, ROUTE, from_json, to_json
from dragoman.mesh.proxy_id import ProxyId
from dragoman.sidecar import (
    Bootstrap,
    ControlPlane,
    EnvoyProcess,
    Node,
    SocketAddress,
    StaticAddresses,
    argv,
    find_envoy,
    render,
)
from tests.debug.running_plane import running_plane
from tests.debug.test_debug_config_dump import resources
from tests.support.until import until

pytestmark = pytest.mark.envoy

ADDRESS = "127.10.14.2"
MESH = f"""
apiVersion: v1
kind: Service
metadata: {{name: web, namespace: shop}}
spec: {{clusterIP: 10.96.0.1, selector: {{app: web}}, ports: [{{name: http, port: 8080}}]}}
---
apiVersion: v1
kind: Pod
metadata: {{name: web-1, namespace: shop, labels: {{app: web, security.istio.io/tlsMode: istio}}}}
status: {{podIP: {ADDRESS}}}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: web, namespace: shop}}
spec:
  hosts: [web]
  http: [{{timeout: 5s, route: [{{destination: {{host: web}}}}]}}]
---
apiVersion: v1
kind: ConfigMap
metadata: {{name: istio, namespace: istio-system}}
data: {{mesh: "{{proxyHttpPort: 18080, defaultConfig: {{interceptionMode: NONE}}}}"}}
"""


async def test_what_is_shown_is_what_envoy_has(tmp_path: Path) -> None:
    (tmp_path / "mesh").mkdir()
    addresses = StaticAddresses.on(ADDRESS, admin=18000, readiness=18021, prometheus=18090, lifecycle=18020)
    node = Node(ProxyId.parse(f"sidecar~{ADDRESS}~web-1.shop~shop.svc.cluster.local"), interception_mode="NONE")
    async with running_plane(tmp_path / "mesh", MESH) as running:
        bootstrap = Bootstrap(node, ControlPlane(SocketAddress("127.0.0.1", running.xds_port)), addresses)
        envoy = EnvoyProcess(
            lambda config: argv(find_envoy(), config, concurrency=1, reject_unknown_fields=True),
            render(bootstrap),
            tmp_path / "envoy",
            addresses.admin,
        )
        async with envoy:
            await envoy.wait_live(15)
            await until(running.all_in_sync)
            (status,) = await running.ask("/debug/syncz")
            shown = resources(await running.ask("/debug/config_dump?proxyID=web-1.shop"))
            had = resources(_canonical(await envoy.admin.config_dump()))
            inside = {_name(entry) for entry in shown[CLUSTER] if entry.get("type") != "EDS"}
    assert status["proxy_version"] == "envoy 1.40.0"
    assert {"cds", "eds", "lds", "rds", "sds"} <= status["types"].keys()
    for type_url in (CLUSTER, LISTENER, ROUTE):
        assert {_name(entry): entry for entry in shown[type_url]} == {_name(entry): entry for entry in had[type_url]}
        assert shown[type_url]
    # Envoy lists the endpoints of clusters that have them inside, too.
    assert {_name(entry) for entry in shown[ENDPOINT]} == {_name(entry) for entry in had[ENDPOINT]} - inside


def _name(entry: dict[str, Any]) -> str:
    return str(entry.get("name") or entry["clusterName"])


def _canonical(dump: dict[str, Any]) -> dict[str, Any]:
    """Envoy writes field names as in the .proto; canonical JSON has them in camel case."""
    configs = [config for config in dump["configs"] if not config["@type"].endswith(".BootstrapConfigDump")]
    return {"configs": [_rewritten(config) for config in configs]}


def _rewritten(config: dict[str, Any]) -> dict[str, Any]:
    content = {name: value for name, value in config.items() if name != "@type"}
    return {"@type": config["@type"], **to_json(config["@type"], from_json(config["@type"], content))}

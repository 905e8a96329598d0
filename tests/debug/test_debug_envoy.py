"""A real Envoy: what the pages say it is served is what it says it has."""

from pathlib import Path
from typing import Any

import pytest

from dragoman.codec import CLUSTER, ENDPOINT, LISTENER, ROUTE, from_json, to_json
from tests.debug.plane_with_envoy import plane_with_envoy
from tests.debug.test_debug_config_dump import resources

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
    async with plane_with_envoy(tmp_path, MESH, ADDRESS) as (running, envoy, _):
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

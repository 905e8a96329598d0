"""What a real Envoy says of itself, by its admin interface and in a file: the tables are those of the control plane."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import NamedTuple

import pytest
import yaml
from typer.testing import Result

from dragoman.cli.inspect.comparison import SECTIONS
from dragoman.kube.cluster import Cluster
from dragoman.sidecar import EnvoyProcess, SocketAddress
from tests.cli.cli_runs import run
from tests.debug.plane_with_envoy import plane_with_envoy
from tests.debug.running_plane import RunningPlane
from tests.support.api_server import ApiServer
from tests.support.stream_kubelet import stream_kubelet

pytestmark = pytest.mark.envoy

ADDRESS = "127.10.14.9"
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
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {{name: web, namespace: shop}}
spec: {{host: web, trafficPolicy: {{outlierDetection: {{consecutive5xxErrors: 3}}}}}}
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {{name: readers, namespace: shop}}
spec: {{rules: [{{to: [{{operation: {{methods: [GET]}}}}]}}]}}
---
apiVersion: v1
kind: ConfigMap
metadata: {{name: istio, namespace: istio-system}}
data: {{mesh: "{{proxyHttpPort: 18080, defaultConfig: {{interceptionMode: NONE}}}}"}}
"""


class Proxied(NamedTuple):
    running: RunningPlane
    envoy: EnvoyProcess
    admin: SocketAddress

    async def of_control_plane(self, *arguments: str) -> Result:
        return await asyncio.to_thread(run, *arguments, "web", "--http-address", f"127.0.0.1:{self.running.http_port}")

    async def of_envoy(self, *arguments: str) -> Result:
        return await asyncio.to_thread(run, *arguments, "--admin-address", str(self.admin))


@pytest.fixture
async def proxied(tmp_path: Path) -> AsyncIterator[Proxied]:
    async with plane_with_envoy(tmp_path, MESH, ADDRESS) as found:
        yield Proxied(*found)


def lines(result: Result) -> list[str]:
    assert result.exit_code == 0, result.output
    return [line.rstrip() for line in result.stdout.splitlines()]


async def test_both_sides_make_the_same_tables(proxied: Proxied, tmp_path: Path) -> None:
    dump = tmp_path / "dump.json"
    dump.write_text(json.dumps(await proxied.envoy.admin.config_dump()))
    for section in ("clusters", "listeners", "routes", "secrets"):
        served = lines(await proxied.of_control_plane("proxy-config", section))
        had = lines(await proxied.of_envoy("proxy-config", section))
        in_file = lines(await asyncio.to_thread(run, "proxy-config", section, "-f", dump))
        assert had == in_file
        # Envoy has its static ones besides, from its bootstrap.
        assert {tuple(line.split()) for line in served} <= {tuple(line.split()) for line in had}
        assert len(served) > 1
    policies = lines(await proxied.of_control_plane("authz", "check"))
    assert policies == lines(await proxied.of_envoy("authz", "check"))
    assert policies[1].split() == ["ALLOW", "readers.shop", "1"]
    both = (await proxied.of_envoy("proxy-config", "all")).stdout
    assert [section for section in ("CLUSTERS", "LISTENERS", "ROUTES", "ENDPOINTS", "SECRETS") if section in both]


async def test_what_is_served_is_compared_with_what_envoy_has(proxied: Proxied, tmp_path: Path) -> None:
    same = lines(await proxied.of_control_plane("proxy-status", "--admin-address", str(proxied.admin)))
    assert same[1].startswith("web-1.shop")
    assert same[2:] == [f"{section.capitalize()} Match" for section in SECTIONS]

    had = json.loads(await proxied.envoy.admin.get("/config_dump?include_eds"))
    (of_clusters,) = [part for part in had["configs"] if part["@type"].endswith(".ClustersConfigDump")]
    clusters = {each["cluster"]["name"]: each["cluster"] for each in of_clusters["dynamic_active_clusters"]}
    clusters["outbound|8080||web.shop.svc.cluster.local"]["connect_timeout"] = "1s"
    clusters["BlackHoleCluster"]["name"] = "WhiteHoleCluster"
    dump = tmp_path / "dump.json"
    dump.write_text(json.dumps(had))
    other = await proxied.of_control_plane("proxy-status", "-f", str(dump))
    told = other.stdout.splitlines()[2:]
    assert other.exit_code == 3
    assert told[:3] == [
        "Clusters Differ",
        "  not at the Envoy: BlackHoleCluster",
        "  only at the Envoy: WhiteHoleCluster",
    ]
    assert [line for line in told if line.startswith(("+ ", "- "))] == [
        '-  "connectTimeout": "10s",',
        '+  "connectTimeout": "1s",',
    ]
    assert told[-4:] == [f"{section.capitalize()} Match" for section in SECTIONS[1:]]
    (as_json,) = json.loads((await proxied.of_control_plane("proxy-status", "-f", str(dump), "-o", "json")).stdout)
    assert as_json["proxy"] == "web-1.shop"
    assert [section for section, each in as_json["comparison"].items() if not each["match"]] == ["clusters"]
    assert as_json["comparison"]["clusters"]["extra"] == ["WhiteHoleCluster"]

    unreachable = await proxied.of_control_plane("proxy-status", "--admin-address", "127.0.0.1:1")
    assert unreachable.exit_code == 1
    assert [line.rstrip() for line in unreachable.stdout.splitlines()] == same[:2]
    assert "no answer" in unreachable.stderr


async def test_what_only_envoy_knows(proxied: Proxied) -> None:
    bootstrap = json.loads((await proxied.of_envoy("proxy-config", "bootstrap")).stdout)["bootstrap"]
    assert bootstrap["node"]["id"].startswith("sidecar~")
    endpoints = lines(await proxied.of_envoy("pc", "ep", "--cluster", "outbound|8080||web.shop.svc.cluster.local"))
    assert [line.split()[:3] for line in endpoints[1:]] == [[f"{ADDRESS}:8080", "HEALTHY", "OK"]]
    unhealthy = lines(await proxied.of_envoy("pc", "ep", "--status", "UNHEALTHY"))
    assert len(unhealthy) == 1
    as_envoy_writes = yaml.safe_load((await proxied.of_envoy("pc", "clusters", "--port", "8080", "-o", "yaml")).stdout)
    assert {"connect_timeout"} <= as_envoy_writes[0].keys()


async def test_an_envoy_that_is_not_there(proxied: Proxied) -> None:
    gone = await asyncio.to_thread(run, "pc", "clusters", "--admin-address", "127.0.0.1:1")
    no_dump = await asyncio.to_thread(run, "pc", "clusters", "-f", __file__)
    outside = await proxied.of_control_plane("pc", "bootstrap")
    assert gone.exit_code == no_dump.exit_code == outside.exit_code == 1
    assert "no answer" in gone.stderr
    assert "no config dump" in no_dump.stderr
    assert "say --admin-address" in outside.stderr


@pytest.mark.real_api
async def test_the_envoy_of_a_pod(
    proxied: Proxied, api_server: ApiServer, cluster: Cluster, namespace: str, tmp_path: Path
) -> None:
    where = ("--kubeconfig", str(api_server.kubeconfig), "-n", namespace)
    async with stream_kubelet(cluster, tmp_path, f"node-{namespace}") as kubelet:
        # The kubelet of the test reaches ports of 127.0.0.1 only.
        bridge = await asyncio.start_server(_to_admin, "127.0.0.1", 0)
        async with bridge:
            port = bridge.sockets[0].getsockname()[1]
            await kubelet.pod(namespace, "web-1", ports={15000: port}, containers=("app", "istio-proxy"))
            served = lines(await proxied.of_control_plane("proxy-config", "clusters", "--direction", "outbound"))
            result = await asyncio.to_thread(
                run, "pc", "clusters", "web-1", "--from", "proxy", "--direction", "outbound", *where
            )
            nobody = await asyncio.to_thread(run, "pc", "clusters", "nobody", "--from", "proxy", *where)
    assert lines(result) == served
    assert f"from Envoy of web-1.{namespace}" in result.stderr
    assert nobody.exit_code == 1
    assert f"no pod 'nobody'; there are web-1.{namespace}" in nobody.stderr


async def _to_admin(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    there_reader, there_writer = await asyncio.open_connection(ADDRESS, 18000)

    async def copy(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        while data := await source.read(1 << 16):
            target.write(data)
        target.close()

    await asyncio.gather(copy(reader, there_writer), copy(there_reader, writer))

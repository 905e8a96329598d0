"""`dragoman translate`: resources of a proxy, and what they were made from."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from dragoman.codec import CLUSTER, ENDPOINT, LISTENER, ROUTE, from_json
from tests.cli.cli_runs import run
from tests.debug.running_plane import CLUSTER_OF_WEB, MESH, WEB

POLICIES = """
---
apiVersion: v1
kind: Pod
metadata: {name: web-2, namespace: shop, labels: {app: web, security.istio.io/tlsMode: istio}}
spec: {serviceAccountName: web}
status: {podIP: 10.1.0.3}
---
apiVersion: v1
kind: Service
metadata: {name: other, namespace: shop}
spec: {clusterIP: 10.96.0.7, selector: {app: other}, ports: [{name: http, port: 8080}]}
---
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: strict, namespace: shop}
spec: {mtls: {mode: STRICT}}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "mesh.yaml").write_text(MESH + POLICIES)
    return tmp_path


def translated(folder: Path, *arguments: str) -> dict[str, Any]:
    result = run("translate", "--config", folder, "--proxy", WEB, *arguments)
    assert result.exit_code == 0, result.output
    document: dict[str, Any] = json.loads(result.stdout)
    return document


def test_it_prints_canonical_json_of_every_resource(folder: Path) -> None:
    document = translated(folder)
    assert list(document) == ["listeners", "clusters", "routes", "endpoints", "secrets"]
    for section, type_url in (
        ("listeners", LISTENER),
        ("clusters", CLUSTER),
        ("routes", ROUTE),
        ("endpoints", ENDPOINT),
    ):
        assert document[section]
        for resource in document[section]:
            from_json(type_url, resource)
    assert CLUSTER_OF_WEB in {cluster["name"] for cluster in document["clusters"]}
    assert {"virtualOutbound", "virtualInbound"} <= {listener["name"] for listener in document["listeners"]}
    assert document["secrets"] == ["default", "ROOTCA"]


def test_yaml_says_the_same(folder: Path) -> None:
    result = run("translate", "--config", folder, "--proxy", WEB, "-o", "yaml")
    assert yaml.load(result.stdout, yaml.CSafeLoader) == translated(folder)


def test_provenance_of_resources(folder: Path) -> None:
    made_from = translated(folder, "--provenance")["provenance"]
    cluster = made_from["clusters"][CLUSTER_OF_WEB]
    assert {"DestinationRule shop/web", "Service shop/web"} <= set(cluster["objects"])
    assert "VirtualService shop/web" not in cluster["objects"]
    assert "Pod shop/cart-1" not in cluster["objects"]
    route = made_from["routes"]["8080"]
    assert "VirtualService shop/web" in route["objects"]


def test_provenance_of_virtual_hosts(folder: Path) -> None:
    hosts = translated(folder, "--provenance")["provenance"]["routes"]["8080"]["virtualHosts"]
    assert set(hosts) == {"web.shop.svc.cluster.local:8080", "other.shop.svc.cluster.local:8080"}
    assert {"VirtualService shop/web", "Service shop/web"} <= set(hosts["web.shop.svc.cluster.local:8080"])
    assert "Service shop/other" in hosts["other.shop.svc.cluster.local:8080"]
    assert "VirtualService shop/web" not in hosts["other.shop.svc.cluster.local:8080"]


def test_provenance_of_filter_chains(folder: Path) -> None:
    chains = translated(folder, "--provenance")["provenance"]["listeners"]["virtualInbound"]["filterChains"]
    assert {"0.0.0.0_8080", "virtualInbound-catchall-http", "virtualInbound"} <= set(chains)
    assert "PeerAuthentication shop/strict" in chains["0.0.0.0_8080"]
    assert not any("VirtualService" in origin for origin in chains["0.0.0.0_8080"])


def test_provenance_of_endpoints(folder: Path) -> None:
    endpoints = translated(folder, "--provenance")["provenance"]["endpoints"][CLUSTER_OF_WEB]["endpoints"]
    assert set(endpoints) == {"10.1.0.1:8080", "10.1.0.3:8080"}
    assert {"Pod shop/web-1", "Node n1", "Service shop/web"} <= set(endpoints["10.1.0.1:8080"])
    assert "Pod shop/web-2" not in endpoints["10.1.0.1:8080"]
    assert "Pod shop/web-2" in endpoints["10.1.0.3:8080"]
    assert not {"Pod shop/web-1", "Node n1"} & set(endpoints["10.1.0.3:8080"])


def test_endpoints_of_slices_name_the_slice_that_holds_them(folder: Path) -> None:
    for name, address in (("a", "10.1.0.1"), ("b", "10.9.9.9")):
        (folder / f"{name}.yaml").write_text(
            "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\n"
            f"metadata: {{name: web-{name}, namespace: shop, labels: {{kubernetes.io/service-name: web}}}}\n"
            f"addressType: IPv4\nendpoints: [{{addresses: [{address}]}}]\nports: [{{name: http, port: 8080}}]\n"
        )
    endpoints = translated(folder, "--provenance")["provenance"]["endpoints"][CLUSTER_OF_WEB]["endpoints"]
    assert set(endpoints) == {"10.1.0.1:8080", "10.9.9.9:8080"}
    assert "EndpointSlice shop/web-a" in endpoints["10.1.0.1:8080"]
    assert "EndpointSlice shop/web-b" not in endpoints["10.1.0.1:8080"]
    assert "EndpointSlice shop/web-b" in endpoints["10.9.9.9:8080"]


def test_an_endpoint_of_both_families_names_what_holds_either_address(tmp_path: Path) -> None:
    case = Path(__file__).parents[1] / "golden" / "all" / "dual-stack"
    (tmp_path / "mesh.yaml").write_text((case / "in.yaml").read_text())
    proxy = (case / "proxy").read_text().strip()
    result = run("translate", "--config", tmp_path, "--proxy", proxy, "--provenance")
    found = json.loads(result.stdout)["provenance"]["endpoints"]
    endpoints = found["outbound|80||web.shop.svc.cluster.local"]["endpoints"]
    assert set(endpoints) == {"10.0.0.1:8080", "[fd00::99]:8080"}
    assert {"EndpointSlice shop/web-four", "EndpointSlice shop/web-six"} <= set(endpoints["10.0.0.1:8080"])
    assert "EndpointSlice shop/web-four" not in endpoints["[fd00::99]:8080"]


def test_an_unknown_pod_is_an_error(folder: Path) -> None:
    result = run("translate", "--config", folder, "--proxy", WEB.replace("web-1", "web-9"))
    assert result.exit_code == 1
    assert "no pod shop/web-9" in result.stderr
    assert result.stdout == ""


@pytest.mark.parametrize(
    "proxy", ["web-1.shop", "sidecar~x~web-1.shop~d", "pod~10.1.0.1~web-1.shop~d", "sidecar~10.1.0.1~web-1~d"]
)
def test_a_wrong_id_is_wrong_usage(folder: Path, proxy: str) -> None:
    result = run("translate", "--config", folder, "--proxy", proxy)
    assert result.exit_code == 2
    assert "node id" in result.stderr


def test_errors_in_the_folder_are_told_and_the_rest_is_printed(folder: Path) -> None:
    (folder / "broken.yaml").write_text("kind: [\n")
    result = run("translate", "--config", folder, "--proxy", WEB)
    assert result.exit_code == 1
    assert "broken.yaml:" in result.stderr
    assert json.loads(result.stdout)["clusters"]


def test_keys_of_token_issuers_are_not_fetched_and_that_is_said(folder: Path) -> None:
    (folder / "jwt.yaml").write_text("""
apiVersion: security.istio.io/v1
kind: RequestAuthentication
metadata: {name: login, namespace: shop}
spec: {jwtRules: [{issuer: a, jwksUri: "https://login.example.org/keys"}]}
""")
    result = run("translate", "--config", folder, "--proxy", WEB)
    assert "keys of https://login.example.org/keys are not fetched here" in result.stderr
    assert "dragoman-no-keys-yet" in result.stdout

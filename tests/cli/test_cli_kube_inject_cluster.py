"""`dragoman kube-inject --from-cluster`: with the settings of the control plane that the webhook is of."""

import asyncio
import json

import pytest
import yaml
from cli_runs import run
from typer.testing import CliRunner

from dragoman.cli.main import app
from dragoman.kube import Cluster
from dragoman.kube.resources import CONFIG_MAPS
from tests.support.api_server import ApiServer

pytestmark = pytest.mark.real_api

POD = yaml.safe_dump(
    {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "web"},
        "spec": {"containers": [{"name": "a", "image": "i"}]},
    }
)


async def test_the_settings_of_a_control_plane(api_server: ApiServer, cluster: Cluster, namespace: str) -> None:
    values = json.dumps({"global": {"proxy": {"image": "registry/envoy:v1.40.0"}}})
    for name, data in (
        ("istio-sidecar-injector-canary", {"values": values}),
        ("istio-canary", {"mesh": "trustDomain: a.b"}),
    ):
        body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data}
        await cluster.create(CONFIG_MAPS, body, namespace)
    arguments = [
        "kube-inject",
        "-f",
        "-",
        "--from-cluster",
        "-i",
        namespace,
        "--kubeconfig",
        str(api_server.kubeconfig),
    ]

    def inject(*more: str) -> tuple[int, str, str]:
        result = CliRunner().invoke(app, [*arguments, *more], input=POD)
        return result.exit_code, result.stdout, result.stderr

    code, output, errors = await asyncio.to_thread(inject, "--revision", "canary")
    assert code == 0, errors
    made = yaml.safe_load(output)
    proxy = made["spec"]["initContainers"][1]
    assert proxy["image"] == "registry/envoy:v1.40.0"
    assert json.loads(proxy["args"][1])["node"]["metadata"]["MESH_ID"] == "a.b"
    assert made["metadata"]["annotations"]["istio.io/rev"] == "canary"

    code, output, errors = await asyncio.to_thread(inject)
    assert (code, output) == (1, "")
    assert "istio-sidecar-injector" in errors


def test_files_and_a_cluster_are_not_both_asked(tmp_path) -> None:
    (tmp_path / "mesh.yaml").write_text("")
    assert run("kube-inject", "-f", "-", "--from-cluster", "--mesh-config", tmp_path / "mesh.yaml").exit_code == 2
    assert run("kube-inject", "-f", "-", "--context", "a").exit_code == 2

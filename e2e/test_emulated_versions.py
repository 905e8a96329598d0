"""The oldest supported Kubernetes takes all that an installation is made of, with strict validation of fields."""

import json
import os

import pytest

from dragoman.kube import resources
from dragoman.kube.cluster import Cluster
from e2e.harness.commands import run
from e2e.operator_shop import DRAGOMAN
from tests.support.api_server import LocalApiServer, require_api_server

pytestmark = pytest.mark.real_api


@pytest.mark.parametrize("version", ["1.31"])
async def test_it_can_be_installed(version: str) -> None:
    require_api_server(version)
    # No Pod runs here: what is looked at is that the API server takes the objects as they are.
    with LocalApiServer.running(minor=version, controllers=False) as server:
        environment = {**os.environ, "KUBECONFIG": str(server.kubeconfig)}
        await run(str(DRAGOMAN), "install", "--no-wait", environment=environment)
        async with await Cluster.connect(server.kubeconfig) as cluster:
            told = json.loads(await cluster.request("GET", "/version"))
            assert f"{told['emulationMajor']}.{told['emulationMinor']}" == version
            (deployment,) = await cluster.list(resources.DEPLOYMENTS, "istio-system")
            assert deployment["metadata"]["name"] == "istiod"
            definitions = await cluster.list(resources.CUSTOM_RESOURCE_DEFINITIONS)
    assert len(definitions) == 15

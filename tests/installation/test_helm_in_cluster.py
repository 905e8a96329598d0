"""The charts by Helm and the plain manifests by kubectl, in a real API server; and both at older versions of it."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from documents import rendered

from dragoman.charts import Chart, Release
from dragoman.installation.findings import Level
from dragoman.installation.installer import Installer, InstallError
from dragoman.installation.objects import RESOURCES, Identity, identity
from dragoman.installation.precheck import precheck
from dragoman.kube import Cluster
from dragoman.kube.resources import NAMESPACES
from e2e.apiserver import programs
from e2e.helm.program import HELM
from tests.support.api_server import LocalApiServer, oldest, require_api_server
from tests.support.required_program import required

pytestmark = pytest.mark.real_api

ROOT = Path(__file__).parents[2]
CHARTS, MANIFESTS = ROOT / "deploy" / "charts", ROOT / "deploy" / "manifests"


@pytest.fixture(scope="module", params=["", oldest()], ids=["newest", "oldest"])
def server(request: pytest.FixtureRequest) -> Iterator[LocalApiServer]:
    """An API server of its own, as `helm uninstall` leaves definitions; the oldest that this one can be."""
    require_api_server()
    with LocalApiServer.running(minor=request.param, controllers=False) as running:
        yield running


def ran(*command: str | Path, server: LocalApiServer) -> str:
    done = subprocess.run((*command, "--kubeconfig", server.kubeconfig), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "arning" not in done.stderr, done.stderr
    return done.stdout


async def definitions(cluster: Cluster) -> list[dict[str, Any]]:
    return await cluster.list(RESOURCES["CustomResourceDefinition"])


async def test_helm_installs_upgrades_and_leaves_the_definitions(server: LocalApiServer) -> None:
    helm = required(HELM)
    at = ("--namespace", "by-helm", "--create-namespace")
    shown = {"monitoring": {"dashboards": {"enabled": True}}}
    for chart, name, values in (
        ("base", "dragoman-base", {}),
        ("control-plane", "dragoman", shown),
        ("gateway", "edge", {}),
    ):
        given = [f"--set-json={key}={json.dumps(value)}" for key, value in values.items()]
        said = ran(helm, "install", name, CHARTS / chart, *at, *given, server=server)
        notes = Chart(CHARTS / chart).notes(values, Release(name, "by-helm"))
        assert said.partition("\nNOTES:\n")[2].strip() == notes.strip() != ""
    ran(helm, "upgrade", "dragoman", CHARTS / "control-plane", *at, "--set", "pilot.replicaCount=3", server=server)
    async with await Cluster.connect(server.kubeconfig) as cluster:
        # Whose it is stays so.
        with pytest.raises(InstallError, match=r"Deployment by-helm/istiod is managed by Helm"):
            await Installer(cluster, lambda _: None, wait_seconds=None).install(rendered("by-helm"))
        for release in ("edge", "dragoman", "dragoman-base"):
            ran(helm, "uninstall", release, "--namespace", "by-helm", server=server)
        assert len(await definitions(cluster)) == 15
        left = {
            str(identity(each))
            for resource in RESOURCES.values()
            if resource.group != "monitoring.coreos.com" and resource.kind != "CustomResourceDefinition"
            for each in await cluster.list(resource, "by-helm" if resource.namespaced else None)
            if "by-helm" in str(identity(each))
        }
        assert left == {str(Identity("Namespace", "", "by-helm"))}


async def test_plain_manifests_are_applied_in_their_order(server: LocalApiServer) -> None:
    kubectl = programs.find("kubectl")
    if kubectl is None:
        pytest.skip("no kubectl: build it with `make apiserver`")
    for name in ("base", "control-plane"):
        file = MANIFESTS / f"{name}.yaml"
        ran(kubectl, "apply", "--server-side", "--force-conflicts", "--validate=strict", "-f", file, server=server)
    found = json.loads(ran(kubectl, "get", "deployment", "istiod", "-n", "istio-system", "-o", "json", server=server))
    assert found["metadata"]["labels"]["istio.io/rev"] == "default"
    ran(kubectl, "apply", "--server-side", "--validate=strict", "-f", MANIFESTS / "gateway.yaml", server=server)


async def test_older_api_servers_take_every_field(server: LocalApiServer) -> None:
    async with await Cluster.connect(server.kubeconfig) as cluster:
        await cluster.apply(NAMESPACES, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "older"}})
        bundle = rendered(
            "older",
            gateways={"edge": {}},
            cni={"enabled": True},
            revisionTags=["prod"],
            validationPolicies={"stableChannel": True},
        )
        for document in bundle.documents:
            await cluster.apply(identity(document).resource, document, dry_run=True)
        errors = [each for each in await precheck(cluster, bundle) if each.level is Level.ERROR]
        assert [each.message for each in errors if each.check != "webhooks"] == []

"""The control plane with no more than the rights it is installed with: all of it works, and all of it goes again."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from documents import one, rendered

from dragoman.installation.installer import Installer
from dragoman.installation.inventory import all_stored
from dragoman.installation.objects import RESOURCES
from dragoman.installation.removal import uninstall
from dragoman.kube import ApiError, ApiResource, Cluster
from dragoman.kube.resources import CLUSTER_TRUST_BUNDLES, CONFIG_MAPS, INGRESSES, LEASES, PODS, SECRETS
from tests.support.api_server import LocalApiServer, require_api_server

pytestmark = pytest.mark.real_api

NAMESPACE = "istio-system"
POLICY = f"""
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
  - level: Metadata
    users: ["system:serviceaccount:{NAMESPACE}:istiod"]
  - level: None
"""
VIRTUAL_SERVICES = ApiResource("networking.istio.io", "v1", "virtualservices", "VirtualService")
GATEWAYS = ApiResource("networking.istio.io", "v1", "gateways", "Gateway")


def virtual_service(name: str) -> tuple[ApiResource, dict[str, Any]]:
    route = {"route": [{"destination": {"host": "web"}}]}
    document = {"apiVersion": "networking.istio.io/v1", "kind": "VirtualService", "metadata": {"name": name}}
    return VIRTUAL_SERVICES, document | {"spec": {"hosts": ["web.default.svc.cluster.local"], "http": [route]}}


OBJECTS = (
    virtual_service("web"),
    # One that loses against it, and a gateway with a Secret that is to be read.
    virtual_service("web-again"),
    (
        PODS,
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": "edge", "labels": {"istio": "edge"}},
            "spec": {"containers": [{"name": "istio-proxy", "image": "envoy"}]},
        },
    ),
    (
        GATEWAYS,
        {
            "apiVersion": "networking.istio.io/v1",
            "kind": "Gateway",
            "metadata": {"name": "edge"},
            "spec": {
                "selector": {"istio": "edge"},
                "servers": [
                    {
                        "port": {"number": 443, "name": "https", "protocol": "HTTPS"},
                        "hosts": ["example.com"],
                        "tls": {"mode": "SIMPLE", "credentialName": "edge"},
                    }
                ],
            },
        },
    ),
    (
        INGRESSES,
        {
            "apiVersion": "networking.k8s.io/v1",
            "kind": "Ingress",
            "metadata": {"name": "web", "annotations": {"kubernetes.io/ingress.class": "istio"}},
            "spec": {"defaultBackend": {"service": {"name": "web", "port": {"number": 80}}}},
        },
    ),
)
AUDIENCE = "https://kubernetes.default.svc.cluster.local"


@pytest.fixture(scope="module")
def audited(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[LocalApiServer, Path]]:
    """An API server that writes down what the control plane asks for."""
    require_api_server()
    folder = tmp_path_factory.mktemp("audit")
    (folder / "policy.yaml").write_text(POLICY)
    arguments = (
        f"--audit-policy-file={folder / 'policy.yaml'}",
        f"--audit-log-path={folder / 'audit.log'}",
        # Trust bundles are served where somebody wants them.
        "--runtime-config=certificates.k8s.io/v1beta1/clustertrustbundles=true",
        "--feature-gates=ClusterTrustBundle=true",
        "--audit-log-mode=blocking",
    )
    with LocalApiServer.running(arguments=arguments) as server:
        yield server, folder / "audit.log"


@contextlib.asynccontextmanager
async def ready_pods(cluster: Cluster) -> AsyncIterator[None]:
    """A kubelet as far as an installation asks for it."""

    async def run() -> None:
        status = {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}
        while True:
            for pod in await cluster.list(PODS, NAMESPACE, field_selector="status.phase=Pending"):
                with contextlib.suppress(ApiError):
                    name = pod["metadata"]["name"]
                    await cluster.patch(PODS, name, {"status": status}, NAMESPACE, subresource="status")
            await asyncio.sleep(0.05)

    running = asyncio.create_task(run())
    try:
        yield
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


@contextlib.asynccontextmanager
async def control_plane(
    cluster: Cluster, server: LocalApiServer, deployment: dict[str, Any], folder: Path
) -> AsyncIterator[None]:
    """`dragoman` with the Deployment's arguments and its service account's token, listening on loopback."""
    tokens = ApiResource("", "v1", "serviceaccounts/istiod/token", "TokenRequest")
    asked = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"audiences": [AUDIENCE]}}
    token = (await cluster.create(tokens, asked, NAMESPACE))["status"]["token"]
    config = yaml.safe_load(server.kubeconfig.read_text())
    config["users"][0]["user"] = {"token": token}
    (folder / "kubeconfig").write_text(json.dumps(config))
    places = {
        "$(POD_NAMESPACE)": NAMESPACE,
        "0.0.0.0:15012": "127.0.0.1:0",
        "0.0.0.0:15014": "127.0.0.1:0",
        "0.0.0.0:15017": "127.0.0.1:0",
        "/var/lib/dragoman": str(folder / "state"),
    }
    arguments = []
    for argument in deployment["spec"]["template"]["spec"]["containers"][0]["args"]:
        for there, here in places.items():
            argument = argument.replace(there, here)
        arguments.append(argument)
    with (folder / "output").open("wb") as output:
        process = await asyncio.create_subprocess_exec(
            Path(sys.executable).with_name("dragoman"),
            *arguments,
            f"--kubeconfig={folder / 'kubeconfig'}",
            stdout=output,
            stderr=output,
            env=os.environ | {"POD_NAME": "istiod-0"},
        )
        try:
            yield
            assert process.returncode is None, (folder / "output").read_text()
        finally:
            if process.returncode is None:
                process.terminate()
            await asyncio.wait_for(process.wait(), 120)


async def until_there(
    cluster: Cluster, resource: ApiResource, name: str, namespace: str, *, having: str = "metadata"
) -> None:
    async with asyncio.timeout(120):
        while True:
            try:
                if having in await cluster.get(resource, name, namespace):
                    return
            except ApiError as error:
                if not error.not_found:
                    raise
            await asyncio.sleep(0.1)


def events(log: Path) -> list[dict[str, Any]]:
    """What the control plane asked for; the last line may be half written."""
    return [json.loads(line) for line in log.read_text().splitlines(keepends=True) if line.endswith("\n")]


async def until_asked(log: Path, verb: str, resource: str, namespace: str) -> None:
    """Until the control plane has asked for it, whatever the answer."""
    async with asyncio.timeout(120):
        while True:
            asked = (each["objectRef"] for each in events(log) if each["verb"] == verb and "objectRef" in each)
            if any((each.get("resource"), each.get("namespace")) == (resource, namespace) for each in asked):
                return
            await asyncio.sleep(0.1)


async def everything(cluster: Cluster) -> set[tuple[str, str, str]]:
    """What there is, but the definitions and what the cluster's own controllers make."""
    return {
        (resource.kind, each["metadata"].get("namespace", ""), each["metadata"]["name"])
        for resource in (*RESOURCES.values(), CLUSTER_TRUST_BUNDLES, SECRETS, LEASES, PODS)
        if resource.group != "monitoring.coreos.com" and resource.kind != "CustomResourceDefinition"
        for each in await cluster.list(resource)
        # The cluster's own controllers make things while they start.
        if not each["metadata"].get("namespace", "").startswith(("kube-", NAMESPACE))
        and each["metadata"]["name"] not in ("default", "kube-root-ca.crt")
    }


async def test_the_rights_are_enough_and_everything_goes_again(
    audited: tuple[LocalApiServer, Path], tmp_path: Path
) -> None:
    server, log = audited
    told: list[str] = []
    async with await Cluster.connect(server.kubeconfig) as cluster, ready_pods(cluster):
        # What the API server makes itself, in this order, once it answers.
        for kind, name, namespace in (("Namespace", "kube-node-lease", ""), ("Service", "kubernetes", "default")):
            await until_there(cluster, RESOURCES[kind], name, namespace)
        before = await everything(cluster)
        bundle = rendered(NAMESPACE, base={}, pilot={"autoscaleEnabled": False, "replicaCount": 1})
        await Installer(cluster, told.append, wait_seconds=None).install(bundle)
        async with control_plane(cluster, server, one(bundle, "Deployment"), tmp_path):
            # Ready is only what the control plane has given its root.
            await Installer(cluster, told.append, wait_seconds=150).install(bundle)
            for namespace in (NAMESPACE, "default"):
                await until_there(cluster, CONFIG_MAPS, "istio-ca-root-cert", namespace)
            await until_there(cluster, SECRETS, "istio-ca-secret", NAMESPACE)
            for resource, document in OBJECTS:
                await cluster.create(resource, document, "default")
            await until_there(cluster, VIRTUAL_SERVICES, "web", "default", having="status")
            await until_asked(log, "watch", "secrets", "default")
        refused = [each for each in events(log) if each.get("responseStatus", {}).get("code") in (401, 403)]
        assert refused == [], (tmp_path / "output").read_text()
        (inventory,) = await all_stored(cluster)
        await uninstall(cluster, [inventory], [], told.append, wait_seconds=120)
        assert f"  deleted Secret {NAMESPACE}/istio-ca-secret" in told
        assert f"  deleted Namespace {NAMESPACE}" in told
        # What was written for it stays, as do the definitions.
        for resource, document in OBJECTS:
            await cluster.delete(resource, document["metadata"]["name"], "default")
        assert await everything(cluster) == before
        assert len(await cluster.list(RESOURCES["CustomResourceDefinition"])) == 15

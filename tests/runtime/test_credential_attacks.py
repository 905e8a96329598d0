"""Secrets of gateways reach proxies whose verified identity may read them, and nobody else."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest

from ca.identity import SpiffeId
from dragoman.codec import SECRET
from tests.runtime.secure_plane import MESH, SecurePlane, secure_plane
from tests.runtime.test_runtime_control_plane import LOCAL, REMOTE, Running
from tests.support.until import until
from tests.translators.gateway_certificates import Authority
from xds import Node

PAIR = Authority().issue("site.example")
DENIED = grpc.StatusCode.PERMISSION_DENIED
SITE = "kubernetes://site"


def gateway_pod(namespace: str, address: str) -> str:
    return f"""
apiVersion: v1
kind: Pod
metadata: {{name: gw-1, namespace: {namespace}, labels: {{istio: gateway}}}}
spec: {{serviceAccountName: gw}}
status: {{podIP: {address}}}
---"""


def secret(namespace: str, name: str = "site") -> str:
    data = {"tls.crt": PAIR.certificate, "tls.key": PAIR.key, "ca.crt": PAIR.certificate}
    listed = ", ".join(f"{key}: {b64encode(value).decode()}" for key, value in data.items())
    return f"""
apiVersion: v1
kind: Secret
metadata: {{name: {name}, namespace: {namespace}}}
data: {{{listed}}}
---"""


GATEWAYS = (
    gateway_pod("edge", "10.1.1.1")
    + gateway_pod("evil", "10.1.1.2")
    + secret("edge")
    + secret("edge", "unnamed")
    + secret("shop")
    + """
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: site, namespace: edge}
spec:
  selector: {istio: gateway}
  servers:
  - {port: {number: 8443, name: https, protocol: HTTPS}, hosts: [a.example], tls: {mode: SIMPLE, credentialName: site}}
---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: site, namespace: evil}
spec:
  selector: {istio: gateway}
  servers:
  - port: {number: 8443, name: b, protocol: HTTPS}
    hosts: [b.example]
    tls: {mode: SIMPLE, credentialName: "kubernetes://edge/site"}
  - port: {number: 8443, name: c, protocol: HTTPS}
    hosts: [c.example]
    tls: {mode: SIMPLE, credentialName: "kubernetes-gateway://edge/site"}
---
"""
)


def router(namespace: str, address: str) -> str:
    return f"router~{address}~gw-1.{namespace}~{namespace}.svc.cluster.local"


EDGE, EVIL = router("edge", "10.1.1.1"), router("evil", "10.1.1.2")


@pytest.fixture
async def mesh(tmp_path: Path) -> AsyncIterator[SecurePlane]:
    async with secure_plane(tmp_path, MESH + GATEWAYS) as running:
        yield running


def token(mesh: SecurePlane, namespace: str) -> str:
    return mesh.token("gw-1", "gw", namespace)


async def given(mesh: SecurePlane, proof: str, node: str, *names: str) -> dict[str, bytes]:
    """What a caller gets of these secrets, and its own certificate as a sign that the answer is there."""
    async with mesh.stream(proof, node, names=("default", *names)) as stream:
        found: dict[str, bytes] = {}
        gone: set[str] = set()
        while not {"default", *names} <= found.keys() | gone:
            response = await stream.response()
            found |= {each.name: each.resource.value for each in response.resources}
            gone |= set(response.removed_resources)
            await stream.accept(response)
        return found


async def test_the_gateway_of_the_namespace_gets_what_is_named_for_it_and_no_more(mesh: SecurePlane) -> None:
    found = await given(mesh, token(mesh, "edge"), EDGE, SITE, "kubernetes://unnamed", "kubernetes://shop/site")
    assert found.keys() == {"default", SITE}
    assert PAIR.key in found[SITE]


@pytest.mark.parametrize("name", [SITE, "kubernetes://edge/site", "kubernetes-gateway://edge/site", f"{SITE}-cacert"])
async def test_a_gateway_of_another_namespace_gets_it_under_no_name(mesh: SecurePlane, name: str) -> None:
    found = await given(mesh, token(mesh, "evil"), EVIL, name)
    assert found.keys() == {"default"}
    assert not any(PAIR.key in value for value in found.values())


@pytest.mark.parametrize("name", [SITE, "kubernetes://edge/site"])
async def test_a_sidecar_gets_no_secret_that_no_rule_gives_it(mesh: SecurePlane, name: str) -> None:
    """Although its namespace has one of the name."""
    sidecar = "sidecar~10.1.0.1~web-1.shop~shop.svc.cluster.local"
    assert (await given(mesh, mesh.token(), sidecar, name)).keys() == {"default"}
    assert (await given(mesh, mesh.token(), sidecar.replace("sidecar", "router"), name)).keys() == {"default"}


@pytest.mark.parametrize("metadata", [{}, {"NAMESPACE": "edge"}, {"NAMESPACE": "edge", "SERVICE_ACCOUNT": "gw"}])
async def test_a_node_that_claims_to_be_the_gateway_is_refused(mesh: SecurePlane, metadata: dict[str, str]) -> None:
    for credentials in (None, mesh.credentials(SpiffeId("cluster.local", "evil", "gw"))):
        proof = token(mesh, "evil") if credentials is None else None
        async with mesh.stream(proof, EDGE, credentials=credentials, metadata=metadata, names=(SITE,)) as stream:
            code, _ = await stream.end()
        assert code is DENIED


async def test_metadata_does_not_move_a_gateway_to_another_namespace(mesh: SecurePlane) -> None:
    async with mesh.stream(token(mesh, "evil"), EVIL, metadata={"NAMESPACE": "edge"}, names=(SITE,)) as stream:
        assert (await stream.end())[0] is DENIED


async def test_an_account_of_the_namespace_that_is_not_the_pods_is_refused(mesh: SecurePlane) -> None:
    """Its namespace alone does not make a workload the gateway."""
    other = mesh.credentials(SpiffeId("cluster.local", "edge", "other"))
    async with mesh.stream(node=EDGE, credentials=other, names=(SITE,)) as stream:
        assert (await stream.end())[0] is DENIED


async def test_plaintext_from_elsewhere_gets_no_secret() -> None:
    async with Running((MESH + GATEWAYS).rstrip("-\n")) as running:
        remote = await running.plane.connect(Node(EDGE), REMOTE)
        assert not any(view.secret for view in remote.views)
        local = await running.plane.connect(Node(EDGE), LOCAL)
        assert any(SITE in view.table(SECRET) for view in local.views)


async def test_a_pod_that_changes_its_account_loses_the_stream_and_the_secret(mesh: SecurePlane) -> None:
    async with mesh.stream(token(mesh, "edge"), EDGE, names=(SITE,)) as stream:
        await stream.response()
        file = mesh.folder / "mesh.yaml"
        file.write_text(file.read_text().replace("serviceAccountName: gw", "serviceAccountName: other"))
        assert (await stream.end())[0] is DENIED
    await until(lambda: not list(mesh.plane.credentials.served()))

"""Certificates by CertificateSigningRequest from a signer behind a real API server."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from ca.identity import SpiffeId
from ca.signer import SignerError, verified
from ca.signing_request import signing_request
from dragoman.kube import ApiError, Cluster
from dragoman.kube.resource import ApiResource
from dragoman.kube.resources import CERTIFICATE_SIGNING_REQUESTS as REQUESTS
from dragoman.operator.certificate_requests import CertificateSigningRequests
from tests.operator.request_signer import RequestSigner, a_signer
from tests.support.api_server import ApiServer
from tests.support.until import until

pytestmark = pytest.mark.real_api

WEB = SpiffeId("cluster.local", "shop", "web")
KEY = ec.generate_private_key(ec.SECP256R1())
CSR = signing_request(KEY, (WEB,))
HOUR = timedelta(hours=1)
ROLES = ApiResource("rbac.authorization.k8s.io", "v1", "clusterroles", "ClusterRole", namespaced=False)
BINDINGS = ApiResource("rbac.authorization.k8s.io", "v1", "clusterrolebindings", "ClusterRoleBinding", namespaced=False)


@pytest.fixture
async def signer(cluster: Cluster) -> AsyncIterator[RequestSigner]:
    async with a_signer(cluster) as running:
        yield running


async def refusal(requests: CertificateSigningRequests) -> str:
    with pytest.raises(SignerError) as error:
        await requests.sign(CSR, lifetime=HOUR)
    return str(error.value)


async def lost_patience(cluster: Cluster, signer: RequestSigner) -> tuple[float, str]:
    """Which patience is lost, and how: more where it does not last until the API server has taken the request."""
    for patience in (1.0, 5.0, 25.0):
        said = await refusal(CertificateSigningRequests(cluster, signer.name, "r", patience=patience))
        if "we wait for its answer" not in said:
            break
    return patience, said


async def test_a_signer_is_asked_as_kubernetes_has_it_and_its_chain_is_good(
    cluster: Cluster, signer: RequestSigner
) -> None:
    answer = await CertificateSigningRequests(cluster, signer.name, "replica-1").sign(CSR, lifetime=HOUR)
    roots = signer.root.roots
    leaf, intermediate = verified(
        answer, key=KEY.public_key(), spiffe_ids=(WEB,), roots=roots, now=datetime.now(UTC), lifetime=HOUR
    )
    assert intermediate == signer.authority.certificate
    assert abs(leaf.not_valid_after_utc - datetime.now(UTC) - HOUR) < timedelta(minutes=1)
    (request,) = signer.seen
    assert request["spec"]["usages"] == ["digital signature", "key encipherment", "server auth", "client auth"]
    assert request["spec"]["expirationSeconds"] == 3600
    assert request["metadata"]["annotations"] == {"dragoman.io/requested-by": "replica-1"}
    assert not await signer.left(), "an answered request is deleted"


@pytest.mark.parametrize(("refuses", "word"), [("Failed", "failed"), ("Denied", "was denied")])
async def test_a_refusal_is_told_in_the_signers_words(
    cluster: Cluster, signer: RequestSigner, refuses: str, word: str
) -> None:
    signer.refuses = refuses
    if refuses == "Denied":
        cluster = Late(cluster._client)
    said = await refusal(CertificateSigningRequests(cluster, signer.name, "r"))
    assert said == f"the request to signer {signer.name} {word}: Policy: not on a Sunday"
    assert not await signer.left()


class Late(Cluster):
    """Approves only after somebody else has decided."""

    async def replace(
        self, resource: ApiResource, body: Mapping[str, Any], *, subresource: str | None = None
    ) -> dict[str, Any]:
        while not (await self.get(REQUESTS, body["metadata"]["name"]))["status"]:  # noqa: ASYNC110
            await asyncio.sleep(0.02)
        return await super().replace(resource, body, subresource=subresource)


async def test_a_signer_that_is_silent_is_waited_for_so_long_and_no_request_stays(
    cluster: Cluster, signer: RequestSigner
) -> None:
    signer.answering.clear()
    patience, said = await lost_patience(cluster, signer)
    assert said == f"signer {signer.name} has not answered in {patience:g} s: we wait for a certificate"
    await until(lambda: len(signer.seen) == 1)
    assert not await signer.left()


async def test_a_request_that_somebody_deletes_is_not_waited_for(cluster: Cluster, signer: RequestSigner) -> None:
    signer.answering.clear()
    asked = asyncio.create_task(refusal(CertificateSigningRequests(cluster, signer.name, "r")))
    async with asyncio.timeout(60):
        while not signer.seen:  # noqa: ASYNC110 - the signer is a part of the test
            await asyncio.sleep(0.01)
        await cluster.delete(REQUESTS, signer.seen[0]["metadata"]["name"])
        assert "deleted by another" in await asked


async def test_without_the_right_to_approve_another_is_waited_for(
    cluster: Cluster, signer: RequestSigner, api_server: ApiServer
) -> None:
    name = signer.name.partition(".")[0]
    kubeconfig = api_server.user(name)
    rule = {
        "apiGroups": ["certificates.k8s.io"],
        "resources": ["certificatesigningrequests"],
        "verbs": ["create", "get", "list", "watch", "delete"],
    }
    metadata = {"name": name}
    await cluster.create(
        ROLES, {"apiVersion": ROLES.api_version, "kind": ROLES.kind, "metadata": metadata, "rules": [rule]}
    )
    binding = {
        "apiVersion": BINDINGS.api_version,
        "kind": BINDINGS.kind,
        "metadata": metadata,
        "roleRef": {"apiGroup": ROLES.group, "kind": "ClusterRole", "name": name},
        "subjects": [{"apiGroup": ROLES.group, "kind": "User", "name": name}],
    }
    await cluster.create(BINDINGS, binding)
    try:
        async with await Cluster.connect(kubeconfig) as humble:
            await until_allowed(humble)
            _, said = await lost_patience(humble, signer)
            assert "we wait for approval, which we may not give" in said
            assert "certificatesigningrequests/approval" in said or "approve" in said
            asked = asyncio.create_task(CertificateSigningRequests(humble, signer.name, "r").sign(CSR, lifetime=HOUR))
            async with asyncio.timeout(60):
                while not (left := await signer.left()):  # noqa: ASYNC110
                    await asyncio.sleep(0.02)
                approved = {"type": "Approved", "status": "True", "reason": "Human", "message": "fine"}
                await cluster.replace(
                    REQUESTS, {**left[0], "status": {"conditions": [approved]}}, subresource="approval"
                )
                assert (await asked).startswith(b"-----BEGIN CERTIFICATE")
    finally:
        await cluster.delete(BINDINGS, name)
        await cluster.delete(ROLES, name)


async def until_allowed(cluster: Cluster) -> None:
    async with asyncio.timeout(60):
        while True:
            try:
                await cluster.list(REQUESTS)
            except ApiError:
                await asyncio.sleep(0.05)
            else:
                return


async def test_a_life_that_kubernetes_cannot_be_asked_for_is_refused(cluster: Cluster) -> None:
    with pytest.raises(SignerError, match="shorter than"):
        await CertificateSigningRequests(cluster, "example.com/any", "r").sign(CSR, lifetime=timedelta(minutes=5))

"""Workloads get certificates that another signs: waited for without holding up others, renewed, and asked for again."""

from __future__ import annotations

import asyncio
import json
import random
import subprocess
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from structlog.testing import capture_logs

from ca.authority import new_root, pem
from ca.identity import SpiffeId, WorkloadIdentity
from ca.signer import SignerError
from ca.workload_certificates import WorkloadCertificates
from dragoman.codec import SECRET, decode, encode
from dragoman.codec.messages import IstioCertificateRequest, IstioCertificateResponse
from dragoman.runtime import identities as module
from dragoman.runtime.external_signing import ExternalSigning
from dragoman.runtime.identities import Identities
from tests.operator.request_signer import an_intermediate, certificate_for
from tests.runtime.secure_plane import MESH, SERVER_NAME, SecurePlane, node_id, pod, secure_plane
from tests.support.until import until
from xds import Node, Peer, View
from xds.starts import Starts

WEB = WorkloadIdentity(SpiffeId("cluster.local", "shop", "web"), "web")
METHOD = "/istio.v1.auth.IstioCertificateService/CreateCertificate"


class Signer:
    """In this process; `open` lets it answer, `fails` has it refuse."""

    def __init__(self) -> None:
        self.root = new_root("theirs", now=datetime.now(UTC))
        self.authority = an_intermediate(self.root)
        self.life: timedelta | None = None
        self.open = asyncio.Event()
        self.open.set()
        self.fails = False
        self.asked: list[datetime] = []

    async def sign(self, csr_pem: bytes, *, lifetime: timedelta) -> bytes:
        self.asked.append(datetime.now(UTC))
        await self.open.wait()
        if self.fails:
            raise SignerError("out of order")
        leaf = certificate_for(self.authority, csr_pem, self.life or lifetime)
        return pem([leaf, *self.authority.intermediates])

    async def asked_times(self, count: int) -> None:
        """Wait until it was asked for so many certificates in all."""
        await until(lambda: len(self.asked) >= count)


@pytest.fixture
def signer() -> Signer:
    return Signer()


@pytest.fixture
def identities(signer: Signer) -> Identities:
    own = new_root("cluster.local", now=datetime.now(UTC))
    rng = random.Random(0)  # noqa: S311 - jitter
    certificates = WorkloadCertificates(own, lambda: datetime.now(UTC), rng, signed_elsewhere=True)
    return Identities(certificates, signing=ExternalSigning("example.com/mesh", signer, signer.root.roots))


def chain(view: View) -> list[x509.Certificate]:
    secret = decode(SECRET, view.get((SECRET, "default")).payload)
    return x509.load_pem_x509_certificates(secret.tls_certificate.certificate_chain.inline_bytes)


async def test_who_wait_for_one_workload_ask_once_and_share_a_certificate(
    identities: Identities, signer: Signer
) -> None:
    signer.open.clear()

    async def come(holder: object) -> View:
        async with identities.reserved(WEB):
            return identities.acquire(WEB, holder)

    holders = [object(), object(), object()]
    waiting = [asyncio.create_task(come(holder)) for holder in holders]
    await signer.asked_times(1)
    waiting.pop().cancel()
    signer.open.set()
    first, second = await asyncio.gather(*waiting)
    assert first is second
    assert len(signer.asked) == 1
    assert chain(first)[1] == signer.authority.certificate
    assert signer.root.certificate in identities.roots
    identities.release(WEB, holders[0])
    assert identities.held(WEB)
    identities.release(WEB, holders[1])
    assert not identities.held(WEB), "nothing of a reservation stays"


async def test_nothing_is_signed_here_in_its_place(identities: Identities, signer: Signer) -> None:
    signer.fails = True
    with pytest.raises(SignerError, match="out of order"):
        async with identities.reserved(WEB):
            raise AssertionError
    with pytest.raises(ValueError, match="has been signed yet"):
        identities.acquire(WEB, "holder")
    assert not identities.held(WEB)


async def test_who_waits_too_long_for_its_turn_is_told_so(
    signer: Signer, identities: Identities, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dragoman.runtime.external_signing._BEGINS_WITHIN", 0.05)
    signer.open.clear()
    assert identities.signing is not None
    first = [
        asyncio.create_task(identities.signing.workload(WorkloadIdentity(WEB.spiffe_id, f"web-{number}")))
        for number in range(16)
    ]
    await until(lambda: len(signer.asked) == 16)
    with pytest.raises(SignerError, match=r"signer example\.com/mesh is behind"):
        await identities.signing.workload(WEB)
    assert len(signer.asked) == 16
    signer.open.set()
    await asyncio.gather(*first)
    assert await identities.signing.workload(WEB)


async def test_an_outage_leaves_what_there_is_and_the_signer_is_asked_again_and_less_often(
    identities: Identities, signer: Signer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_PATIENCE", timedelta(milliseconds=40))
    signer.life = timedelta(seconds=2)
    async with identities.reserved(WEB):
        view = identities.acquire(WEB, "holder")
    first = chain(view)
    signer.fails = True
    postponed: list[datetime] = []
    postpone = identities.certificates.postpone

    def noted(identity: WorkloadIdentity, until: datetime) -> None:
        postponed.append(until)
        postpone(identity, until)

    monkeypatch.setattr(identities.certificates, "postpone", noted)
    with capture_logs() as logs:
        renewing = asyncio.create_task(identities.renew())
        try:
            await signer.asked_times(5)
            assert chain(view) == first
            # Each pause is twice the one before; a busy machine only adds to them.
            assert postponed[-1] - postponed[0] >= timedelta(milliseconds=80 + 160 + 320)
            signer.fails, signer.life = False, None
            await until(lambda: chain(view) != first)
        finally:
            renewing.cancel()
            await asyncio.gather(renewing, return_exceptions=True)
    failed = [entry for entry in logs if entry["event"] == "certificate not renewed"]
    assert len(failed) >= 4
    assert failed[0]["identity"] == str(WEB)
    assert failed[0]["error"] == "out of order"
    assert identities.certificates.next_deadline() > datetime.now(UTC) + timedelta(hours=11), "half of a day"


@pytest.fixture
async def mesh(tmp_path: Path, signer: Signer) -> AsyncIterator[SecurePlane]:
    signing = ExternalSigning("example.com/mesh", signer, signer.root.roots)
    async with secure_plane(tmp_path, MESH, signing=signing) as running:
        yield running


def certificate_in(response: Any) -> list[x509.Certificate]:
    (resource,) = response.resources
    return x509.load_pem_x509_certificates(
        decode(SECRET, resource.resource.value).tls_certificate.certificate_chain.inline_bytes
    )


async def test_a_proxy_that_waits_holds_up_nobody(mesh: SecurePlane, signer: Signer) -> None:
    mesh.plane.server._starts = Starts(limit=1, seconds=60)
    async with mesh.stream(mesh.token(uid="u-1")) as web:
        assert certificate_in(await web.response())[1] == signer.authority.certificate
        signer.open.clear()
        cart = mesh.stream(mesh.token("cart-1", "cart"), node_id("cart-1", "10.1.0.2"))
        async with cart as waiting:
            first = asyncio.create_task(waiting.response())
            await signer.asked_times(2)
            # Changes go on, and so do streams of who has a certificate.
            (mesh.folder / "more.yaml").write_text(pod("more", "web", "10.1.0.3"))
            await until(lambda: len(mesh.plane.world.objects) == 3)
            async with mesh.stream(mesh.token(uid="u-1")) as again:
                assert certificate_in(await again.response())
            assert not first.done()
            signer.open.set()
            leaf = certificate_in(await first)[0]
            names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
            assert [name.value for name in names] == ["spiffe://cluster.local/ns/shop/sa/cart"]


async def test_a_proxy_that_gets_none_is_told_why_and_it_is_counted(mesh: SecurePlane, signer: Signer) -> None:
    signer.fails = True
    async with mesh.stream(mesh.token(uid="u-1")) as web:
        code, words = await web.end()
    assert code is grpc.StatusCode.UNAVAILABLE
    assert words == "no certificate for this proxy: out of order"
    assert mesh.counted("citadel_server_csr_sign_err_count") == 1
    await until(lambda: not len(mesh.plane.sessions))


async def test_a_proxy_that_goes_while_it_waits_leaves_nothing(mesh: SecurePlane, signer: Signer) -> None:
    signer.open.clear()
    async with mesh.stream(mesh.token(uid="u-1")):
        await signer.asked_times(1)
        assert len(mesh.plane.sessions) == 1
    await until(lambda: not len(mesh.plane.sessions))
    signer.open.set()
    async with mesh.stream(mesh.token(uid="u-1")) as again:
        assert certificate_in(await again.response())
    await until(lambda: not len(mesh.plane.sessions))
    assert mesh.plane.identities.identities() == ()


async def test_a_stranger_has_no_certificate_asked_for(mesh: SecurePlane, signer: Signer) -> None:
    async with mesh.stream(mesh.token("cart-1", "cart"), node_id()) as forged:
        code, _ = await forged.end()
    assert code is grpc.StatusCode.PERMISSION_DENIED
    assert signer.asked == []


async def test_a_pod_that_becomes_somebody_else_keeps_its_certificate_until_the_next_is_signed(
    mesh: SecurePlane, signer: Signer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dragoman.runtime.settling._AGAIN", 0.05)
    session = await mesh.plane.connect(Node(node_id()), Peer("unix:", True, {}))
    assert session.identity is not None
    assert session.identity.spiffe_id == WEB.spiffe_id
    signer.fails = True
    (mesh.folder / "mesh.yaml").write_text(pod("web-1", "cart", "10.1.0.1"))
    await signer.asked_times(3)
    assert session.identity.spiffe_id == WEB.spiffe_id
    signer.fails = False
    await until(lambda: session.identity is not None and session.identity.spiffe_id.service_account == "cart")
    assert len(mesh.plane.identities.identities()) == 1
    session.close()
    assert not mesh.plane.identities.identities()


async def test_labels_that_change_ask_nothing_of_the_signer(mesh: SecurePlane, signer: Signer) -> None:
    session = await mesh.plane.connect(Node(node_id()), Peer("unix:", True, {}))
    signer.fails = True
    before = session.keys
    labelled = pod("web-1", "web", "10.1.0.1").replace("app: web", "app: web, version: v2")
    selected = """
apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: {name: second, namespace: shop}
spec: {workloadSelector: {labels: {version: v2}}, egress: [{hosts: [./*]}]}
---"""
    (mesh.folder / "mesh.yaml").write_text(labelled + selected)
    await until(lambda: session.keys != before)
    assert len(signer.asked) == 1
    session.close()


async def test_roots_of_the_signer_may_be_in_the_settings(tmp_path: Path, signer: Signer) -> None:
    roots = signer.root.roots_pem.decode()
    entries = [
        {"pem": roots, "certSigners": ["example.com/other", "example.com/mesh"]},
        {"pem": new_root("other", now=datetime.now(UTC)).roots_pem.decode(), "certSigners": ["example.com/other"]},
    ]
    settings = f"""
apiVersion: v1
kind: ConfigMap
metadata: {{name: istio, namespace: istio-system}}
data:
  mesh: |
    caCertificates: {json.dumps(entries)}
---"""
    signing = ExternalSigning("example.com/mesh", signer)
    async with secure_plane(tmp_path, MESH + settings, signing=signing) as mesh:
        assert mesh.plane.identities.roots == (mesh.root.certificate, signer.root.certificate)
        async with mesh.stream(mesh.token(uid="u-1")) as web:
            assert certificate_in(await web.response())[1] == signer.authority.certificate


def csr_of(key: ec.EllipticCurvePrivateKey, *names: str) -> str:
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    listed = [x509.UniformResourceIdentifier(name) for name in names]
    builder = builder.add_extension(x509.SubjectAlternativeName(listed), critical=True)
    return builder.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM).decode()


async def create(mesh: SecurePlane, csr: str) -> list[str]:
    options = [("grpc.use_local_subchannel_pool", 1), ("grpc.ssl_target_name_override", SERVER_NAME)]
    async with grpc.aio.secure_channel(f"127.0.0.1:{mesh.port}", mesh.credentials(), options=options) as channel:
        metadata = (("authorization", f"Bearer {mesh.token(uid='u-1')}"),)
        data = await channel.unary_unary(METHOD)(
            encode(IstioCertificateRequest(csr=csr, validity_duration=3600)), metadata=metadata, timeout=60
        )
    return list(decode(IstioCertificateResponse, data).cert_chain)


async def test_who_keeps_its_key_has_its_own_request_signed(mesh: SecurePlane, signer: Signer, tmp_path: Path) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    leaf, intermediate, roots = await create(mesh, csr_of(key, str(WEB.spiffe_id)))
    assert x509.load_pem_x509_certificate(leaf.encode()).public_key() == key.public_key()
    for name, text in (("leaf", leaf), ("intermediate", intermediate), ("roots", roots)):
        (tmp_path / f"{name}.pem").write_text(text)
    line = ["openssl", "verify", "-CAfile", "roots.pem", "-untrusted", "intermediate.pem", "leaf.pem"]
    subprocess.run(line, cwd=tmp_path, check=True, capture_output=True)  # noqa: ASYNC221
    assert mesh.plane.authority.certificate in x509.load_pem_x509_certificates(roots.encode()), "of our own TLS port"


async def test_a_request_that_names_others_never_reaches_the_signer(mesh: SecurePlane, signer: Signer) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await create(mesh, csr_of(key, "spiffe://cluster.local/ns/bank/sa/vault"))
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert f"names others than its caller, who is {WEB.spiffe_id}" in (refused.value.details() or "")
    assert mesh.counted("citadel_server_csr_parsing_err_count") == 1
    signer.fails = True
    assert signer.asked == []
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await create(mesh, csr_of(key, str(WEB.spiffe_id)))
    assert refused.value.code() is grpc.StatusCode.UNAVAILABLE

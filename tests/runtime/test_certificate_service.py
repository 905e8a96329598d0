"""Certificates on request, over TLS, with grpcio's client and OpenSSL's judgement."""

from __future__ import annotations

import subprocess
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from structlog.testing import capture_logs

from ca.caller import Caller, PodBinding
from ca.identity import SpiffeId
from crds.meta import ObjectKey
from dragoman.codec import decode, encode, struct
from dragoman.codec.messages import IstioCertificateRequest, IstioCertificateResponse
from dragoman.runtime.impersonation import ImpersonationError, NodeAccounts
from tests.debug.running_plane import running_plane
from tests.runtime.secure_plane import AGENTS, MESH, SERVER_NAME, SecurePlane, secure_plane

METHOD = "/istio.v1.auth.IstioCertificateService/CreateCertificate"
WEB = SpiffeId("cluster.local", "shop", "web")
FOREIGN = [x509.UniformResourceIdentifier("spiffe://cluster.local/ns/bank/sa/vault"), x509.DNSName("bank.example.com")]


def key_of(kind: str) -> Any:
    if kind == "rsa":
        return rsa.generate_private_key(65537, 2048)
    return ec.generate_private_key(ec.SECP384R1() if kind == "p384" else ec.SECP256R1())


def csr(key: Any, *names: x509.GeneralName) -> str:
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    algorithm = None if isinstance(key, ed25519.Ed25519PrivateKey) else hashes.SHA256()
    return builder.sign(key, algorithm).public_bytes(Encoding.PEM).decode()


@pytest.fixture
async def mesh(tmp_path: Path) -> AsyncIterator[SecurePlane]:
    async with secure_plane(tmp_path) as running:
        yield running


async def create(
    mesh: SecurePlane, request: bytes, *, token: str | None = None, certificate: bool = False
) -> list[str]:
    """The chain; raises grpc.aio.AioRpcError."""
    credentials = mesh.credentials(WEB) if certificate else mesh.credentials()
    options = [("grpc.use_local_subchannel_pool", 1), ("grpc.ssl_target_name_override", SERVER_NAME)]
    async with grpc.aio.secure_channel(f"127.0.0.1:{mesh.port}", credentials, options=options) as channel:
        metadata = (("authorization", f"Bearer {token}"),) if token is not None else ()
        data = await channel.unary_unary(METHOD)(request, metadata=metadata, timeout=60)
    return list(decode(IstioCertificateResponse, data).cert_chain)


async def refused(mesh: SecurePlane, request: bytes, **how: Any) -> grpc.aio.AioRpcError:
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await create(mesh, request, **how)
    return error.value


@pytest.mark.parametrize("kind", ["p256", "p384", "rsa"])
async def test_openssl_verifies_the_chain_and_names_are_the_callers(
    mesh: SecurePlane, tmp_path: Path, kind: str
) -> None:
    key = key_of(kind)
    request = encode(IstioCertificateRequest(csr=csr(key, *FOREIGN), validity_duration=3600))
    leaf_pem, root_pem = await create(mesh, request, token=mesh.token(uid="u-1"))
    leaf = x509.load_pem_x509_certificate(leaf_pem.encode())
    assert leaf.public_key() == key.public_key()
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    assert names.critical
    assert list(names.value) == [x509.UniformResourceIdentifier(str(WEB))]
    assert abs(leaf.not_valid_after_utc - datetime.now(UTC) - timedelta(hours=1)) < timedelta(seconds=30)
    (tmp_path / "leaf.pem").write_text(leaf_pem)
    (tmp_path / "root.pem").write_text(root_pem)
    for purpose in ("sslclient", "sslserver"):
        line = ["openssl", "verify", "-x509_strict", "-purpose", purpose, "-CAfile", "root.pem", "leaf.pem"]
        subprocess.run(line, cwd=tmp_path, check=True, capture_output=True)  # noqa: ASYNC221


async def test_a_client_certificate_renews_itself(mesh: SecurePlane) -> None:
    chain = await create(mesh, encode(IstioCertificateRequest(csr=csr(key_of("p256")))), certificate=True)
    leaf = x509.load_pem_x509_certificate(chain[0].encode())
    assert abs(leaf.not_valid_after_utc - datetime.now(UTC) - timedelta(hours=24)) < timedelta(seconds=30), (
        "the default"
    )


async def test_who_proves_nothing_gets_nothing(mesh: SecurePlane) -> None:
    request = encode(IstioCertificateRequest(csr=csr(key_of("p256"))))
    for token in (None, "forged", mesh.token(audience="other"), mesh.token(seconds=-3600)):
        error = await refused(mesh, request, token=token)
        assert error.code() is grpc.StatusCode.UNAUTHENTICATED
        assert "request authenticate failure" in (error.details() or "")
    assert mesh.counted("citadel_server_authentication_failure_count") == 4
    assert mesh.counted("citadel_server_success_cert_issuance_count") == 0


async def test_over_plaintext_nobody_gets_one(tmp_path: Path) -> None:
    async with (
        running_plane(tmp_path) as running,
        grpc.aio.insecure_channel(f"127.0.0.1:{running.xds_port}") as channel,
    ):
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await channel.unary_unary(METHOD)(encode(IstioCertificateRequest(csr=GOOD)), timeout=60)
    assert error.value.code() is grpc.StatusCode.UNAUTHENTICATED
    assert "over TLS only" in (error.value.details() or "")


GOOD = csr(ec.generate_private_key(ec.SECP256R1()))
BAD = {
    "empty": "",
    "no PEM": "-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END CERTIFICATE REQUEST-----\n",
    "two": GOOD + GOOD,
    "oversized": GOOD + " " * 70_000,
    "weak RSA": csr(rsa.generate_private_key(65537, 1024)),  # noqa: S505 - that is the point
    "P-521": csr(ec.generate_private_key(ec.SECP521R1())),
    "Ed25519": csr(ed25519.Ed25519PrivateKey.generate()),
}


def tampered() -> str:
    """A request whose key is not that of its signer."""
    der = bytearray(x509.load_pem_x509_csr(GOOD.encode()).public_bytes(Encoding.DER))
    der[-1] ^= 1
    return x509.load_der_x509_csr(bytes(der)).public_bytes(Encoding.PEM).decode()


@pytest.mark.parametrize("name", [*BAD, "tampered"])
async def test_requests_that_cannot_be_used_are_refused_and_counted(mesh: SecurePlane, name: str) -> None:
    request = encode(IstioCertificateRequest(csr=tampered() if name == "tampered" else BAD[name]))
    error = await refused(mesh, request, token=mesh.token())
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert mesh.counted("citadel_server_csr_parsing_err_count") == 1


async def test_nonsense_and_too_long_a_life_are_refused(mesh: SecurePlane) -> None:
    too_long = IstioCertificateRequest(csr=GOOD, validity_duration=91 * 24 * 3600)
    for request in (b"\xff\xff", encode(too_long), encode(IstioCertificateRequest(csr=GOOD, validity_duration=2**62))):
        assert (await refused(mesh, request, token=mesh.token())).code() is grpc.StatusCode.INVALID_ARGUMENT


async def test_impersonation_is_refused_unless_it_is_configured(mesh: SecurePlane) -> None:
    request = IstioCertificateRequest(csr=GOOD, metadata=struct({"ImpersonatedIdentity": str(WEB)}))
    error = await refused(mesh, encode(request), token=mesh.token("cart-1", "cart"))
    assert error.code() is grpc.StatusCode.UNAUTHENTICATED
    assert mesh.counted("citadel_server_id_extraction_err_count") == 1


async def test_what_is_issued_and_refused_is_told_without_secrets(mesh: SecurePlane) -> None:
    token = mesh.token()
    with capture_logs() as logs:
        chain = await create(mesh, encode(IstioCertificateRequest(csr=GOOD, validity_duration=600)), token=token)
        await refused(mesh, encode(IstioCertificateRequest(csr="nonsense")), token=token)
    leaf = x509.load_pem_x509_certificate(chain[0].encode())
    issued = next(entry for entry in logs if entry["event"] == "certificate issued")
    assert issued["identities"] == [str(WEB)]
    assert issued["serial"] == f"{leaf.serial_number:x}"
    assert issued["source"] == "token"
    assert issued["caller"] == str(WEB)
    no = next(entry for entry in logs if entry["event"] == "certificate refused")
    assert (no["why"], no["caller"]) == ("malformed_request", str(WEB))
    assert token not in str(logs)
    assert "BEGIN" not in str(logs)


# Agents of a node.


@pytest.fixture
async def nodes(tmp_path: Path) -> AsyncIterator[NodeAccounts]:
    async with secure_plane(tmp_path, MESH + AGENTS) as running:
        yield NodeAccounts(frozenset({("istio-system", "ztunnel")}), running.plane.world.objects)


ZTUNNEL = Caller(
    (SpiffeId("cluster.local", "istio-system", "ztunnel"),), "token", PodBinding("istio-system", "ztunnel-1", "u-z")
)
NEAR = "spiffe://cluster.local/ns/shop/sa/near"


async def test_an_agent_gets_certificates_for_pods_of_its_node(nodes: NodeAccounts) -> None:
    assert str(nodes.authorize(ZTUNNEL, NEAR)) == NEAR


@pytest.mark.parametrize(
    ("caller", "wanted", "why"),
    [
        (ZTUNNEL, "spiffe://cluster.local/ns/shop/sa/far", "runs on the caller's node"),
        (ZTUNNEL, "spiffe://cluster.local/ns/shop/sa/nobody", "runs on the caller's node"),
        (ZTUNNEL, "spiffe://other/ns/shop/sa/near", "another trust domain"),
        (ZTUNNEL, "near", "is not spiffe://"),
        (Caller((WEB,), "token", PodBinding("shop", "near")), NEAR, "not that of a trusted node agent"),
        (Caller(ZTUNNEL.identities, "token"), NEAR, "not bound to a pod"),
        (Caller(ZTUNNEL.identities, "token", PodBinding("istio-system", "gone")), NEAR, "does not exist"),
        (Caller(ZTUNNEL.identities, "token", PodBinding("istio-system", "ztunnel-1", "old")), NEAR, "does not exist"),
        (Caller(ZTUNNEL.identities, "token", PodBinding("shop", "near")), NEAR, "another account"),
    ],
)
async def test_and_for_nothing_else(nodes: NodeAccounts, caller: Caller, wanted: str, why: str) -> None:
    assert ObjectKey("Pod", "istio-system", "ztunnel-1") in nodes.objects
    with pytest.raises(ImpersonationError, match=why):
        nodes.authorize(caller, wanted)

"""Istio's own client, with its agent's store, connection and retries, gets certificates, and understands why not."""

from __future__ import annotations

import subprocess
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from ca.authority import new_root, pem
from ca.signer import SignerError
from dragoman.callers.token_issuer import TokenIssuer
from dragoman.runtime.external_signing import ExternalSigning
from e2e.istio_client.program import ISTIO_CLIENT
from tests.operator.request_signer import an_intermediate, certificate_for
from tests.runtime.secure_plane import AGENTS, MESH, SecurePlane, secure_plane
from tests.support.istio_client import Ended, ask
from tests.support.required_program import required

WEB = "spiffe://cluster.local/ns/shop/sa/web"
NEAR = "spiffe://cluster.local/ns/shop/sa/near"


@pytest.fixture
def client() -> Path:
    return required(ISTIO_CLIENT)


@pytest.fixture
async def mesh(tmp_path: Path, client: Path) -> AsyncIterator[SecurePlane]:
    (folder := tmp_path / "mesh").mkdir()
    async with secure_plane(folder, MESH + AGENTS, node_accounts=frozenset({("istio-system", "ztunnel")})) as running:
        yield running


async def asked(mesh: SecurePlane, client: Path, folder: Path, token: str = "", *arguments: str | Path) -> Ended:
    """What becomes of a request; key, chain and roots are in the folder `out` then."""
    (out := folder / "out").mkdir(exist_ok=True)
    (roots := folder / "server-roots.pem").write_bytes(mesh.plane.identities.roots_pem)
    (file := folder / "token").write_text(token)
    where = ("-address", f"127.0.0.1:{mesh.port}", "-roots", roots, "-out", out)
    return await ask(client, *where, *(("-token", file) if token else ()), *arguments)


def verified(folder: Path) -> x509.Certificate:
    """The leaf that came, which leads to the roots that came along."""
    leaf, *others = x509.load_pem_x509_certificates((folder / "out" / "cert-chain.pem").read_bytes())
    (folder / "leaf.pem").write_bytes(pem([leaf]))
    (folder / "others.pem").write_bytes(pem(others))
    line = ("openssl", "verify", "-CAfile", folder / "out" / "root-cert.pem", "-untrusted", "others.pem", "leaf.pem")
    subprocess.run(line, cwd=folder, check=True, capture_output=True)
    return leaf


def names(leaf: x509.Certificate) -> list[str]:
    return [name.value for name in leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value]


async def test_its_agent_gets_a_certificate_for_who_it_is_and_renews_it_by_that(
    mesh: SecurePlane, client: Path, tmp_path: Path
) -> None:
    somebody_else = ("-namespace", "bank", "-account", "vault")
    ended = await asked(mesh, client, tmp_path, mesh.token(uid="u-1"), *somebody_else, "-life", "2h")
    assert ended.code == 0, ended.told
    first = verified(tmp_path)
    assert names(first) == [WEB]
    assert isinstance(first.public_key(), ec.EllipticCurvePublicKey)
    assert abs(first.not_valid_after_utc - datetime.now(UTC) - timedelta(hours=2)) < timedelta(seconds=30)
    trusted = x509.load_pem_x509_certificates((tmp_path / "out" / "root-cert.pem").read_bytes())
    assert tuple(trusted) == mesh.plane.identities.roots
    own = ("-cert", tmp_path / "out" / "cert-chain.pem", "-key", tmp_path / "out" / "key.pem")
    ended = await asked(mesh, client, tmp_path, "", *own, *somebody_else, "-algorithm", "")
    assert ended.code == 0, ended.told
    second = verified(tmp_path)
    assert names(second) == [WEB]
    assert isinstance(second.public_key(), rsa.RSAPublicKey), "Istio's default"
    assert mesh.counted("citadel_server_success_cert_issuance_count") == 2


async def test_an_agent_of_a_node_gets_certificates_of_its_pods_only(
    mesh: SecurePlane, client: Path, tmp_path: Path
) -> None:
    token = mesh.token("ztunnel-1", "ztunnel", "istio-system", uid="u-z")
    ended = await asked(mesh, client, tmp_path, token, "-impersonate", NEAR)
    assert ended.code == 0, ended.told
    assert names(verified(tmp_path)) == [NEAR]
    ended = await asked(mesh, client, tmp_path, token, "-impersonate", NEAR.replace("near", "far"))
    assert ended.code == 1
    assert "code = Unauthenticated desc = request impersonation authentication failure" in ended.told
    assert mesh.counted("citadel_server_csr_count") == 2, "it is not asked for again"


async def test_who_brings_a_strangers_token_is_told_so_once(mesh: SecurePlane, client: Path, tmp_path: Path) -> None:
    mesh.tokens = TokenIssuer(ec.generate_private_key(ec.SECP256R1()))
    ended = await asked(mesh, client, tmp_path, mesh.token(uid="u-1"))
    assert ended.code == 1
    assert "code = Unauthenticated desc = request authenticate failure" in ended.told
    assert mesh.counted("citadel_server_csr_count") == 1, "to ask again is of no use, and Istio's client knows"
    ended = await asked(mesh, client, tmp_path, mesh.token(uid="u-1"), "-roots", tmp_path / "token")
    assert ended.code == 1, "and it believes no server that it has no root of"
    assert mesh.counted("citadel_server_csr_count") == 1


class Passing:
    """A signer that is away for a moment."""

    def __init__(self) -> None:
        self.root = new_root("theirs", now=datetime.now(UTC))
        self.authority = an_intermediate(self.root)
        self.asked = 0

    async def sign(self, csr_pem: bytes, *, lifetime: timedelta) -> bytes:
        self.asked += 1
        if self.asked < 3:
            raise SignerError("not now")
        return pem([certificate_for(self.authority, csr_pem, lifetime), self.authority.certificate])


async def test_what_passes_is_asked_for_again(client: Path, tmp_path: Path) -> None:
    signer = Passing()
    signing = ExternalSigning("example.com/mesh", signer, signer.root.roots)
    (folder := tmp_path / "mesh").mkdir()
    async with secure_plane(folder, MESH, signing=signing) as mesh:
        own = ("-namespace", "shop", "-account", "web")
        ended = await asked(mesh, client, tmp_path, mesh.token(uid="u-1"), *own)
        assert ended.code == 0, ended.told
        assert names(verified(tmp_path)) == [WEB]
        assert signer.asked == 3
        assert mesh.counted("citadel_server_csr_count") == 3

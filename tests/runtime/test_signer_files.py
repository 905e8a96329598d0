"""Files of a signer elsewhere are followed: what is new is used at once, what is of no use changes nothing."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from structlog.testing import capture_logs

from ca.authority import new_root, pem
from ca.authority_files import RootStoreError
from ca.identity import SpiffeId
from ca.rotation import name_of
from ca.signer import SignerError
from ca.signing_request import signing_request
from ca.workload_certificates import WorkloadCertificates
from dragoman.codec import SECRET, decode
from dragoman.runtime import signer_files as module
from dragoman.runtime.external_signing import ExternalSigning
from dragoman.runtime.identities import Identities
from dragoman.runtime.signer_files import SignerFiles
from tests.operator.request_signer import certificate_for
from tests.support.revocations import revocations
from tests.support.until import until

NOW = datetime.now(UTC)
OWN, FIRST, SECOND = (new_root(name, now=NOW) for name in ("ours", "first", "second"))
WEB = SpiffeId("cluster.local", "shop", "web")


class Signer:
    """Signs with the first."""

    async def sign(self, csr_pem: bytes, *, lifetime: timedelta) -> bytes:
        return pem([certificate_for(FIRST, csr_pem, lifetime)])


def text(*lists: x509.CertificateRevocationList) -> bytes:
    return b"".join(each.public_bytes(Encoding.PEM) for each in lists)


def identities_of(files: SignerFiles) -> Identities:
    rng = random.Random(0)  # noqa: S311 - jitter
    certificates = WorkloadCertificates(OWN, lambda: datetime.now(UTC), rng, signed_elsewhere=True)
    signing = ExternalSigning("example.com/mesh", Signer(), files.roots, files.revoked)
    return Identities(certificates, signing=signing)


@asynccontextmanager
async def followed(files: SignerFiles, identities: Identities, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[None]:
    monkeypatch.setattr(module, "_LOOK_EVERY", 0.005)
    following = asyncio.create_task(files.follow(identities))
    try:
        yield
    finally:
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)


def lists_served(identities: Identities) -> bytes:
    view = identities.acquire_kept("/folder", "holder")
    return decode(SECRET, view.get((SECRET, "ROOTCA")).payload).validation_context.crl.inline_bytes


async def test_another_root_is_trusted_and_what_is_no_root_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (file := tmp_path / "roots.pem").write_bytes(FIRST.roots_pem)
    files = SignerFiles(file)
    identities = identities_of(files)
    assert identities.roots == (OWN.certificate, FIRST.certificate)
    with capture_logs() as logs:
        async with followed(files, identities, monkeypatch):
            file.write_text("nonsense")
            await until(lambda: len(logs) == 1)
            file.unlink()
            await until(lambda: len(logs) == 2)
            assert identities.roots == (OWN.certificate, FIRST.certificate)
            file.write_bytes(FIRST.roots_pem + SECOND.roots_pem)
            await until(lambda: SECOND.certificate in identities.roots)
    assert [entry["event"] for entry in logs[:2]] == ["file of the signer not usable, the last good one stays"] * 2
    assert logs[0]["error"] == f"{file} is no PEM of certificates"
    assert logs[1]["error"] == f"cannot read {file}: No such file or directory"
    assert logs[2]["roots"] == [name_of(each.certificate) for each in (FIRST, SECOND)]
    assert len(logs) == 3, "each is told once"


def test_a_file_that_is_being_written_is_left_alone(tmp_path: Path) -> None:
    (path := tmp_path / "roots.pem").write_bytes(FIRST.roots_pem)
    file = module.FollowedFile(path, lambda content, place: content)
    assert file.changed() is None
    whole = FIRST.roots_pem + SECOND.roots_pem
    path.write_bytes(whole[:900])
    assert file.changed() is None
    path.write_bytes(whole)
    assert file.changed() is None
    assert file.changed() == whole
    assert file.changed() is None
    path.write_bytes(b"")
    assert file.changed() is None
    path.write_bytes(whole)
    assert file.changed() is None, "nothing has come of it"


async def test_what_the_signer_revoked_is_refused_and_nobody_gets_what_peers_would_refuse(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (file := tmp_path / "ca-crl.pem").write_bytes(text(first := revocations(SECOND)))
    files = SignerFiles(revoked=file)
    identities = identities_of(files)
    identities.also_trust(FIRST.roots)
    assert lists_served(identities) == text(first), "from the start"
    key = ec.generate_private_key(ec.SECP256R1())
    request = signing_request(key, (WEB,))
    assert identities.signing is not None
    with pytest.raises(SignerError, match="there is no revocation list of 'O=first'"):
        await identities.signing.chain(request, key.public_key(), (WEB,), timedelta(hours=1))
    file.write_bytes(text(revocations(FIRST)))
    async with followed(files, identities, monkeypatch):
        await until(lambda: lists_served(identities).count(b"BEGIN X509 CRL") == 2)
        leaf, *_ = await identities.signing.chain(request, key.public_key(), (WEB,), timedelta(hours=1))
        assert not identities.revoked(leaf)
        file.write_bytes(text(revocations(FIRST, leaf.serial_number)))
        await until(lambda: identities.revoked(leaf))


def test_lists_of_our_own_ca_go_along_with_those_of_the_signer(tmp_path: Path) -> None:
    ours = revocations(OWN, 7)
    alone = identities_of(SignerFiles())
    with capture_logs() as logs:
        alone.revoke([ours])
    assert alone.crl_pem == b"", "Envoy would refuse whatever the signer signs"
    assert logs[-1]["event"].endswith("(--signer-crl)")
    (file := tmp_path / "ca-crl.pem").write_bytes(text(theirs := revocations(FIRST)))
    both = identities_of(SignerFiles(revoked=file))
    both.revoke([ours])
    assert both.crl_pem == text(ours, theirs)


@pytest.mark.parametrize("name", ["roots", "revoked"])
def test_without_anything_good_there_is_no_beginning(tmp_path: Path, name: str) -> None:
    (file := tmp_path / "file.pem").write_text("nonsense")
    with pytest.raises(RootStoreError, match=r"file\.pem (is no PEM of certificates|holds no PEM revocation list)"):
        SignerFiles(**{name: file})

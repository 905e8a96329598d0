"""Certificates are renewed in time; while the authority cannot sign, what there is stays and it is asked again."""

from __future__ import annotations

import asyncio
import dataclasses
import random
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from cryptography import x509
from structlog.testing import capture_logs

from ca.authority import Authority, AuthorityError, new_root
from ca.identity import SpiffeId, WorkloadIdentity
from ca.workload_certificates import WorkloadCertificates
from dragoman.codec import SECRET, decode
from dragoman.runtime import identities as module
from dragoman.runtime.identities import Identities
from tests.support.revocations import revocations
from xds import View

WEB = WorkloadIdentity(SpiffeId("cluster.local", "shop", "web"), "web")


class Tired:
    """An authority that can be told not to sign."""

    def __init__(self) -> None:
        self.root = new_root("cluster.local", now=datetime.now(UTC))
        self.tired = False
        self.refused = asyncio.Event()

    def sign(self, *arguments: Any, **options: Any) -> Any:
        if self.tired:
            self.refused.set()
            raise AuthorityError("the CA certificate has expired")
        return self.root.sign(*arguments, **options)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.root, name)


async def test_an_authority_that_cannot_sign_is_asked_again_later(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_PATIENCE", timedelta(milliseconds=20))
    authority = Tired()
    certificates = WorkloadCertificates(
        authority,  # type: ignore[arg-type]
        lambda: datetime.now(UTC),
        random.Random(0),  # noqa: S311 - jitter
        lifetime=timedelta(seconds=1),
    )
    identities = Identities(certificates)
    view = identities.acquire(WEB, "holder")
    first = view.get((SECRET, "default"))
    authority.tired = True
    with capture_logs() as logs:
        renewing = asyncio.create_task(identities.renew())
        async with asyncio.timeout(60):
            await authority.refused.wait()
            authority.refused.clear()
            assert view.get((SECRET, "default")) is first
            await authority.refused.wait()
            authority.tired = False
            while view.get((SECRET, "default")) is first:
                assert not renewing.done()
                await asyncio.sleep(0.005)
        renewing.cancel()
        await asyncio.gather(renewing, return_exceptions=True)
    failed = next(entry for entry in logs if entry["event"] == "certificate not renewed")
    assert failed["identity"] == str(WEB)
    assert "expired" in failed["error"]


def certificates_of(root: Authority) -> WorkloadCertificates:
    return WorkloadCertificates(root, lambda: datetime.now(UTC), random.Random(0))  # noqa: S311 - jitter


def trusted(view: View) -> list[x509.Certificate]:
    secret = decode(SECRET, view.get((SECRET, "ROOTCA")).payload)
    return x509.load_pem_x509_certificates(secret.validation_context.trusted_ca.inline_bytes)


async def test_another_authority_is_trusted_at_once_and_issues_every_certificate_anew() -> None:
    old, new = (new_root("cluster.local", now=datetime.now(UTC)) for _ in range(2))
    identities = Identities(certificates_of(old))
    view = identities.acquire(WEB, "holder")
    first = view.get((SECRET, "default"))
    both = (old.certificate, new.certificate)
    renewing = asyncio.create_task(identities.renew())
    try:
        identities.use(dataclasses.replace(old, roots=both))
        assert trusted(view) == list(both)
        await asyncio.sleep(0)
        assert view.get((SECRET, "default")) is first, "what signs has not changed"
        identities.use(dataclasses.replace(new, roots=both))
        async with asyncio.timeout(60):
            while view.get((SECRET, "default")) is first:  # noqa: ASYNC110 - its own loop tells nobody
                await asyncio.sleep(0.001)
        secret = decode(SECRET, view.get((SECRET, "default")).payload)
        leaf = x509.load_pem_x509_certificate(secret.tls_certificate.certificate_chain.inline_bytes)
        leaf.verify_directly_issued_by(new.certificate)
        identities.use(new)
        assert trusted(view) == [new.certificate]
    finally:
        renewing.cancel()
        await asyncio.gather(renewing, return_exceptions=True)


async def test_revocation_lists_are_served_where_the_signer_has_one() -> None:
    ours, other = (new_root(name, now=datetime.now(UTC)) for name in ("ours", "other"))
    identities = Identities(certificates_of(ours))
    view = identities.acquire(WEB, "holder")

    def served() -> bytes:
        return decode(SECRET, view.get((SECRET, "ROOTCA")).payload).validation_context.crl.inline_bytes

    identities.revoke([revocations(other)])
    assert served() == b"", "Envoy would refuse every certificate of ours"
    identities.revoke([revocations(ours)])
    assert served().count(b"BEGIN X509 CRL") == 2, "certificates of the other may still live"
    identities.revoke([])
    assert served() == b""

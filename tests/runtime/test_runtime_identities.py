"""Certificates are renewed in time; while the authority cannot sign, what there is stays and it is asked again."""

from __future__ import annotations

import asyncio
import random
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from structlog.testing import capture_logs

from ca.authority import AuthorityError, new_root
from ca.identity import SpiffeId, WorkloadIdentity
from ca.workload_certificates import WorkloadCertificates
from dragoman.codec import SECRET
from dragoman.runtime import identities as module
from dragoman.runtime.identities import Identities

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
        async with asyncio.timeout(5):
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

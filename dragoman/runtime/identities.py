"""Workload certificates on their way to streams: one secret view per identity, renewed in time.

Keys live in these views and in the CA's store, never in the engine, and reach only sessions that the runtime has found
to be that workload.
"""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Final

import structlog

from ca.authority import AuthorityError
from ca.identity import WorkloadIdentity
from ca.secrets import ROOT_SECRET, WORKLOAD_SECRET, root_secret, workload_secret
from ca.workload_certificates import WorkloadCertificates
from dragoman.codec import SECRET
from xds import View

log = structlog.get_logger(__name__)


_PATIENCE: Final = timedelta(seconds=30)
"""How long to wait after the authority could not sign, before asking it again."""


class Identities:
    """Certificates in use and the views that deliver them."""

    def __init__(self, certificates: WorkloadCertificates) -> None:
        self.certificates = certificates
        self._views: dict[WorkloadIdentity, View] = {}
        self._changed = asyncio.Event()

    def acquire(self, identity: WorkloadIdentity, holder: object) -> View:
        """The secrets of a workload for one more holder."""
        certificate = self.certificates.acquire(identity, id(holder))
        view = self._views.get(identity)
        if view is None:
            view = self._views[identity] = View(f"secrets {identity}", secret=True)
            view.apply(
                {
                    (SECRET, WORKLOAD_SECRET): workload_secret(certificate),
                    (SECRET, ROOT_SECRET): root_secret(self.certificates.roots_pem),
                }
            )
            self._changed.set()
        return view

    def release(self, identity: WorkloadIdentity, holder: object) -> None:
        """One holder less; the last one takes the key along."""
        self.certificates.release(identity, id(holder))
        if not self.held(identity):
            del self._views[identity]

    def held(self, identity: WorkloadIdentity) -> bool:
        try:
            self.certificates.get(identity)
        except LookupError:
            return False
        return True

    def identities(self) -> tuple[WorkloadIdentity, ...]:
        """The workloads that hold a certificate now."""
        return tuple(self._views)

    def rotate(self, identity: WorkloadIdentity) -> None:
        """A new key and certificate now; open connections keep the old one until they end."""
        certificate = self.certificates.rotate(identity)
        self._views[identity].apply({(SECRET, WORKLOAD_SECRET): workload_secret(certificate)})
        log.info(
            "certificate rotated",
            identity=str(identity),
            serial=f"{certificate.serial:x}",
            not_after=certificate.not_after.isoformat(),
        )

    async def renew(self) -> None:
        """Renew every certificate when it is due, for ever. While the authority cannot sign, what there is stays."""
        while True:
            deadline = self._renew_due(datetime.now(UTC))
            wait = None if deadline is None else max((deadline - datetime.now(UTC)).total_seconds(), 0.0)
            self._changed.clear()
            try:
                await asyncio.wait_for(self._changed.wait(), wait)
            except TimeoutError:
                continue

    def _renew_due(self, now: datetime) -> datetime | None:
        """Renew what is due; returns when to look again."""
        for identity in self.certificates.due(now):
            try:
                self.rotate(identity)
            except AuthorityError as error:
                not_after = self.certificates.get(identity).not_after
                log.error(
                    "certificate not renewed", identity=str(identity), not_after=not_after.isoformat(), error=str(error)
                )
                return now + _PATIENCE
        return self.certificates.next_deadline()

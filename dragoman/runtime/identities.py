"""Workload certificates on their way to streams: one secret view per identity, renewed in time.

Keys live in these views and in the CA's store, never in the engine, and reach only sessions that the runtime has found
to be that workload.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from typing import Final

import structlog
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from ca.audit import Audit, Refusal
from ca.authority import Authority, AuthorityError, pem
from ca.domain_bundles import MixedDomainsError, domain_bundles
from ca.identity import WorkloadIdentity
from ca.secrets import (
    ROOT_SECRET,
    WORKLOAD_SECRET,
    kept_secret,
    root_secret,
    root_secret_by_domain,
    workload_secret,
)
from ca.workload_certificates import IssuedCertificate, WorkloadCertificates
from dragoman.codec import SECRET, Encoded
from dragoman.runtime.external_signing import ExternalSigning
from dragoman.turns import in_turns
from xds import View

log = structlog.get_logger(__name__)


_PATIENCE: Final = timedelta(seconds=30)
"""How long to wait after the authority could not sign, before asking it again."""

_LONGEST_PATIENCE: Final = timedelta(minutes=5)
"""The same for a signer elsewhere, which is asked half as often each time."""


class Identities:
    """Certificates in use and the views that deliver them. `audit` hears of each certificate.

    With `signing` another signs, and `certificates` does not: `acquire` then needs a certificate that is `reserved`.
    """

    def __init__(
        self,
        certificates: WorkloadCertificates,
        audit: Audit | None = None,
        signing: ExternalSigning | None = None,
    ) -> None:
        self.certificates = certificates
        self.signing = signing
        self._audit = audit
        self._failures: dict[WorkloadIdentity, int] = {}
        """How often in a row a certificate could not be renewed elsewhere."""
        self._renewing: set[WorkloadIdentity] = set()
        self._views: dict[WorkloadIdentity, View] = {}
        self._kept: dict[int, View] = {}
        """Of proxies that keep their own keys, by holder."""
        self._changed = asyncio.Event()
        self._added: tuple[x509.Certificate, ...] = ()
        self._named: dict[str, tuple[x509.Certificate, ...]] = {}
        self._domains: tuple[str, ...] = ()
        self._revoked: dict[x509.Name, x509.CertificateRevocationList] = {}
        self._root = self._root_secret()
        self.on_roots_changed: list[Callable[[], None]] = []
        """Called when another trust bundle, or other revocations, are in force."""

    @property
    def authority(self) -> Authority:
        """What signs now."""
        return self.certificates.authority

    @property
    def roots(self) -> tuple[x509.Certificate, ...]:
        """The trust bundle: what verifies every certificate of the mesh. Proxies may get roots of single trust domains
        beside it."""
        elsewhere = self.signing.roots if self.signing is not None else ()
        return tuple(dict.fromkeys((*self.authority.roots, *elsewhere, *self._added)))

    @property
    def roots_pem(self) -> bytes:
        """The trust bundle, PEM."""
        return pem(self.roots)

    def use(self, authority: Authority) -> None:
        """Sign with `authority` and trust its bundle from now on.

        Proxies are told of roots at once; what another certificate signed is issued anew by `renew`.
        """
        self.certificates.use(authority)
        self._distribute()
        self._changed.set()

    def also_trust(
        self,
        roots: Sequence[x509.Certificate],
        named: Mapping[str, Sequence[x509.Certificate]] | None = None,
        domains: Sequence[str] = (),
    ) -> None:
        """Trust these roots beside those of the authority, and those that are `named` for one trust domain in its name
        only (Istio: MeshConfig.caCertificates). `domains` are the mesh's own, which the others are good for."""
        self._added = tuple(roots)
        self._named = {domain: tuple(listed) for domain, listed in (named or {}).items() if listed}
        self._domains = tuple(domains)
        if self.signing is not None:
            self.signing.further_roots = self._added
        self._distribute()

    def follow_signer(
        self, roots: Sequence[x509.Certificate], revoked: Sequence[x509.CertificateRevocationList]
    ) -> None:
        """Trust these roots of the one who signs in our place, and have proxies refuse what these lists revoke.

        As with `revoke`, earlier lists of other issuers stay.
        """
        assert self.signing is not None  # noqa: S101 - only then
        self.signing.roots = tuple(roots)
        self.signing.revoked |= {each.issuer: each for each in revoked}
        self._distribute()

    def revoke(self, lists: Sequence[x509.CertificateRevocationList]) -> None:
        """Have proxies refuse what these lists revoke; none for nothing.

        Earlier lists of other issuers stay: certificates of those may still live, and Envoy refuses a certificate whose
        issuer has no list while there is any.
        """
        if not lists:
            self._revoked.clear()
        self._revoked |= {each.issuer: each for each in lists}
        self._distribute()

    @property
    def crl_pem(self) -> bytes:
        """The revocation lists that proxies get, PEM; empty for none."""
        if self.signing is not None:
            if self._revoked and not self.signing.revoked:
                log.warning("revocation lists not used, another signs, of whom there are none (--signer-crl)")
                return b""
        elif self._revoked and (signer := self.authority.certificate.subject) not in self._revoked:
            log.warning("revocation lists not used, the CA that signs has none", signer=signer.rfc4514_string())
            return b""
        return b"".join(each.public_bytes(Encoding.PEM) for each in self._lists.values())

    @property
    def _lists(self) -> dict[x509.Name, x509.CertificateRevocationList]:
        return self._revoked if self.signing is None else self._revoked | self.signing.revoked

    @property
    def list_ends(self) -> datetime | None:
        """When the first revocation list of those who sign now is too old: proxies refuse every certificate of its
        issuer from then on. None for no lists, and for lists without an end."""
        own = self._revoked.get(self.authority.certificate.subject)
        lists = self.signing.revoked.values() if self.signing is not None else () if own is None else (own,)
        return min((end for each in lists if (end := each.next_update_utc) is not None), default=None)

    def revoked(self, certificate: x509.Certificate) -> bool:
        """Whether one of these lists revokes a certificate."""
        listed = self._lists.get(certificate.issuer)
        return (
            listed is not None
            and listed.get_revoked_certificate_by_serial_number(certificate.serial_number) is not None
        )

    def trusted(self, view: View) -> bool:
        """Whether the current trust bundle is what a view of secrets serves: a rejected one is held back."""
        served = view.get((SECRET, ROOT_SECRET))
        return served is not None and served.version == self._root.version

    @property
    def distributed(self) -> Encoded:
        """What proxies verify peers with, as they get it."""
        return self._root

    def _root_secret(self) -> Encoded:
        if self._named:
            listed = self._lists if self.crl_pem else {}
            between = self.authority.intermediates if self.signing is None else ()
            for domain in self._named.keys() & set(self._domains) if listed else ():
                if any(root.subject not in listed for root in self._named[domain]):
                    log.warning("certificates of a root refused", domain=domain, reason="it has no revocation list")
            try:
                return root_secret_by_domain(
                    domain_bundles(self._domains, self.roots, self._named, intermediates=between, revoked=listed)
                )
            except MixedDomainsError as error:
                log.error("roots of single trust domains not trusted", domains=sorted(self._named), reason=str(error))
        return root_secret(self.roots_pem, self.crl_pem)

    def _distribute(self) -> None:
        root = self._root_secret()
        if root.version != self._root.version:
            self._root = root
            for view in (*self._views.values(), *self._kept.values()):
                view.apply({(SECRET, ROOT_SECRET): root})
            for tell in self.on_roots_changed:
                tell()

    def certified(self, identity: WorkloadIdentity) -> WorkloadIdentity:
        """As whom a workload gets its certificate: those that another signs name accounts only, whose workloads share
        one, so that a label that changes asks nothing of the signer."""
        if self.signing is None:
            return identity
        return WorkloadIdentity(identity.spiffe_id, identity.spiffe_id.service_account)

    def lacks(self, identity: WorkloadIdentity) -> bool:
        """Whether a certificate must be `reserved` before it can be acquired: another signs, and has not yet."""
        return self.signing is not None and not self.held(identity)

    @asynccontextmanager
    async def reserved(self, identity: WorkloadIdentity) -> AsyncIterator[None]:
        """Inside, a certificate is there to be acquired; waits for who signs it. Raises `SignerError`."""
        if self.signing is None:
            yield
            return
        holder = object()
        try:
            certificate = await self._signed(self.signing, identity)
        except AuthorityError as error:
            self._tell_refused(identity, error)
            raise
        self.certificates.hold(certificate, id(holder))
        try:
            yield
        finally:
            self.release(identity, holder)

    async def _signed(self, signing: ExternalSigning, identity: WorkloadIdentity) -> IssuedCertificate:
        return self.certificates.made(identity, *await signing.workload(identity))

    def _tell_refused(self, identity: WorkloadIdentity, error: AuthorityError) -> None:
        if self._audit is not None:
            self._audit.refused(Refusal.cannot_sign, str(error), caller=str(identity), source="sds")

    def acquire(self, identity: WorkloadIdentity, holder: object) -> View:
        """The secrets of a workload for one more holder. Raises `AuthorityError`."""
        certificate = self.certificates.acquire(identity, id(holder))
        view = self._views.get(identity)
        if view is None:
            view = self._views[identity] = View(f"secrets {identity}", secret=True)
            view.apply(
                {
                    (SECRET, WORKLOAD_SECRET): workload_secret(certificate),
                    (SECRET, ROOT_SECRET): self._root,
                }
            )
            self._tell(certificate)
            self._changed.set()
        return view

    def release(self, identity: WorkloadIdentity, holder: object) -> None:
        """One holder less; the last one takes the key along."""
        self.certificates.release(identity, id(holder))
        if not self.held(identity):
            self._views.pop(identity, None)
            self._failures.pop(identity, None)

    def acquire_kept(self, folder: str, holder: object) -> View:
        """The secrets of a proxy that keeps its own key in a folder of its pod: no key is made for it here.

        The view is the holder's alone, so that a proxy which came before its files did gets another chance when it
        connects again, and rejects nothing for others.
        """
        view = self._kept.get(id(holder))
        if view is None:
            view = self._kept[id(holder)] = View("secrets kept in the pod", secret=True)
            view.apply({(SECRET, WORKLOAD_SECRET): kept_secret(folder), (SECRET, ROOT_SECRET): self._root})
        return view

    def release_kept(self, holder: object) -> None:
        """Forget the view of a holder, if it has one."""
        self._kept.pop(id(holder), None)

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
        self._deliver(self.certificates.rotate(identity))

    def _deliver(self, certificate: IssuedCertificate) -> None:
        view = self._views.get(certificate.identity)
        if view is not None:
            view.apply({(SECRET, WORKLOAD_SECRET): workload_secret(certificate)})
            self._tell(certificate)

    def _tell(self, certificate: IssuedCertificate) -> None:
        if self._audit is not None:
            self._audit.delivered(certificate)

    async def renew(self) -> None:
        """Renew every certificate when it is due, for ever. While the authority cannot sign, what there is stays."""
        async with asyncio.TaskGroup() as tasks:
            while True:
                self._changed.clear()
                now = datetime.now(UTC)
                deadline = await (self._renew_due(now) if self.signing is None else self._ask_due(now, tasks))
                wait = None if deadline is None else max((deadline - datetime.now(UTC)).total_seconds(), 0.0)
                # Not wait_for: it loses a cancellation that comes together with the event (Python 3.11).
                with suppress(TimeoutError):
                    async with asyncio.timeout(wait):
                        await self._changed.wait()

    async def _renew_due(self, now: datetime) -> datetime | None:
        """Renew what is due; returns when to look again."""
        async for identity in in_turns(self.certificates.due(now)):
            if not self.held(identity):
                continue
            try:
                self.rotate(identity)
            except AuthorityError as error:
                self._tell_not_renewed(identity, error)
                return now + _PATIENCE
        return self.certificates.next_deadline()

    async def _ask_due(self, now: datetime, tasks: asyncio.TaskGroup) -> datetime | None:
        """Have what is due signed elsewhere, beside everything else; returns when to look again."""
        for identity in self.certificates.due(now):
            # Due again after a while, whether the signer has answered by then or not.
            pause = _PATIENCE * 2 ** min(self._failures.get(identity, 0), 10)
            self.certificates.postpone(identity, now + min(pause, _LONGEST_PATIENCE))
            if identity not in self._renewing:
                self._renewing.add(identity)
                tasks.create_task(self._renew_elsewhere(identity))
        return self.certificates.next_deadline()

    async def _renew_elsewhere(self, identity: WorkloadIdentity) -> None:
        assert self.signing is not None  # noqa: S101 - only then
        try:
            certificate = await self._signed(self.signing, identity)
        except AuthorityError as error:
            self._tell_refused(identity, error)
            if self.held(identity):
                self._failures[identity] = self._failures.get(identity, 0) + 1
                self._tell_not_renewed(identity, error)
        else:
            self._failures.pop(identity, None)
            if self.held(identity):
                self.certificates.replace(certificate)
                self._deliver(certificate)
                self._changed.set()
        finally:
            self._renewing.discard(identity)

    def _tell_not_renewed(self, identity: WorkloadIdentity, error: AuthorityError) -> None:
        log.error(
            "certificate not renewed",
            identity=str(identity),
            not_after=self.certificates.get(identity).not_after.isoformat(),
            error=str(error),
        )

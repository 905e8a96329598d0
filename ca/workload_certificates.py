"""One key and certificate per workload identity, renewed at half of their life.

Sans-io: the owner asks `next_deadline()`, sleeps, and rotates what is `due()`. Keys live here and in the SDS secrets
made of them, nowhere else, and are forgotten when the last holder lets go.
"""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from ca.authority import DEFAULT_LIFETIME, Authority, AuthorityError, PrivateKey, key_pem, pem
from ca.identity import WorkloadIdentity

GRACE_RATIO: Final = 0.5  # Istio: SECRET_GRACE_PERIOD_RATIO
GRACE_JITTER: Final = 0.01  # Istio: SECRET_GRACE_PERIOD_RATIO_JITTER; workloads started together drift apart


@dataclass(frozen=True, slots=True)
class IssuedCertificate:
    """A certificate with its chain (leaf first, no root) and its key, both PEM. The key never shows in `repr()`."""

    identity: WorkloadIdentity
    serial: int
    chain_pem: bytes = field(repr=False)
    key_pem: bytes = field(repr=False)
    not_before: datetime
    not_after: datetime
    rotate_at: datetime


class NotHeldError(LookupError):
    """The identity has no holder, hence no certificate: `acquire` it first."""

    def __init__(self, identity: WorkloadIdentity) -> None:
        super().__init__(f"nobody holds a certificate of {identity}")


@dataclass(slots=True)
class _Held:
    certificate: IssuedCertificate
    holders: set[Hashable]


class WorkloadCertificates:
    """The certificates in use. `clock` gives aware datetimes, `rng` the jitter (keys and serials never come of it).

    With `signed_elsewhere` nothing is signed here: whoever has a certificate signed brings it (`made`, `hold`,
    `replace`).
    """

    def __init__(
        self,
        authority: Authority,
        clock: Callable[[], datetime],
        rng: random.Random,
        *,
        lifetime: timedelta = DEFAULT_LIFETIME,
        signed_elsewhere: bool = False,
    ) -> None:
        self._authority = authority
        self._signed_elsewhere = signed_elsewhere
        self._clock = clock
        self._rng = rng
        self._lifetime = lifetime
        self._held: dict[WorkloadIdentity, _Held] = {}
        # (rotate_at, identity); an entry whose certificate was replaced or released is dropped when it surfaces.
        self._schedule: list[tuple[datetime, WorkloadIdentity]] = []

    @property
    def authority(self) -> Authority:
        """What signs."""
        return self._authority

    @property
    def roots_pem(self) -> bytes:
        """The trust bundle of the authority, PEM."""
        return self._authority.roots_pem

    def use(self, authority: Authority) -> None:
        """Sign with `authority` from now on. What another signing certificate signed is due at once."""
        before, self._authority = self._authority, authority
        if self._signed_elsewhere:
            return
        if (before.certificate, before.intermediates) == (authority.certificate, authority.intermediates):
            return
        now = self._clock()
        for identity, held in self._held.items():
            held.certificate = replace(held.certificate, rotate_at=now)
            self._plan(now, identity)

    def acquire(self, identity: WorkloadIdentity, holder: Hashable) -> IssuedCertificate:
        """The certificate of `identity`, issued if `holder` is the first. Holding twice is holding once.

        Raises `AuthorityError` when the authority cannot sign; then nothing is held.
        """
        held = self._held.get(identity)
        if held is None:
            held = self._held[identity] = _Held(self._issue(identity), set())
        held.holders.add(holder)
        return held.certificate

    def made(self, identity: WorkloadIdentity, key: PrivateKey, chain: Sequence[x509.Certificate]) -> IssuedCertificate:
        """A key and the chain that another has signed for it, leaf first, without a root; in use once it is held."""
        leaf, now = chain[0], self._clock()
        grace = GRACE_RATIO + self._rng.uniform(-GRACE_JITTER, GRACE_JITTER)
        return IssuedCertificate(
            identity=identity,
            serial=leaf.serial_number,
            chain_pem=pem(chain),
            key_pem=key_pem(key),
            not_before=leaf.not_valid_before_utc,
            not_after=leaf.not_valid_after_utc,
            rotate_at=leaf.not_valid_after_utc - (leaf.not_valid_after_utc - now) * grace,
        )

    def hold(self, certificate: IssuedCertificate, holder: Hashable) -> IssuedCertificate:
        """Hold a certificate that was `made`, or the one that is in use already."""
        identity = certificate.identity
        held = self._held.get(identity)
        if held is None:
            held = self._held[identity] = _Held(certificate, set())
            self._plan(certificate.rotate_at, identity)
        held.holders.add(holder)
        return held.certificate

    def replace(self, certificate: IssuedCertificate) -> None:
        """Use a certificate that was `made` in place of the one in use. Raises `NotHeldError`."""
        held = self._held.get(certificate.identity)
        if held is None:
            raise NotHeldError(certificate.identity)
        held.certificate = certificate
        self._plan(certificate.rotate_at, certificate.identity)

    def postpone(self, identity: WorkloadIdentity, until: datetime) -> None:
        """Let the certificate in use be due no earlier than `until`. Raises `NotHeldError`."""
        held = self._held.get(identity)
        if held is None:
            raise NotHeldError(identity)
        held.certificate = replace(held.certificate, rotate_at=until)
        self._plan(until, identity)

    def release(self, identity: WorkloadIdentity, holder: Hashable) -> None:
        """`holder` is done. The last one to go takes the key along. Raises `NotHeldError` if it held nothing."""
        held = self._held.get(identity)
        if held is None or holder not in held.holders:
            raise NotHeldError(identity)
        held.holders.discard(holder)
        if not held.holders:
            del self._held[identity]

    def get(self, identity: WorkloadIdentity) -> IssuedCertificate:
        """The certificate in use. Only `rotate` replaces it, so that whoever rotates can tell every holder."""
        held = self._held.get(identity)
        if held is None:
            raise NotHeldError(identity)
        return held.certificate

    def rotate(self, identity: WorkloadIdentity) -> IssuedCertificate:
        """A new key and certificate for `identity`, now, whether due or not.

        Raises `NotHeldError`, and `AuthorityError` when the authority cannot sign; the old one then stays in use.
        """
        held = self._held.get(identity)
        if held is None:
            raise NotHeldError(identity)
        held.certificate = self._issue(identity)
        return held.certificate

    def due(self, now: datetime) -> tuple[WorkloadIdentity, ...]:
        """The identities to rotate at `now`, the longest overdue first. They stay due until they are rotated."""
        due: list[tuple[datetime, WorkloadIdentity]] = []
        while (deadline := self.next_deadline()) is not None and deadline <= now:
            due.append(heapq.heappop(self._schedule))
        for entry in due:
            heapq.heappush(self._schedule, entry)
        return tuple(dict.fromkeys(identity for _, identity in due))

    def next_deadline(self) -> datetime | None:
        """When the next certificate is due; `None` when none is held."""
        while self._schedule:
            rotate_at, identity = self._schedule[0]
            held = self._held.get(identity)
            if held is not None and held.certificate.rotate_at == rotate_at:
                return rotate_at
            heapq.heappop(self._schedule)
        return None

    def _issue(self, identity: WorkloadIdentity) -> IssuedCertificate:
        if self._signed_elsewhere:
            raise AuthorityError(f"no certificate of {identity} has been signed yet")
        now = self._clock()
        key = ec.generate_private_key(ec.SECP256R1())
        dns_name = identity.dns_name
        leaf = self._authority.sign(
            key.public_key(),
            spiffe_ids=(identity.spiffe_id,),
            dns_names=(dns_name,) if dns_name is not None else (),
            now=now,
            lifetime=self._lifetime,
        )
        certificate = self.made(identity, key, (leaf, *self._authority.intermediates))
        self._plan(certificate.rotate_at, identity)
        return certificate

    def _plan(self, rotate_at: datetime, identity: WorkloadIdentity) -> None:
        heapq.heappush(self._schedule, (rotate_at, identity))
        if len(self._schedule) > 2 * len(self._held) + 64:
            # Streams that come and go leave stale entries, which would surface only half a life later.
            self._schedule = [(held.certificate.rotate_at, held_by) for held_by, held in self._held.items()]
            heapq.heapify(self._schedule)
            heapq.heappush(self._schedule, (rotate_at, identity))

"""Changing the CA under running traffic: a new root is trusted everywhere before it signs anything, and an old one is
dropped only when no certificate under it lives.

One frozen value holds the whole state, all replicas of the control plane share it (`ca.store`), and each moves it on
with what it knows. Sans-io: times come from the caller.

steady ──begin──▶ distributing ──every replica reports that its proxies have the bundle──▶ retiring ──▶ steady
"""

from __future__ import annotations

import enum
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from types import MappingProxyType
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from ca.authority import Authority, AuthorityError, issued

OVERLAP: Final = timedelta(minutes=2)
"""Least time between trusting a root and signing with it: a mounted ConfigMap follows its object within a kubelet's
sync period and its cache's delay (Kubernetes: "Mounted ConfigMaps are updated automatically")."""

REPORT_EVERY: Final = timedelta(minutes=1)
LOST_AFTER: Final = timedelta(minutes=3)
"""A replica that has not reported for this long is gone, and its proxies have connected to others."""

RENEW_AT: Final = 0.2
"""What is left of a self-signed root's life when it is replaced (Istio:
CITADEL_SELF_SIGNED_ROOT_CERT_GRACE_PERIOD_PERCENTILE)."""

NO_REPORTS: Final[Mapping[str, Report]] = MappingProxyType({})
_NEVER: Final = datetime.min.replace(tzinfo=UTC)


class Phase(enum.StrEnum):
    steady = "steady"
    distributing = "distributing"
    """A new root is being made known; the old one signs."""
    retiring = "retiring"
    """The new root signs; certificates under the old one still live."""


@dataclass(frozen=True, slots=True)
class Retiring:
    """A root that signs no more. It stays trusted until `until`, when the last certificate under it has expired."""

    root: x509.Certificate
    until: datetime


@dataclass(frozen=True, slots=True)
class Report:
    """What one replica of the control plane last said."""

    at: datetime
    bundle: str
    """Digest of the trust bundle that it gives its proxies."""
    waiting: tuple[str, ...] = ()
    """Proxies that have not confirmed that bundle; some of them if they are many."""


@dataclass(frozen=True, slots=True)
class Rotation:
    """What signs, what is to sign, and what is still trusted."""

    active: Authority
    plugged_in: bool = False
    """It is the operator's own: who wants another one changes the files that it comes from."""
    overlap: timedelta = OVERLAP
    bound: datetime = _NEVER
    """No certificate that the active authority signed lives longer. Runs ahead of what is signed."""
    requested_bound: datetime = _NEVER
    """The same, of those that were signed for a caller who keeps the key (`CreateCertificate`): such a caller learns of
    new roots when it renews, and nobody hears of it."""
    next: Authority | None = None
    since: datetime = _NEVER
    """When the last phase began."""
    wait_until: datetime = _NEVER
    """`next` does not sign before: until then certificates live whose owners have not learned of it."""
    proceed: bool = False
    """Told not to wait any longer for whatever this phase waits for."""
    retiring: tuple[Retiring, ...] = ()
    reports: Mapping[str, Report] = field(default_factory=lambda: NO_REPORTS)

    # -- what follows from it ---------------------------------------------------------------------------------------

    @property
    def phase(self) -> Phase:
        if self.next is not None:
            return Phase.distributing
        return Phase.retiring if self.retiring else Phase.steady

    @property
    def roots(self) -> tuple[x509.Certificate, ...]:
        """The trust bundle: everything that peers must accept now."""
        following = self.next.roots if self.next is not None else ()
        return tuple(dict.fromkeys((*self.active.roots, *following, *(each.root for each in self.retiring))))

    @property
    def bundle(self) -> str:
        """A digest of the trust bundle."""
        return digest(self.roots)

    @property
    def authority(self) -> Authority:
        """What signs now, with the whole trust bundle."""
        return replace(self.active, roots=self.roots)

    def waits_for(self, now: datetime) -> tuple[str, ...]:
        """What keeps this phase from ending, in words; empty when nothing does, or nothing is to end."""
        if self.next is not None:
            return () if self.proceed else tuple(self._distribution_waits_for(now))
        return tuple(
            f"certificates under {name_of(each.root)}, until {each.until.isoformat()}"
            for each in self.retiring
            if each.until > now and not self.proceed
        )

    def _distribution_waits_for(self, now: datetime) -> list[str]:
        found = []
        settled = self.since + self.overlap
        if now < settled:
            found.append(f"files that follow the trust bundle, until {settled.isoformat()}")
        if now < self.wait_until:
            found.append(f"callers of the certificate service to renew, until {self.wait_until.isoformat()}")
        reports = {name: report for name, report in self.reports.items() if not _lost(report, now)}
        if not reports:
            found.append("a control plane: none runs")
        for name, report in sorted(reports.items()):
            if report.bundle != self.bundle:
                found.append(f"control plane {name}")
            found += [f"proxy {proxy} of control plane {name}" for proxy in report.waiting]
        return found

    # -- what happens to it -----------------------------------------------------------------------------------------

    def begin(self, following: Authority, now: datetime) -> Rotation:
        """Go over to `following`: at once if peers already trust exactly what it brings, else after distribution.

        A distribution that is going on is given up: its root has signed nothing.
        """
        if _same(following, self.active):
            return self if self.next is None else replace(self, next=None, since=now, proceed=False)
        if self.next is not None and _same(following, self.next):
            return self
        begun = replace(self, next=following, since=now, proceed=False, wait_until=self.requested_bound)
        known = {*self.active.roots, *(each.root for each in self.retiring)}
        return begun._activate(now) if known.issuperset(following.roots) else begun

    def hurry(self) -> Rotation:
        """Do not wait any longer. Raises `AuthorityError` when nothing is waited for."""
        if self.phase is Phase.steady:
            raise AuthorityError("no rotation is going on")
        return replace(self, proceed=True)

    def cover(self, until: datetime, *, requested: bool = False) -> Rotation:
        """Note that certificates may live until `until`, before the first of them is given away."""
        covered = self if until <= self.bound else replace(self, bound=until)
        if requested and until > covered.requested_bound:
            # While distributing, whoever renews gets the new bundle: only who renewed before must be waited for.
            covered = replace(covered, requested_bound=until)
        return covered

    def heard(self, replica: str, report: Report) -> Rotation:
        """A replica reports."""
        return replace(self, reports=MappingProxyType({**self.reports, replica: report}))

    def left(self, replica: str) -> Rotation:
        """A replica stops."""
        return replace(
            self, reports=MappingProxyType({name: said for name, said in self.reports.items() if name != replica})
        )

    def step(self, now: datetime) -> Rotation:
        """What has become due. Returns self when nothing has."""
        stepped = self
        if any(_lost(report, now) for report in self.reports.values()):
            kept = {name: report for name, report in self.reports.items() if not _lost(report, now)}
            stepped = replace(stepped, reports=MappingProxyType(kept))
        if stepped.next is not None:
            return stepped if stepped.waits_for(now) else stepped._activate(now)
        if stepped.retiring:
            kept_roots = tuple(each for each in stepped.retiring if each.until > now and not stepped.proceed)
            if kept_roots != stepped.retiring:
                since = stepped.since if kept_roots else now
                stepped = replace(stepped, retiring=kept_roots, since=since, proceed=False)
        return stepped

    def _activate(self, now: datetime) -> Rotation:
        following = self.next
        assert following is not None  # noqa: S101 - the callers have seen it
        leaving = (root for root in self.active.roots if root not in following.roots)
        retiring = {each.root: each.until for each in self.retiring if each.root not in following.roots}
        for root in leaving:
            retiring[root] = max(self.bound, retiring.get(root, self.bound))
        return replace(
            self,
            active=following,
            next=None,
            since=now,
            proceed=False,
            bound=now,
            retiring=tuple(Retiring(root, end) for root, end in retiring.items() if end > now),
        )


def renewal_due(active: Authority, now: datetime) -> bool:
    """Whether a self-signed root has so little of its life left that it is to be replaced."""
    root = active.certificate
    life = root.not_valid_after_utc - root.not_valid_before_utc
    return now >= root.not_valid_after_utc - life * RENEW_AT


def digest(roots: Sequence[x509.Certificate]) -> str:
    """A short name for a trust bundle; order does not matter."""
    ders = sorted(root.public_bytes(Encoding.DER) for root in roots)
    return hashlib.sha256(b"".join(ders)).hexdigest()[:16]


def name_of(root: x509.Certificate) -> str:
    """A root for people: subject and the beginning of its fingerprint."""
    fingerprint = hashlib.sha256(root.public_bytes(Encoding.DER)).hexdigest()[:16]
    return f"{root.subject.rfc4514_string() or 'a root'} ({fingerprint})"


def signs_under(authority: Authority) -> x509.Certificate:
    """The root that what `authority` signs leads to."""
    if authority.certificate in authority.roots:
        return authority.certificate
    top = authority.intermediates[-1]
    return next(root for root in authority.roots if issued(top, root))


def _same(one: Authority, other: Authority) -> bool:
    return (one.certificate, one.intermediates, set(one.roots)) == (
        other.certificate,
        other.intermediates,
        set(other.roots),
    )


def _lost(report: Report, now: datetime) -> bool:
    return now - report.at > LOST_AFTER

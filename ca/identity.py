"""Who a workload is: its SPIFFE id and, for metrics, its name.

Both are parsed once, at the edge; behind it every value is known to be well formed.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

# SPIFFE-ID, section 2.1: a trust domain is lower-case letters, digits, dots, dashes and underscores.
_TRUST_DOMAIN = re.compile(r"[a-z0-9._-]{1,255}")
# Kubernetes: a namespace is an RFC 1123 label, service accounts and workloads are RFC 1123 subdomains.
_LABEL = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
_SUBDOMAIN = re.compile(r"(?=.{1,253}\Z)[a-z0-9](?:[a-z0-9.-]*[a-z0-9])?")
# Kubernetes: a label's value. A canonical service may fall back on the workload's name, which may be longer.
_LABEL_VALUE = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,251}[A-Za-z0-9])?")
_URI = re.compile(r"spiffe://([^/]+)/ns/([^/]+)/sa/([^/]+)")

_MAX_DNS_NAME = 253  # RFC 1035, section 2.3.4, without the trailing dot


class InvalidIdentityError(ValueError):
    """A part of an identity is malformed. `str()` names the part and the offending value."""


def is_trust_domain(name: str) -> bool:
    return _TRUST_DOMAIN.fullmatch(name) is not None


def _require(pattern: re.Pattern[str], part: str, value: str) -> None:
    if not pattern.fullmatch(value):
        raise InvalidIdentityError(f"{part} {value!r} is malformed")


@dataclass(frozen=True, slots=True, order=True)
class SpiffeId:
    """`spiffe://<trust domain>/ns/<namespace>/sa/<service account>` (Istio: pkg/spiffe/spiffe.go).

    Raises `InvalidIdentityError` when a part is malformed: a value of this type is always a valid id.
    """

    trust_domain: str
    namespace: str
    service_account: str

    def __post_init__(self) -> None:
        _require(_TRUST_DOMAIN, "trust domain", self.trust_domain)
        _require(_LABEL, "namespace", self.namespace)
        _require(_SUBDOMAIN, "service account", self.service_account)

    @classmethod
    def parse(cls, uri: str) -> SpiffeId:
        """The id that `uri` spells; `InvalidIdentityError` unless it is exactly of the form above."""
        match = _URI.fullmatch(uri)
        if match is None:
            raise InvalidIdentityError(f"{uri!r} is not spiffe://<trust domain>/ns/<namespace>/sa/<service account>")
        return cls(*match.groups())

    def __str__(self) -> str:
        return f"spiffe://{self.trust_domain}/ns/{self.namespace}/sa/{self.service_account}"


@dataclass(frozen=True, slots=True, order=True)
class WorkloadIdentity:
    """What one certificate is issued to: a service account, and the workload (Deployment, …) that runs as it.

    Only `spiffe_id` is an identity that policies may test. The rest is there so that a server can describe its peer in
    metrics, on TCP too, where no header can carry it. Labels are Kubernetes' or empty; raises `InvalidIdentityError`
    for a malformed part.
    """

    spiffe_id: SpiffeId
    workload: str
    app: str = ""
    version: str = ""
    canonical_service: str = ""
    canonical_revision: str = ""
    cluster: str = ""

    def __post_init__(self) -> None:
        _require(_SUBDOMAIN, "workload name", self.workload)
        for tag, value in self._described():
            _require(_LABEL_VALUE, f"label {tag!r}", value)

    @property
    def dns_name(self) -> str | None:
        """The workload as one DNS name: `~w.<workload>.~a.<app>.~v.<version>.~.wl.<trust domain>`.

        Each value stands between its tag and the next one; neither names nor label values can hold a tilde, so a
        reader needs no more than `~<tag>[.]([^~]+)[.]~`, dots in values or not. It is one name, since CEL in Envoy sees
        only a certificate's first. `~s`, `~r` (canonical service and revision, where they are not the app and the
        version) and `~c` (cluster) follow `~v`. What would make it longer than a DNS name may be is left out, from the
        end; `None` when not even the workload fits.
        """
        described = [("w", self.workload), *self._described()]
        while described:
            tagged = ".".join(f"~{tag}.{value}" for tag, value in described)
            name = f"{tagged}.~.wl.{self.spiffe_id.trust_domain}"
            if len(name) <= _MAX_DNS_NAME:
                return name
            described.pop()
        return None

    def _described(self) -> list[tuple[str, str]]:
        listed = (
            ("a", self.app),
            ("v", self.version),
            ("s", self.canonical_service if self.canonical_service != self.app else ""),
            ("r", self.canonical_revision if self.canonical_revision != self.version else ""),
            ("c", self.cluster),
        )
        return [(tag, value) for tag, value in listed if value]

    def __str__(self) -> str:
        return f"{self.spiffe_id} ({self.workload})"

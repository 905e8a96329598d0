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
_URI = re.compile(r"spiffe://([^/]+)/ns/([^/]+)/sa/([^/]+)")

_MAX_DNS_NAME = 253  # RFC 1035, section 2.3.4, without the trailing dot


class InvalidIdentityError(ValueError):
    """A part of an identity is malformed. `str()` names the part and the offending value."""


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

    Only `spiffe_id` is an identity that policies may test. The workload's name is there so that a server can name
    its peer in metrics, on TCP too, where no header can carry it.
    """

    spiffe_id: SpiffeId
    workload: str

    def __post_init__(self) -> None:
        _require(_SUBDOMAIN, "workload name", self.workload)

    @property
    def dns_name(self) -> str | None:
        """`<workload>.<namespace>.wl.<trust domain>`; `None` when that is too long to be a DNS name."""
        name = f"{self.workload}.{self.spiffe_id.namespace}.wl.{self.spiffe_id.trust_domain}"
        return name if len(name) <= _MAX_DNS_NAME else None

    def __str__(self) -> str:
        return f"{self.spiffe_id} ({self.workload})"

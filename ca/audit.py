"""What the CA did and what it refused: a log line and a count for each (Istio: security/pkg/server/ca/monitoring.go).

Lines name who, what, for how long and for whom. Keys, tokens and signing requests are never in them.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Final

import structlog
from cryptography import x509
from prometheus_client import CollectorRegistry, Counter
from prometheus_client.core import Metric, UnknownMetricFamily
from prometheus_client.registry import Collector

from ca.workload_certificates import IssuedCertificate

log = structlog.get_logger("ca")


class Refusal(enum.StrEnum):
    """Why a certificate was not issued; the value is Istio's counter of it."""

    unauthenticated = "authentication_failure_count"
    no_identity = "id_extraction_err_count"
    """The caller has no identity, or not the one that it wants a certificate of."""
    malformed_request = "csr_parsing_err_count"
    cannot_sign = "csr_sign_err_count"


_REQUESTS: Final = "csr_count"
_ISSUED: Final = "success_cert_issuance_count"
_COUNTED: Final = {
    _REQUESTS: "Signing requests received.",
    _ISSUED: "Certificates issued on request.",
    Refusal.unauthenticated: "Callers that proved nothing.",
    Refusal.no_identity: "Callers without the identity that they want a certificate of.",
    Refusal.malformed_request: "Signing requests that cannot be used.",
    Refusal.cannot_sign: "Signing requests that could not be signed.",
}


class _Counts(Collector):
    """Counters whose names have no `_total`, as Istio's dashboards ask for them: exposed as untyped."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._counts = dict.fromkeys(map(str, _COUNTED), 0)
        registry.register(self)

    def add(self, name: str) -> None:
        self._counts[name] += 1

    def collect(self) -> Iterator[Metric]:
        for name, documentation in _COUNTED.items():
            yield UnknownMetricFamily(f"citadel_server_{name}", documentation, self._counts[name])


class Audit:
    """Counts into `registry`."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._counts = _Counts(registry)
        self._delivered = Counter(
            "dragoman_ca_certificates_delivered",
            "Certificates issued with a key of the control plane's, for proxies.",
            registry=registry,
        )

    def requested(self) -> None:
        """A signing request came."""
        self._counts.add(_REQUESTS)

    def issued(self, leaf: x509.Certificate, identities: Sequence[str], *, caller: str, source: str) -> None:
        """A certificate was issued on request."""
        self._counts.add(_ISSUED)
        described = _described(leaf.serial_number, leaf.not_valid_before_utc, leaf.not_valid_after_utc)
        log.info("certificate issued", caller=caller, source=source, identities=list(identities), **described)

    def delivered(self, certificate: IssuedCertificate) -> None:
        """A certificate was made for a proxy, together with its key."""
        self._delivered.inc()
        log.info(
            "certificate issued",
            caller=str(certificate.identity),
            source="sds",
            identities=[str(certificate.identity.spiffe_id)],
            **_described(certificate.serial, certificate.not_before, certificate.not_after),
        )

    def refused(self, why: Refusal, reason: str, *, caller: str = "", source: str = "", peer: str = "") -> None:
        """A request was refused. `reason` is for people and quotes nothing secret."""
        self._counts.add(why)
        log.warning("certificate refused", why=why.name, reason=reason, caller=caller, source=source, peer=peer)


def _described(serial: int, not_before: datetime, not_after: datetime) -> dict[str, object]:
    return {
        "serial": f"{serial:x}",
        "lifetime_seconds": round((not_after - not_before).total_seconds()),
        "not_after": not_after.isoformat(),
    }

"""What the CA did and what it refused: a log line and a count for each (Istio: security/pkg/server/ca/monitoring.go).

Lines name who, what, for how long and for whom. Keys, tokens and signing requests are never in them.
"""

from __future__ import annotations

import enum
from collections.abc import Sequence
from datetime import datetime

import structlog
from cryptography import x509
from prometheus_client import CollectorRegistry, Counter

from ca.workload_certificates import IssuedCertificate

log = structlog.get_logger("ca")


class Refusal(enum.StrEnum):
    """Why a certificate was not issued; the value is Istio's counter of it."""

    unauthenticated = "authentication_failure"
    no_identity = "id_extraction_err"
    """The caller has no identity, or not the one that it wants a certificate of."""
    malformed_request = "csr_parsing_err"
    cannot_sign = "csr_sign_err"


class Audit:
    """Counts into `registry`."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._requests = Counter("citadel_server_csr_count", "Signing requests received.", registry=registry)
        self._issued = Counter(
            "citadel_server_success_cert_issuance_count", "Certificates issued on request.", registry=registry
        )
        self._refused = {
            Refusal.unauthenticated: Counter(
                "citadel_server_authentication_failure_count", "Callers that proved nothing.", registry=registry
            ),
            Refusal.no_identity: Counter(
                "citadel_server_id_extraction_err_count",
                "Callers without the identity that they want a certificate of.",
                registry=registry,
            ),
            Refusal.malformed_request: Counter(
                "citadel_server_csr_parsing_err_count", "Signing requests that cannot be used.", registry=registry
            ),
            Refusal.cannot_sign: Counter(
                "citadel_server_csr_sign_err_count", "Signing requests that could not be signed.", registry=registry
            ),
        }
        self._delivered = Counter(
            "dragoman_ca_certificates_delivered",
            "Certificates issued with a key of the control plane's, for proxies.",
            registry=registry,
        )

    def requested(self) -> None:
        """A signing request came."""
        self._requests.inc()

    def issued(self, leaf: x509.Certificate, identities: Sequence[str], *, caller: str, source: str) -> None:
        """A certificate was issued on request."""
        self._issued.inc()
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
        self._refused[why].inc()
        log.warning("certificate refused", why=why.name, reason=reason, caller=caller, source=source, peer=peer)


def _described(serial: int, not_before: datetime, not_after: datetime) -> dict[str, object]:
    return {
        "serial": f"{serial:x}",
        "lifetime_seconds": round((not_after - not_before).total_seconds()),
        "not_after": not_after.isoformat(),
    }

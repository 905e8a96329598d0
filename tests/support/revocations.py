"""Revocation lists as an authority publishes them."""

from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes

from ca.authority import Authority


def revocations(authority: Authority, *serials: int, hours: int = 24) -> x509.CertificateRevocationList:
    """What revokes these serial numbers, an hour old and good for so many more."""
    now = datetime.now(UTC)
    builder = x509.CertificateRevocationListBuilder().issuer_name(authority.certificate.subject)
    builder = builder.last_update(now - timedelta(hours=1)).next_update(now + timedelta(hours=hours))
    for serial in serials:
        entry = x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(now).build()
        builder = builder.add_revoked_certificate(entry)
    return builder.sign(authority.key, hashes.SHA256())

"""Roots by trust domain: whoever signs for one must not be able to sign in the name of another.

One bundle says who may sign, not for whom. Where roots of several trust domains meet, the name that a certificate
shows decides which of them it is verified with (SPIFFE: Trust Domain and Bundle, section 3; Envoy:
SPIFFECertValidatorConfig).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from ca.authority import issued, pem


class MixedDomainsError(ValueError):
    """What our own certificates are verified with does not allow for trust domains apart; `str()` says why."""


def domain_bundles(
    own: Iterable[str],
    roots: Sequence[x509.Certificate],
    named: Mapping[str, Sequence[x509.Certificate]],
    *,
    intermediates: Sequence[x509.Certificate] = (),
    revoked: Mapping[x509.Name, x509.CertificateRevocationList] | None = None,
) -> dict[str, bytes]:
    """PEM of roots and revocation lists by trust domain; one without roots has none.

    `roots` are good for every one of our `own` trust domains, those in `named` for one, ours or another's.
    `intermediates` lead from leaves to `roots`; `revoked` are revocation lists by issuer.

    Envoy refuses certificates under a root in `named` for one of ours that has no list while there are any.

    Raises `MixedDomainsError` where Envoy would refuse our own certificates. Unlike with one bundle (Envoy:
    SPIFFEValidator) a chain must end in a self-signed root, and with lists every CA of it needs one, be it empty.
    """
    if any(not issued(root, root) for root in roots):
        raise MixedDomainsError("a root of ours is not self-signed")
    lists = revoked or {}
    if lists:
        missing = [ca.subject for ca in (*intermediates, *roots) if ca.subject not in lists]
        if missing:
            raise MixedDomainsError(f"there is no revocation list of {missing[0].rfc4514_string()!r}, nor an empty one")
    ours = pem(roots) + b"".join(each.public_bytes(Encoding.PEM) for each in lists.values())
    bundles = dict.fromkeys(own, ours)
    for domain, further in named.items():
        fresh = tuple(root for root in dict.fromkeys(further) if domain not in bundles or root not in roots)
        bundles[domain] = bundles.get(domain, b"") + pem(fresh)
    return {domain: bundles[domain] for domain in sorted(bundles) if bundles[domain]}

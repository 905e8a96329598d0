"""A signer elsewhere: what it is asked for, and what of its answers is believed.

A private key never goes to it. Peers of a workload judge its certificate by its roots and names, so both are judged
here before anybody is given it (Istio: security/pkg/pki/ra, an external CA behind a registration authority).
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Final, Protocol

from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID

from ca.authority import BACKDATE, AuthorityError, PublicKey, accept_key, issued
from ca.identity import SpiffeId

SLACK: Final = timedelta(minutes=10)
"""How much longer than asked for a certificate may live: signers round, and their clocks differ from ours."""


class SignerError(AuthorityError):
    """The signer has not signed, or not what it was asked for. `str()` says why."""


class Signer(Protocol):
    """Whoever signs."""

    async def sign(self, csr_pem: bytes, *, lifetime: timedelta) -> bytes:
        """The chain (PEM, leaf first) for a signing request whose names have been verified. Raises `SignerError`."""


def verified(
    chain_pem: bytes,
    *,
    key: PublicKey,
    spiffe_ids: Sequence[SpiffeId],
    roots: Sequence[x509.Certificate],
    now: datetime,
    lifetime: timedelta,
) -> tuple[x509.Certificate, ...]:
    """The chain that a signer has answered with: the leaf and its intermediates, without a root.

    The leaf is for `key`, names `spiffe_ids` and nobody else, is good for both sides of TLS, lives now and not much
    longer than asked for, and leads to one of `roots`. Raises `SignerError` for anything else.
    """
    try:
        chain = x509.load_pem_x509_certificates(chain_pem)
    except (ValueError, x509.InvalidVersion):
        raise SignerError("the signer answered with no PEM of certificates") from None
    leaf, *others = chain
    _require_key(leaf, key)
    _require_names(leaf, {str(each) for each in spiffe_ids})
    _require_leaf(leaf)
    if leaf.not_valid_after_utc > now + lifetime + SLACK:
        raise SignerError(
            f"the signer's certificate lives until {leaf.not_valid_after_utc.isoformat()}, longer than the {lifetime} "
            "that were asked for: have it heed expirationSeconds, or ask for more"
        )
    if not roots:
        raise SignerError(
            "no root of the signer is known: give --signer-roots, or caCertificates in the mesh's settings"
        )
    path = (leaf, *(each for each in others if each not in roots))
    for certificate in path:
        _require_living(certificate, now)
    for certificate, issuer in pairwise(path):
        _require_issuer(issuer)
        if not issued(certificate, issuer):
            raise SignerError(f"the signer's chain is out of order: {_name(issuer)} did not issue {_name(certificate)}")
    if not any(issued(path[-1], root) for root in roots if root.not_valid_after_utc > now):
        raise SignerError(f"no trusted root issued {_name(path[-1])}, which was signed by {_issuer(path[-1])}")
    return path


def _require_key(leaf: x509.Certificate, key: PublicKey) -> None:
    if accept_key(leaf.public_key()) != key:
        raise SignerError("the signer's certificate is for another key")


def _require_names(leaf: x509.Certificate, wanted: set[str]) -> None:
    try:
        names = list(leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value)
    except x509.ExtensionNotFound:
        names = []
    given = {name.value for name in names if isinstance(name, x509.UniformResourceIdentifier)}
    foreign = [name for name in names if not isinstance(name, x509.UniformResourceIdentifier)]
    if given != wanted or foreign:
        said = ", ".join([*sorted(given), *(str(name.value) for name in foreign)]) or "nobody"
        raise SignerError(f"the signer's certificate names {said}, not {', '.join(sorted(wanted))}")


def _require_leaf(leaf: x509.Certificate) -> None:
    try:
        if leaf.extensions.get_extension_for_class(x509.BasicConstraints).value.ca:
            raise SignerError("the signer's certificate is a CA's")
    except x509.ExtensionNotFound:
        pass
    try:
        usages = leaf.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except x509.ExtensionNotFound:
        return  # RFC 5280, section 4.2.1.12: for any purpose
    missing = [
        word
        for usage, word in (
            (ExtendedKeyUsageOID.SERVER_AUTH, "server auth"),
            (ExtendedKeyUsageOID.CLIENT_AUTH, "client auth"),
        )
        if usage not in usages
    ]
    if missing:
        raise SignerError(f"the signer's certificate is not for {' nor '.join(missing)}")


def _require_living(certificate: x509.Certificate, now: datetime) -> None:
    if certificate.not_valid_before_utc > now + BACKDATE:
        raise SignerError(f"{_name(certificate)} is valid only from {certificate.not_valid_before_utc.isoformat()} on")
    if certificate.not_valid_after_utc <= now:
        raise SignerError(f"{_name(certificate)} has expired at {certificate.not_valid_after_utc.isoformat()}")


def _require_issuer(certificate: x509.Certificate) -> None:
    try:
        if certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca:
            return
    except x509.ExtensionNotFound:
        pass
    raise SignerError(f"{_name(certificate)} in the signer's chain is no CA")


def _name(certificate: x509.Certificate) -> str:
    return repr(certificate.subject.rfc4514_string()) if certificate.subject.rdns else "the signer's certificate"


def _issuer(certificate: x509.Certificate) -> str:
    return repr(certificate.issuer.rfc4514_string())

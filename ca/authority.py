"""The certificate authority: a CA certificate, its key, and the pure act of signing."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address, IPv6Address
from itertools import pairwise
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from ca.identity import SpiffeId

PrivateKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey
PublicKey = ec.EllipticCurvePublicKey | rsa.RSAPublicKey

ROOT_LIFETIME: Final = timedelta(days=3650)  # Istio: CITADEL_SELF_SIGNED_CA_CERT_TTL
DEFAULT_LIFETIME: Final = timedelta(hours=24)  # Istio: DEFAULT_WORKLOAD_CERT_TTL
MAX_LIFETIME: Final = timedelta(days=90)  # Istio: MAX_WORKLOAD_CERT_TTL
MIN_LIFETIME: Final = timedelta(seconds=1)  # X.509 counts in seconds
BACKDATE: Final = timedelta(minutes=2)  # Istio: security/pkg/pki/util/generate_cert.go; peers' clocks may lag ours

_MIN_RSA_BITS = 2048
_MAX_RSA_BITS = 8192
_CURVES = (ec.SECP256R1, ec.SECP384R1)  # what Envoy's TLS accepts


class AuthorityError(ValueError):
    """The authority cannot be used, or cannot sign what was asked. `str()` says why and what to do."""


@dataclass(frozen=True, slots=True)
class Authority:
    """A root or intermediate CA.

    `certificate` signs; `intermediates` lead from it towards the root and are sent after every leaf, the signing
    certificate itself first if it is no root; `roots` is the trust bundle. Raises `AuthorityError` when the parts do
    not belong together, so that a broken bundle is found at the start and not by the first peer.
    """

    certificate: x509.Certificate
    key: PrivateKey = field(repr=False, compare=False)  # the certificate has its public half
    roots: tuple[x509.Certificate, ...]
    intermediates: tuple[x509.Certificate, ...] = ()

    def __post_init__(self) -> None:
        if self.certificate.public_key() != self.key.public_key():
            raise AuthorityError("the CA key does not belong to the CA certificate")
        accept_key(self.key.public_key())
        if not self.roots:
            raise AuthorityError("the trust bundle holds no root certificate")
        for certificate in (self.certificate, *self.intermediates, *self.roots):
            _require_ca(certificate)
        if self.certificate not in self.roots:
            if self.intermediates[:1] != (self.certificate,):
                raise AuthorityError("the certificate chain does not start with the CA certificate")
            _verify_path(self.intermediates, self.roots)

    @property
    def not_after(self) -> datetime:
        """When the first certificate of the path to the root expires: nothing signed may outlive it."""
        return min(c.not_valid_after_utc for c in (self.certificate, *self.intermediates))

    @property
    def intermediates_pem(self) -> bytes:
        """What follows a leaf in its chain, PEM; empty when a root signs."""
        return pem(self.intermediates)

    @property
    def roots_pem(self) -> bytes:
        """The trust bundle, PEM."""
        return pem(self.roots)

    def sign(
        self,
        public_key: PublicKey,
        *,
        spiffe_ids: Sequence[SpiffeId] = (),
        dns_names: Sequence[str] = (),
        ip_addresses: Sequence[IPv4Address | IPv6Address] = (),
        now: datetime,
        lifetime: timedelta = DEFAULT_LIFETIME,
        serial: int | None = None,
    ) -> x509.Certificate:
        """A leaf certificate for `public_key`, valid from two minutes before `now` until `now + lifetime`.

        The names come from the caller, who has verified them; nothing a client wrote into a signing request gets
        here. The life ends with the authority's own when that is earlier. `serial` defaults to 128 random bits.
        Raises `AuthorityError` for a lifetime out of limits, an unusable key, no name at all, or an authority that
        has expired.
        """
        accept_key(public_key)
        if not (spiffe_ids or dns_names or ip_addresses):
            raise AuthorityError("a certificate must name somebody")
        if lifetime > MAX_LIFETIME:
            raise AuthorityError(f"lifetime {lifetime} exceeds the limit of {MAX_LIFETIME}")
        if lifetime < MIN_LIFETIME:
            raise AuthorityError(f"lifetime {lifetime} is below the minimum of {MIN_LIFETIME}")
        now = now.astimezone(UTC).replace(microsecond=0)
        not_after = min(now + lifetime, self.not_after)
        if not_after - now < MIN_LIFETIME:
            raise AuthorityError(f"the CA certificate expires at {self.not_after.isoformat()}: renew it")

        names: list[x509.GeneralName] = [x509.UniformResourceIdentifier(str(spiffe_id)) for spiffe_id in spiffe_ids]
        names += [x509.DNSName(name) for name in dns_names]
        names += [x509.IPAddress(address) for address in ip_addresses]
        builder = (
            x509.CertificateBuilder()
            .issuer_name(self.certificate.subject)
            .subject_name(x509.Name([]))
            .public_key(public_key)
            .serial_number(serial if serial is not None else random_serial())
            .not_valid_before(max(now - BACKDATE, self.certificate.not_valid_before_utc))
            .not_valid_after(not_after)
            # RFC 5280, section 4.2.1.6: critical, because the subject is empty.
            .add_extension(x509.SubjectAlternativeName(names), critical=True)
            .add_extension(_key_usage(encipherment=isinstance(public_key, rsa.RSAPublicKey)), critical=True)
            .add_extension(
                x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]),
                critical=False,
            )
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_authority_key_identifier(self.certificate), critical=False)
        )
        return builder.sign(self.key, _hash_for(self.key))


def new_root(
    trust_domain: str,
    *,
    now: datetime,
    lifetime: timedelta = ROOT_LIFETIME,
    key: PrivateKey | None = None,
) -> Authority:
    """A self-signed root for `trust_domain`, with a new EC P-256 key unless one is given.

    A root renewed on its old key verifies what the old root signed (Istio: GenRootCertFromExistingKey).
    """
    key = key if key is not None else ec.generate_private_key(ec.SECP256R1())
    now = now.astimezone(UTC).replace(microsecond=0)
    name = x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, trust_domain)])
    public_key = key.public_key()
    certificate = (
        x509.CertificateBuilder()
        .issuer_name(name)
        .subject_name(name)
        .public_key(public_key)
        .serial_number(random_serial())
        .not_valid_before(now - BACKDATE)
        .not_valid_after(now + lifetime)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(_key_usage(ca=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
        .sign(key, _hash_for(key))
    )
    return Authority(certificate, key, roots=(certificate,))


def random_serial() -> int:
    """128 random bits, never zero (RFC 5280, section 4.1.2.2: positive, at most 20 octets)."""
    return secrets.randbits(128) or 1


def pem(certificates: Sequence[x509.Certificate]) -> bytes:
    """`certificates`, one after the other, as PEM."""
    return b"".join(certificate.public_bytes(Encoding.PEM) for certificate in certificates)


def key_pem(key: PrivateKey) -> bytes:
    """`key`, unencrypted, as PEM. Not to be logged."""
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def accept_key(key: object) -> PublicKey:
    """`key`, if certificates may be issued to it and Envoy can use them. Raises `AuthorityError`."""
    if isinstance(key, ec.EllipticCurvePublicKey):
        if not isinstance(key.curve, _CURVES):
            raise AuthorityError(f"curve {key.curve.name} is not supported: use P-256 or P-384")
    elif isinstance(key, rsa.RSAPublicKey):
        if key.key_size < _MIN_RSA_BITS:
            raise AuthorityError(f"an RSA key of {key.key_size} bits is too weak: use at least {_MIN_RSA_BITS}")
        if key.key_size > _MAX_RSA_BITS:
            raise AuthorityError(f"an RSA key of {key.key_size} bits is too slow: use at most {_MAX_RSA_BITS}")
    else:
        raise AuthorityError(f"a key of type {type(key).__name__} is not supported: use EC or RSA")
    return key


def _require_ca(certificate: x509.Certificate) -> None:
    try:
        is_ca = certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except x509.ExtensionNotFound:
        is_ca = False
    if not is_ca:
        raise AuthorityError(f"{certificate.subject.rfc4514_string()!r} is not a CA certificate")


def _verify_path(path: Sequence[x509.Certificate], roots: Sequence[x509.Certificate]) -> None:
    for certificate, issuer in pairwise(path):
        if not issued(certificate, issuer):
            raise AuthorityError(f"{_subject(issuer)} did not issue {_subject(certificate)}: the chain is out of order")
    if not any(issued(path[-1], root) for root in roots):
        raise AuthorityError(f"no root of the trust bundle issued {_subject(path[-1])}")


def issued(certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
    """Whether `issuer` signed `certificate`, by names and signature."""
    try:
        certificate.verify_directly_issued_by(issuer)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


def _subject(certificate: x509.Certificate) -> str:
    return repr(certificate.subject.rfc4514_string())


def _authority_key_identifier(issuer: x509.Certificate) -> x509.AuthorityKeyIdentifier:
    try:
        subject_key = issuer.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    except x509.ExtensionNotFound:
        return x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer.public_key())  # type: ignore[arg-type]
    return x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(subject_key)


def _key_usage(*, encipherment: bool = False, ca: bool = False) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not ca,
        key_encipherment=encipherment,
        key_cert_sign=ca,
        crl_sign=ca,
        content_commitment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _hash_for(key: PrivateKey) -> hashes.SHA256 | hashes.SHA384:
    strong = isinstance(key, ec.EllipticCurvePrivateKey) and isinstance(key.curve, ec.SECP384R1)
    return hashes.SHA384() if strong else hashes.SHA256()

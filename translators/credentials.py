"""Kubernetes Secrets, ConfigMaps and ClusterTrustBundles → SDS secrets, for servers of gateways and for clients.

Key layouts: `tls.crt`, `tls.key`, `tls.ocsp-staple`, `ca.crt` and `ca.crl` (Kubernetes' own), or `cert`, `key`,
`cacert` and `crl` (Istio: pilot/pkg/credentials/kube/secrets.go). What Envoy would reject is found here, where it can
be said of which key of which object.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key
from cryptography.x509 import ocsp
from envoy_data_plane.envoy.config.core.v3 import DataSource
from envoy_data_plane.envoy.extensions.transport_sockets.tls.v3 import (
    CertificateValidationContext,
    TlsCertificate,
)
from envoy_data_plane.envoy.extensions.transport_sockets.tls.v3 import (
    Secret as SecretMessage,
)

from crds.kubernetes.clustertrustbundle import ClusterTrustBundle
from crds.kubernetes.configmap import ConfigMap
from crds.kubernetes.secret import Secret
from crds.meta import ObjectKey
from dragoman.codec import Encoded
from dragoman.mesh.credentials import CA_SUFFIX, holders

Holder = Secret | ConfigMap | ClusterTrustBundle

_NEVER = datetime.max.replace(tzinfo=UTC)
_END_OF_CRL = b"-----END X509 CRL-----"
_SMALLEST_RSA = 2048
_CURVES = ("secp256r1", "secp384r1", "secp521r1")


class CredentialError(ValueError):
    """An object that holds no usable credential; the text says what is wrong with it, and never its content.

    `data` is the key of the object's data that is to be repaired, empty where one is missing.
    """

    def __init__(self, held_by: ObjectKey, data: str, message: str, remedy: str) -> None:
        super().__init__(message)
        self.held_by = held_by
        self.data = data
        self.message = message
        self.remedy = remedy


@dataclass(frozen=True, slots=True)
class Credential:
    """An SDS secret, and the time in which everybody finds it valid."""

    secret: Encoded
    held_by: ObjectKey
    data: str
    """The key of the object's data that the certificates stand in."""
    not_before: datetime
    not_after: datetime
    revocation: Revocation | None = None

    def valid_at(self, now: datetime) -> bool:
        """Whether its certificates are; of an authority at least one."""
        return self.not_before <= now <= self.not_after

    def changes_between(self, before: datetime, now: datetime) -> bool:
        """Whether something in it became valid, or ceased to be."""
        limits = (self.not_before, self.not_after, *((self.revocation.next_update,) if self.revocation else ()))
        return any(before < limit <= now for limit in limits)


@dataclass(frozen=True, slots=True)
class Revocation:
    """Revocation lists that go with an authority. They are used even if incomplete or out of date: neither does anybody
    get in who is revoked, nor anybody whose issuer has no current list (OpenSSL: X509_V_FLAG_CRL_CHECK)."""

    data: str
    next_update: datetime
    missing: tuple[str, ...]
    """Authorities of the bundle that have no list."""


def credential(name: str, namespace: str, find: Callable[[ObjectKey], object]) -> Credential | None:
    """The SDS secret `name` for proxies of a namespace; `find` looks objects up. None where no object is there for it.

    Raises `CredentialError` where the object lacks a key, or what it holds is nothing that Envoy could use.
    """
    for key in holders(name, namespace):
        found = find(key)
        if isinstance(found, Holder):
            return _authority(name, found) if name.endswith(CA_SUFFIX) else _certificate(name, found)
    return None


def _authority(name: str, holder: Holder) -> Credential:
    data, bundle = _first(holder, "cacert", "ca.crt")
    if bundle is None:
        raise CredentialError(holder.key, "", "it has neither ca.crt nor cacert", "add the CA's certificates as ca.crt")
    roots = _certificates(holder, data, bundle)
    message = CertificateValidationContext(trusted_ca=DataSource(inline_bytes=bundle))
    # Roots are there to be replaced: as long as one is good, others may be over.
    begins, ends = min(root.not_valid_before_utc for root in roots), max(root.not_valid_after_utc for root in roots)
    revocation = None
    crl_data, crl = _first(holder, "crl", "ca.crl")
    if crl is not None:
        message.crl = DataSource(inline_bytes=crl)
        revocation = _revocation(holder, crl_data, crl, roots)
    secret = Encoded.of(SecretMessage(name=name, validation_context=message))
    return Credential(secret, holder.key, data, begins, ends, revocation)


def _certificate(name: str, holder: Holder) -> Credential:
    if not isinstance(holder, Secret):
        message, remedy = f"a {holder.kind} holds no private keys", "name a Secret, or this as authority only"
        raise CredentialError(holder.key, "", message, remedy)
    for data, key_data in (("cert", "key"), ("tls.crt", "tls.key")):
        chain, key = holder.value(data), holder.value(key_data)
        if chain and key:
            break
    else:
        raise CredentialError(holder.key, "", "it lacks tls.crt and tls.key (or cert and key)", "add both of them")
    certificates = _certificates(holder, data, chain)
    _check_key(holder, certificates, data, key, key_data)
    tls = TlsCertificate(certificate_chain=DataSource(inline_bytes=chain), private_key=DataSource(inline_bytes=key))
    staple = holder.value("tls.ocsp-staple")
    if staple:
        _check_staple(holder, staple, certificates[0])
        tls.ocsp_staple = DataSource(inline_bytes=staple)
    begins = max(each.not_valid_before_utc for each in certificates)
    ends = min(each.not_valid_after_utc for each in certificates)
    return Credential(Encoded.of(SecretMessage(name=name, tls_certificate=tls)), holder.key, data, begins, ends)


def _first(holder: Holder, *keys: str) -> tuple[str, bytes | None]:
    """The first of these keys that has a value."""
    for key in keys:
        value = _value(holder, key)
        if value:
            return key, value
    return "", None


def _value(holder: Holder, key: str) -> bytes | None:
    match holder:
        case Secret():
            return holder.value(key)
        case ConfigMap():
            return holder.data.get(key, "").encode()
        case ClusterTrustBundle():
            return holder.spec.trust_bundle.encode() if key == "ca.crt" else None


def _certificates(holder: Holder, data: str, pem: bytes) -> list[x509.Certificate]:
    try:
        return x509.load_pem_x509_certificates(pem)
    except (ValueError, x509.InvalidVersion):
        message = "it holds something that is no PEM certificate"
        raise CredentialError(
            holder.key, data, message, "write -----BEGIN CERTIFICATE----- blocks, leaf first"
        ) from None


def _check_key(holder: Holder, chain: list[x509.Certificate], data: str, key: bytes, key_data: str) -> None:
    try:
        # Its primes are not tested, which takes 40 to 260 ms a key: it is not used here, and Envoy checks it again.
        private = load_pem_private_key(key, None, unsafe_skip_rsa_key_validation=True)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        message = "it holds something that is no unencrypted PEM private key"
        raise CredentialError(holder.key, key_data, message, "write the key without a passphrase, as PEM") from None
    try:
        certified = [_spki(each.public_key()) for each in chain]
    except (ValueError, UnsupportedAlgorithm):
        message = "a certificate in it is for a kind of key that is not known"
        raise CredentialError(holder.key, data, message, "issue a certificate for an RSA or EC key") from None
    own = _spki(private.public_key())
    if own != certified[0]:
        if own in certified[1:]:
            message, remedy = "the certificate of the key is not the first of the chain", "put the leaf before its CAs"
            raise CredentialError(holder.key, data, message, remedy)
        message = "the key does not belong to the certificate"
        raise CredentialError(holder.key, key_data, message, "replace both together")
    weak = _too_weak(private.public_key())
    if weak:
        raise CredentialError(holder.key, key_data, weak, "issue a certificate for another key")


def _too_weak(public: Any) -> str:
    """Why Envoy does not take a key (Envoy: ContextImpl), empty if it does."""
    if isinstance(public, rsa.RSAPublicKey) and public.key_size < _SMALLEST_RSA:
        return f"a key of RSA with {public.key_size} bits: proxies take {_SMALLEST_RSA} or more"
    if isinstance(public, ec.EllipticCurvePublicKey) and public.curve.name not in _CURVES:
        return f"a key on curve {public.curve.name}: proxies take P-256, P-384 and P-521"
    return ""


def _revocation(holder: Holder, data: str, pem: bytes, roots: Iterable[x509.Certificate]) -> Revocation:
    blocks = pem.split(_END_OF_CRL)[:-1]
    try:
        lists = [x509.load_pem_x509_crl(block + _END_OF_CRL) for block in blocks]
    except (ValueError, x509.InvalidVersion):
        lists = []
    if not lists:
        message = "it holds something that is no PEM certificate revocation list"
        raise CredentialError(holder.key, data, message, "write -----BEGIN X509 CRL----- blocks") from None
    without = {root.subject for root in roots} - {each.issuer for each in lists}
    ends = min(each.next_update_utc or _NEVER for each in lists)
    return Revocation(data, ends, tuple(sorted(name.rfc4514_string() for name in without)))


def _check_staple(holder: Holder, staple: bytes, leaf: x509.Certificate) -> None:
    data, remedy = "tls.ocsp-staple", "fetch the response (DER) for this certificate anew, or remove it"
    try:
        response = ocsp.load_der_ocsp_response(staple)
        numbers = [each.serial_number for each in response.responses]
    except ValueError:
        raise CredentialError(holder.key, data, "it holds something that is no OCSP response", remedy) from None
    if numbers != [leaf.serial_number]:
        raise CredentialError(holder.key, data, "the OCSP response is not for this one certificate", remedy)


def _spki(public: Any) -> bytes:
    found: bytes = public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return found

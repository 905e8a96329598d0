"""Kubernetes Secrets → SDS secrets for gateways.

Key layouts: `tls.crt`, `tls.key` and `ca.crt` (Kubernetes' own), or `cert`, `key` and `cacert` (Istio:
pilot/pkg/credentials/kube/secrets.go).
"""

from __future__ import annotations

from collections.abc import Callable

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key
from envoy_data_plane.envoy.config.core.v3 import DataSource
from envoy_data_plane.envoy.extensions.transport_sockets.tls.v3 import (
    CertificateValidationContext,
    TlsCertificate,
)
from envoy_data_plane.envoy.extensions.transport_sockets.tls.v3 import (
    Secret as SecretMessage,
)

from crds.kubernetes.secret import Secret
from dragoman.codec import Encoded
from dragoman.mesh.credentials import CA_SUFFIX, secret_names


class CredentialError(ValueError):
    """A Secret that holds no usable certificate; the text names the Secret and what is wrong, never its content."""


def credential_secret(name: str, find: Callable[[str], Secret | None]) -> Encoded | None:
    """The SDS secret `name`; `find` looks a Kubernetes Secret up by name. None where no Secret is there to hold it.

    Raises `CredentialError` where the Secret lacks a key, or certificate and key do not belong together.
    """
    secret = next((found for found in map(find, secret_names(name)) if found is not None), None)
    if secret is None:
        return None
    message = _authority(name, secret) if name.endswith(CA_SUFFIX) else _certificate(name, secret)
    return Encoded.of(message)


def _authority(name: str, secret: Secret) -> SecretMessage:
    what = _what(secret)
    bundle = _first(secret, "cacert", "ca.crt")
    if bundle is None:
        raise CredentialError(f"{what} has neither ca.crt nor cacert")
    _certificates(what, bundle)
    context = CertificateValidationContext(trusted_ca=DataSource(inline_bytes=bundle))
    revoked = _first(secret, "ca.crl")
    if revoked is not None:
        context.crl = DataSource(inline_bytes=revoked)
    return SecretMessage(name=name, validation_context=context)


def _certificate(name: str, secret: Secret) -> SecretMessage:
    what = _what(secret)
    certificate, key = _first(secret, "cert", "tls.crt"), _first(secret, "key", "tls.key")
    if certificate is None or key is None:
        raise CredentialError(f"{what} lacks tls.crt and tls.key (or cert and key)")
    _check_pair(what, certificate, key)
    message = TlsCertificate(
        certificate_chain=DataSource(inline_bytes=certificate), private_key=DataSource(inline_bytes=key)
    )
    staple = _first(secret, "tls.ocsp-staple")
    if staple is not None:
        message.ocsp_staple = DataSource(inline_bytes=staple)
    return SecretMessage(name=name, tls_certificate=message)


def _what(secret: Secret) -> str:
    return f"Secret {secret.namespace}/{secret.name}"


def _first(secret: Secret, *keys: str) -> bytes | None:
    return next((value for value in map(secret.value, keys) if value), None)


def _certificates(what: str, pem: bytes) -> list[x509.Certificate]:
    try:
        found = x509.load_pem_x509_certificates(pem)
    except ValueError:
        raise CredentialError(f"{what} holds something that is no PEM certificate") from None
    return found


def _check_pair(what: str, certificate: bytes, key: bytes) -> None:
    """Envoy would reject a pair that does not match; said here it names the Secret."""
    leaf = _certificates(what, certificate)[0]
    try:
        private = load_pem_private_key(key, None)
    except (ValueError, TypeError):
        raise CredentialError(f"{what} holds something that is no unencrypted PEM private key") from None
    spki = (Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    if leaf.public_key().public_bytes(*spki) != private.public_key().public_bytes(*spki):
        raise CredentialError(f"{what}: the key does not belong to the certificate")

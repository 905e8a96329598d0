"""Kubernetes Secrets → SDS secrets for gateways.

Istio: pilot/pkg/credentials/kube/secrets.go. Key layouts: `tls.crt`, `tls.key` and `ca.crt` (Kubernetes' own), or
`cert`, `key` and `cacert`. A name that ends in `-cacert` is the certificate authority for client certificates: from a
Secret of that name, else from the credential's own.
"""

from __future__ import annotations

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

SCHEME = "kubernetes://"
CA_SUFFIX = "-cacert"


class CredentialError(ValueError):
    """A Secret that holds no usable certificate; the text names the Secret and what is wrong, never its content."""


def sds_name(credential: str) -> str:
    """SDS name of a Gateway's `credentialName`."""
    return SCHEME + credential


def secret_name(name: str) -> str:
    """Name of the Kubernetes Secret behind an SDS name."""
    return name.removeprefix(SCHEME).removesuffix(CA_SUFFIX)


def credential_secret(name: str, secret: Secret | None) -> Encoded | None:
    """The SDS secret called `name` from its Kubernetes Secret; None where there is none.

    Raises `CredentialError` where the Secret lacks a key, or certificate and key do not belong together.
    """
    if secret is None:
        return None
    what = f"Secret {secret.namespace}/{secret.name}"
    if name.endswith(CA_SUFFIX):
        authority = _first(secret, "ca.crt", "cacert")
        if authority is None:
            raise CredentialError(f"{what} has neither ca.crt nor cacert")
        return Encoded.of(
            SecretMessage(
                name=name,
                validation_context=CertificateValidationContext(trusted_ca=DataSource(inline_bytes=authority)),
            )
        )
    certificate, key = _first(secret, "tls.crt", "cert"), _first(secret, "tls.key", "key")
    if certificate is None or key is None:
        raise CredentialError(f"{what} lacks tls.crt and tls.key (or cert and key)")
    _check_pair(what, certificate, key)
    return Encoded.of(
        SecretMessage(
            name=name,
            tls_certificate=TlsCertificate(
                certificate_chain=DataSource(inline_bytes=certificate), private_key=DataSource(inline_bytes=key)
            ),
        )
    )


def _first(secret: Secret, *keys: str) -> bytes | None:
    return next((secret.data[key] for key in keys if secret.data.get(key)), None)


def _check_pair(what: str, certificate: bytes, key: bytes) -> None:
    """Envoy would reject a pair that does not match; said here it names the Secret."""
    try:
        leaf = x509.load_pem_x509_certificates(certificate)[0]
        private = load_pem_private_key(key, None)
    except (ValueError, TypeError, IndexError) as error:
        raise CredentialError(f"{what} holds no PEM certificate and key: {type(error).__name__}") from None
    spki = (Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    if leaf.public_key().public_bytes(*spki) != private.public_key().public_bytes(*spki):
        raise CredentialError(f"{what}: the key does not belong to the certificate")

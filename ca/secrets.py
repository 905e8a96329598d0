"""Certificates as the SDS secrets that Envoy's TLS contexts name (xDS: secret discovery service)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from envoy_data_plane.envoy.config.core.v3 import DataSource, TypedExtensionConfig, WatchedDirectory
from envoy_data_plane.envoy.extensions.transport_sockets.tls.v3 import (
    CertificateValidationContext,
    Secret,
    SpiffeCertValidatorConfig,
    SpiffeCertValidatorConfigTrustDomain,
    TlsCertificate,
)

from ca.key_folder import CHAIN_FILE, KEY_FILE
from ca.workload_certificates import IssuedCertificate
from dragoman.codec import Encoded, pack

WORKLOAD_SECRET: Final = "default"  # Istio: security/pkg/nodeagent/cache, WorkloadKeyCertResourceName  # noqa: S105
ROOT_SECRET: Final = "ROOTCA"  # Istio: security/pkg/nodeagent/cache, RootCertReqResourceName  # noqa: S105

_SPIFFE_VALIDATOR: Final = "envoy.tls.cert_validator.spiffe"


class Confidential(Encoded):
    """A resource that holds a private key: its `repr()` shows the name and version only."""

    __slots__ = ()

    def __repr__(self) -> str:
        return f"Confidential(name={self.name!r}, version={self.version!r})"


def workload_secret(certificate: IssuedCertificate) -> Confidential:
    """The secret `default`: the workload's chain and private key. Belongs only into a secret `View`."""
    return Confidential.of(
        Secret(
            name=WORKLOAD_SECRET,
            tls_certificate=TlsCertificate(
                certificate_chain=DataSource(inline_bytes=certificate.chain_pem),
                private_key=DataSource(inline_bytes=certificate.key_pem),
            ),
        )
    )


def kept_secret(folder: str) -> Encoded:
    """The secret `default` of a proxy that keeps its own key: where its Envoy finds chain and key, and never they.

    Envoy reads both anew when something is renamed in the folder (Envoy: TlsCertificate.watched_directory).
    """
    return Encoded.of(
        Secret(
            name=WORKLOAD_SECRET,
            tls_certificate=TlsCertificate(
                certificate_chain=DataSource(filename=f"{folder}/{CHAIN_FILE}"),
                private_key=DataSource(filename=f"{folder}/{KEY_FILE}"),
                watched_directory=WatchedDirectory(path=folder),
            ),
        )
    )


def root_secret(roots_pem: bytes, crl_pem: bytes = b"") -> Encoded:
    """The secret `ROOTCA`: the trust bundle that peers are verified with, and what of it is revoked.

    Only leaves are looked up in the lists: Envoy would else refuse every chain of which some CA has no list (Envoy:
    CertificateValidationContext.only_verify_leaf_cert_crl).
    """
    validation = CertificateValidationContext(trusted_ca=DataSource(inline_bytes=roots_pem))
    if crl_pem:
        validation.crl = DataSource(inline_bytes=crl_pem)
        validation.only_verify_leaf_cert_crl = True
    return Encoded.of(Secret(name=ROOT_SECRET, validation_context=validation))


def root_secret_by_domain(bundles: Mapping[str, bytes]) -> Encoded:
    """The secret `ROOTCA` where peers are verified with the bundle of the trust domain that they name
    (`ca.domain_bundles`); who is of none of these is refused."""
    config = SpiffeCertValidatorConfig(
        trust_domains=[
            SpiffeCertValidatorConfigTrustDomain(name=domain, trust_bundle=DataSource(inline_bytes=bundle))
            for domain, bundle in bundles.items()
        ]
    )
    validator = TypedExtensionConfig(name=_SPIFFE_VALIDATOR, typed_config=pack(config))
    validation = CertificateValidationContext(custom_validator_config=validator)
    return Encoded.of(Secret(name=ROOT_SECRET, validation_context=validation))

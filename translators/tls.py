"""TLS contexts with the mesh's certificates, and the parts they share.

Istio: pilot/pkg/networking/core/cluster_tls.go, pilot/pkg/security/authn/utils (BuildInboundTLS).
"""

from __future__ import annotations

from collections.abc import Iterable

from envoy_data_plane.envoy.config.core.v3 import TransportSocket
from envoy_data_plane.envoy.extensions.transport_sockets.raw_buffer.v3 import RawBuffer
from envoy_data_plane.envoy.extensions.transport_sockets.tls.v3 import (
    CertificateValidationContext,
    CommonTlsContext,
    CommonTlsContextCombinedCertificateValidationContext,
    DownstreamTlsContext,
    SdsSecretConfig,
    SubjectAltNameMatcher,
    SubjectAltNameMatcherSanType,
    TlsParameters,
    TlsParametersTlsProtocol,
    UpstreamTlsContext,
)
from envoy_data_plane.envoy.type.matcher.v3 import StringMatcher

from dragoman.codec import SECRET, Ref, pack
from translators.config_sources import ADS
from translators.names import ROOT_CERTIFICATES, WORKLOAD_CERTIFICATE

SOCKET = "envoy.transport_sockets.tls"

MESH_SECRETS: frozenset[Ref] = frozenset({(SECRET, WORKLOAD_CERTIFICATE), (SECRET, ROOT_CERTIFICATES)})

_CIPHERS = [
    "ECDHE-ECDSA-AES256-GCM-SHA384",
    "ECDHE-RSA-AES256-GCM-SHA384",
    "ECDHE-ECDSA-AES128-GCM-SHA256",
    "ECDHE-RSA-AES128-GCM-SHA256",
    "AES256-GCM-SHA384",
    "AES128-GCM-SHA256",
]

PLAINTEXT = TransportSocket(name="envoy.transport_sockets.raw_buffer", typed_config=pack(RawBuffer()))


def sds(name: str) -> SdsSecretConfig:
    """A secret by name, from the stream that everything comes from."""
    return SdsSecretConfig(name=name, sds_config=ADS)


def mesh_parameters() -> TlsParameters:
    # Envoy's upstream default *maximum* is TLS 1.2, so both ends are written (Envoy: TlsParameters).
    return TlsParameters(
        tls_minimum_protocol_version=TlsParametersTlsProtocol.TLSv1_2,
        tls_maximum_protocol_version=TlsParametersTlsProtocol.TLSv1_3,
        cipher_suites=_CIPHERS,
    )


def exact_uri(uri: str) -> SubjectAltNameMatcher:
    return SubjectAltNameMatcher(san_type=SubjectAltNameMatcherSanType.URI, matcher=StringMatcher(exact=uri))


def mesh_context(alpn: Iterable[str], names: Iterable[SubjectAltNameMatcher] = ()) -> CommonTlsContext:
    """The workload's certificate, and peers verified by the mesh's roots and one of `names` (none: any name)."""
    return CommonTlsContext(
        tls_params=mesh_parameters(),
        alpn_protocols=list(alpn),
        tls_certificate_sds_secret_configs=[sds(WORKLOAD_CERTIFICATE)],
        combined_validation_context=CommonTlsContextCombinedCertificateValidationContext(
            default_validation_context=CertificateValidationContext(match_typed_subject_alt_names=list(names)),
            validation_context_sds_secret_config=sds(ROOT_CERTIFICATES),
        ),
    )


def upstream_socket(context: UpstreamTlsContext) -> TransportSocket:
    return TransportSocket(name=SOCKET, typed_config=pack(context))


def downstream_socket(context: DownstreamTlsContext) -> TransportSocket:
    return TransportSocket(name=SOCKET, typed_config=pack(context))


def mesh_upstream(sni: str, alpn: Iterable[str], names: Iterable[SubjectAltNameMatcher]) -> TransportSocket:
    """Mutual TLS towards workloads with one of `names` (none: with any that the mesh's roots verify)."""
    return upstream_socket(UpstreamTlsContext(common_tls_context=mesh_context(alpn, names), sni=sni))


def mesh_downstream(alpn: Iterable[str], names: Iterable[SubjectAltNameMatcher] = ()) -> TransportSocket:
    """Mutual TLS at a server: every client shows a certificate of the mesh whose name is one of `names`."""
    return downstream_socket(
        DownstreamTlsContext(common_tls_context=mesh_context(alpn, names), require_client_certificate=True)
    )

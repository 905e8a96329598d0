"""TLS that ends at a gateway: `Gateway.servers[].tls` as a transport socket.

Istio: pilot/pkg/networking/core/listener.go (BuildListenerTLSContext), pilot/pkg/security/model/authentication.go.
"""

from __future__ import annotations

from dataclasses import dataclass

from envoy_data_plane.envoy.config.core.v3 import DataSource, TransportSocket
from envoy_data_plane.envoy.extensions.transport_sockets.tls.v3 import (
    CertificateValidationContext,
    CommonTlsContext,
    CommonTlsContextCombinedCertificateValidationContext,
    DownstreamTlsContext,
    SubjectAltNameMatcher,
    TlsCertificate,
    TlsParameters,
)
from envoy_data_plane.envoy.extensions.transport_sockets.tls.v3 import (
    CertificateValidationContextTrustChainVerification as TrustChain,
)
from envoy_data_plane.envoy.extensions.transport_sockets.tls.v3 import (
    SubjectAltNameMatcherSanType as SanType,
)
from envoy_data_plane.envoy.extensions.transport_sockets.tls.v3 import (
    TlsParametersTlsProtocol as Version,
)
from envoy_data_plane.envoy.type.matcher.v3 import StringMatcher

from crds.meshconfig import TLSConfig
from crds.servertls import CIPHER_SUITES, ECDH_CURVES, ServerTLSMode, ServerTLSSettings, TLSProtocol
from dragoman.codec import SECRET, Ref
from dragoman.engine import Graph
from dragoman.mesh.credentials import authority_name, certificate_names
from dragoman.mesh.gateway_merge import BoundServer
from dragoman.mesh.protocol import Protocol
from dragoman.mesh.settings import mesh_config
from translators.alpn import SERVED
from translators.peer_names import PeerNames
from translators.tls import MESH_SECRETS, downstream_socket, mesh_downstream, sds

_VERSIONS = {
    None: None,
    TLSProtocol.TLS_AUTO: None,
    TLSProtocol.TLSV1_0: Version.TLSv1_0,
    TLSProtocol.TLSV1_1: Version.TLSv1_1,
    TLSProtocol.TLSV1_2: Version.TLSv1_2,
    TLSProtocol.TLSV1_3: Version.TLSv1_3,
}
_VERIFIED = (ServerTLSMode.MUTUAL, ServerTLSMode.OPTIONAL_MUTUAL)


@dataclass(frozen=True, slots=True)
class Socket:
    """A transport socket and the secrets that it names."""

    message: TransportSocket
    refs: frozenset[Ref]


def downstream_socket_of(g: Graph, bound: BoundServer, peers: PeerNames) -> Socket | None:
    """How a server ends TLS, None where it passes it on (Istio API: ServerTLSSettings, unset is PASSTHROUGH).

    `peers` are the names of workloads that ISTIO_MUTUAL lets in.
    """
    settings = bound.server.tls
    if settings is None:
        return None
    match settings.mode:
        case None | ServerTLSMode.PASSTHROUGH | ServerTLSMode.AUTO_PASSTHROUGH:
            return None
        case ServerTLSMode.ISTIO_MUTUAL:
            return Socket(mesh_downstream(_alpn(bound), peers), MESH_SECRETS)
    context = CommonTlsContext(alpn_protocols=list(_alpn(bound)))
    context.tls_params = _parameters(settings, mesh_config(g).tls_defaults)
    refs = _own_certificates(context, settings)
    if settings.mode in _VERIFIED:
        refs |= _client_validation(context, settings)
    message = DownstreamTlsContext(
        common_tls_context=context, require_client_certificate=settings.mode is ServerTLSMode.MUTUAL or None
    )
    return Socket(downstream_socket(message), refs)


def _alpn(bound: BoundServer) -> tuple[str, ...]:
    return SERVED if bound.protocol is Protocol.HTTPS else ()


def _own_certificates(context: CommonTlsContext, settings: ServerTLSSettings) -> frozenset[Ref]:
    names = certificate_names(settings)
    if names:
        context.tls_certificate_sds_secret_configs = [sds(name) for name in names]
        return frozenset((SECRET, name) for name in names)
    files = [(pair.server_certificate, pair.private_key) for pair in settings.tls_certificates]
    context.tls_certificates = [
        TlsCertificate(
            certificate_chain=DataSource(filename=certificate or ""), private_key=DataSource(filename=key or "")
        )
        for certificate, key in files or [(settings.server_certificate, settings.private_key)]
    ]
    return frozenset()


def _client_validation(context: CommonTlsContext, settings: ServerTLSSettings) -> frozenset[Ref]:
    """Which client certificates are good: signed by the server's CA, with one of its names, hashes or keys."""
    validation = CertificateValidationContext(
        match_typed_subject_alt_names=[
            SubjectAltNameMatcher(san_type=kind, matcher=StringMatcher(exact=name))
            for name in settings.subject_alt_names
            for kind in (SanType.DNS, SanType.URI)
        ],
        verify_certificate_spki=list(settings.verify_certificate_spki),
        verify_certificate_hash=list(settings.verify_certificate_hash),
        crl=DataSource(filename=settings.ca_crl) if settings.ca_crl else None,
    )
    if settings.insecure_skip_verify:
        validation.trust_chain_verification = TrustChain.ACCEPT_UNTRUSTED
    name = authority_name(settings)
    if name is None:
        validation.trusted_ca = DataSource(filename=settings.ca_certificates or "")
        context.validation_context = validation
        return frozenset()
    context.combined_validation_context = CommonTlsContextCombinedCertificateValidationContext(
        default_validation_context=validation, validation_context_sds_secret_config=sds(name)
    )
    return frozenset({(SECRET, name)})


def _parameters(settings: ServerTLSSettings, default: TLSConfig) -> TlsParameters | None:
    """What the server says, else the mesh (MeshConfig.tlsDefaults), else Envoy: TLS 1.2 to 1.3.

    Names that Envoy does not know are left out, as Istio does: it would reject every server of the port for them.
    """
    minimum = _VERSIONS[settings.min_protocol_version] or _VERSIONS[default.min_protocol_version]
    maximum = _VERSIONS[settings.max_protocol_version]
    parameters = TlsParameters(
        cipher_suites=[name for name in settings.cipher_suites or default.cipher_suites if name in CIPHER_SUITES],
        ecdh_curves=[name for name in settings.ecdh_curves or default.ecdh_curves if name in ECDH_CURVES],
    )
    if minimum is not None:
        parameters.tls_minimum_protocol_version = minimum
    if maximum is not None:
        parameters.tls_maximum_protocol_version = maximum
    return parameters if parameters != TlsParameters() else None

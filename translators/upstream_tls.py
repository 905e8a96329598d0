"""TLS of connections to a service: what a DestinationRule says, else automatic mutual TLS.

Istio: pilot/pkg/networking/core/cluster_tls.go.
"""

from __future__ import annotations

from collections.abc import Callable

from envoy_data_plane.envoy.config.cluster.v3 import Cluster, ClusterTransportSocketMatch
from envoy_data_plane.envoy.config.core.v3 import DataSource, UpstreamHttpProtocolOptions
from envoy_data_plane.envoy.extensions.transport_sockets.tls.v3 import (
    CertificateValidationContext,
    CommonTlsContext,
    CommonTlsContextCombinedCertificateValidationContext,
    SubjectAltNameMatcher,
    SubjectAltNameMatcherSanType,
    TlsCertificate,
    TlsParameters,
    UpstreamTlsContext,
)
from envoy_data_plane.envoy.extensions.transport_sockets.tls.v3 import (
    TlsParametersTlsProtocol as Version,
)
from envoy_data_plane.envoy.type.matcher.v3 import StringMatcher

from crds.clienttls import ClientTLSMode, ClientTLSSettings
from crds.meshconfig import TLSConfig
from crds.servertls import CIPHER_SUITES, ECDH_CURVES
from dragoman.codec import SECRET, Ref, struct
from dragoman.mesh.credentials import CA_SUFFIX, names_of_client
from translators.peer_names import PeerNames
from translators.tls import MESH_SECRETS, PLAINTEXT, exact_uri, mesh_upstream, sds, upstream_socket

TLS_MODE = "tlsMode"
"""Key in an endpoint's `envoy.transport_socket_match` metadata that says it speaks the mesh's TLS."""


SYSTEM_ROOTS = "/etc/ssl/certs/ca-certificates.crt"
"""The roots of the proxy's own image (Debian, Ubuntu, Alpine, distroless). Envoy's API has `system_root_certs` for it,
which Envoy does not implement: it would verify nothing. Where the file is missing Envoy refuses the cluster."""

NO_CERTIFICATE = "0" * 64
"""The hash of no certificate. A sidecar that a rule does not select gets no credential: so that TLS does not become
plaintext, as it does at Istio's, no server is good enough (docs/decisions/client-credentials.md)."""


def automatic(cluster: Cluster, sni: str, alpn: tuple[str, ...], names: PeerNames) -> frozenset[Ref]:
    """Mutual TLS to the endpoints that speak it, plaintext to the others, endpoint by endpoint."""
    cluster.transport_socket_matches = [
        ClusterTransportSocketMatch(
            name="tlsMode-istio",
            match=struct({TLS_MODE: "istio"}),
            transport_socket=mesh_upstream(sni, alpn, names),
        ),
        ClusterTransportSocketMatch(name="tlsMode-disabled", match=struct({}), transport_socket=PLAINTEXT),
    ]
    return MESH_SECRETS


def mutual(cluster: Cluster, sni: str, alpn: tuple[str, ...], names: PeerNames) -> frozenset[Ref]:
    """Mutual TLS to every endpoint."""
    cluster.transport_socket = mesh_upstream(sni, alpn, names)
    return MESH_SECRETS


def written(
    cluster: Cluster,
    settings: ClientTLSSettings,
    *,
    sni: str,
    alpn: tuple[str, ...],
    peers: PeerNames,
    http2: bool,
    holds: Callable[[str], bool],
    defaults: TLSConfig,
) -> frozenset[Ref]:
    """What a DestinationRule's `tls` says; `peers` are the names of who serves, `holds` tells whether the client gets a
    credential, by its SDS name.

    `defaults` are the mesh's for connections that are not the mesh's own (Istio: MeshConfig.tlsDefaults).
    """
    match settings.mode:
        case None | ClientTLSMode.DISABLE:
            return frozenset()
        case ClientTLSMode.ISTIO_MUTUAL:
            written = tuple(map(exact_uri, settings.subject_alt_names))
            return mutual(cluster, settings.sni or sni, alpn, written or peers)
    context = CommonTlsContext(alpn_protocols=["h2"] if http2 else [], tls_params=_parameters(defaults))
    names = names_of_client(settings)
    if not settings.credential_name:
        context.validation_context = _from_files(settings)
        if settings.mode is ClientTLSMode.MUTUAL:
            context.tls_certificates = [_certificate_files(settings)]
    elif all(map(holds, names)):
        _by_name(context, settings, names)
    else:
        names = ()
        context.validation_context = CertificateValidationContext(verify_certificate_hash=[NO_CERTIFICATE])
    cluster.transport_socket = upstream_socket(UpstreamTlsContext(common_tls_context=context, sni=settings.sni or ""))
    return frozenset((SECRET, name) for name in names)


def _parameters(defaults: TLSConfig) -> TlsParameters:
    # Envoy's default maximum for clients is TLS 1.2 (Envoy: TlsParameters).
    return TlsParameters(
        tls_minimum_protocol_version=Version.TLSv1_2,
        tls_maximum_protocol_version=Version.TLSv1_3,
        cipher_suites=[name for name in defaults.cipher_suites if name in CIPHER_SUITES],
        ecdh_curves=[name for name in defaults.ecdh_curves if name in ECDH_CURVES],
    )


def _from_files(settings: ClientTLSSettings) -> CertificateValidationContext:
    if settings.insecure_skip_verify:
        return CertificateValidationContext()
    path = settings.ca_certificates
    validation = _validation(settings)
    validation.trusted_ca = DataSource(filename=path if path and path != "system" else SYSTEM_ROOTS)
    return validation


def _by_name(context: CommonTlsContext, settings: ClientTLSSettings, names: tuple[str, ...]) -> None:
    for name in names:
        if name.endswith(CA_SUFFIX):
            context.combined_validation_context = CommonTlsContextCombinedCertificateValidationContext(
                default_validation_context=_validation(settings), validation_context_sds_secret_config=sds(name)
            )
        else:
            context.tls_certificate_sds_secret_configs = [sds(name)]
    if settings.insecure_skip_verify:
        context.validation_context = CertificateValidationContext()


def _validation(settings: ClientTLSSettings) -> CertificateValidationContext:
    """What a server's certificate must be, but for who signed it."""
    return CertificateValidationContext(
        match_typed_subject_alt_names=[
            SubjectAltNameMatcher(san_type=kind, matcher=StringMatcher(exact=name))
            for name in settings.subject_alt_names
            for kind in (SubjectAltNameMatcherSanType.DNS, SubjectAltNameMatcherSanType.URI)
        ],
        crl=DataSource(filename=settings.ca_crl) if settings.ca_crl else None,
    )


def _certificate_files(settings: ClientTLSSettings) -> TlsCertificate:
    return TlsCertificate(
        certificate_chain=DataSource(filename=settings.client_certificate or ""),
        private_key=DataSource(filename=settings.private_key or ""),
    )


def names_of_requests(settings: ClientTLSSettings | None) -> UpstreamHttpProtocolOptions | None:
    """Where no name is written, a request's authority is the name that the server is asked for and verified by
    (Istio: cluster_tls.go, setAutoSniAndAutoSanValidation)."""
    if settings is None or settings.mode not in (ClientTLSMode.SIMPLE, ClientTLSMode.MUTUAL) or settings.sni:
        return None
    verified = not settings.subject_alt_names and not settings.insecure_skip_verify
    return UpstreamHttpProtocolOptions(auto_sni=True, auto_san_validation=verified)

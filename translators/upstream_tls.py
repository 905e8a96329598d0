"""TLS of connections to a service: what a DestinationRule says, else automatic mutual TLS.

Istio: pilot/pkg/networking/core/cluster_tls.go.
"""

from __future__ import annotations

from envoy_data_plane.envoy.config.cluster.v3 import Cluster, ClusterTransportSocketMatch
from envoy_data_plane.envoy.config.core.v3 import DataSource, UpstreamHttpProtocolOptions
from envoy_data_plane.envoy.extensions.transport_sockets.tls.v3 import (
    CertificateValidationContext,
    CommonTlsContext,
    SubjectAltNameMatcher,
    SubjectAltNameMatcherSanType,
    TlsCertificate,
    UpstreamTlsContext,
)
from envoy_data_plane.envoy.type.matcher.v3 import StringMatcher

from crds.clienttls import ClientTLSMode, ClientTLSSettings
from dragoman.codec import Ref, struct
from translators.tls import MESH_SECRETS, PLAINTEXT, mesh_upstream, upstream_socket

TLS_MODE = "tlsMode"
"""Key in an endpoint's `envoy.transport_socket_match` metadata that says it speaks the mesh's TLS."""


SYSTEM_ROOTS = "/etc/ssl/certs/ca-certificates.crt"
"""The roots of the proxy's own image (Debian, Ubuntu, Alpine, distroless). Envoy's API has `system_root_certs` for it,
which Envoy does not implement: it would verify nothing. Where the file is missing Envoy refuses the cluster."""

NO_CERTIFICATE = "0" * 64
"""The hash of no certificate. Credentials by name are not given to clients: so that TLS does not become plaintext, as
it does at Istio's sidecars, no server is good enough (docs/decisions/client-credentials.md)."""


def automatic(cluster: Cluster, sni: str, alpn: tuple[str, ...], identities: tuple[str, ...]) -> frozenset[Ref]:
    """Mutual TLS to the endpoints that speak it, plaintext to the others, endpoint by endpoint."""
    cluster.transport_socket_matches = [
        ClusterTransportSocketMatch(
            name="tlsMode-istio",
            match=struct({TLS_MODE: "istio"}),
            transport_socket=mesh_upstream(sni, alpn, identities),
        ),
        ClusterTransportSocketMatch(name="tlsMode-disabled", match=struct({}), transport_socket=PLAINTEXT),
    ]
    return MESH_SECRETS


def mutual(cluster: Cluster, sni: str, alpn: tuple[str, ...], identities: tuple[str, ...]) -> frozenset[Ref]:
    """Mutual TLS to every endpoint."""
    cluster.transport_socket = mesh_upstream(sni, alpn, identities)
    return MESH_SECRETS


def written(
    cluster: Cluster,
    settings: ClientTLSSettings,
    *,
    sni: str,
    alpn: tuple[str, ...],
    identities: tuple[str, ...],
    http2: bool,
) -> frozenset[Ref]:
    """What a DestinationRule's `tls` says."""
    match settings.mode:
        case None | ClientTLSMode.DISABLE:
            return frozenset()
        case ClientTLSMode.ISTIO_MUTUAL:
            return mutual(cluster, settings.sni or sni, alpn, settings.subject_alt_names or identities)
    context = CommonTlsContext(alpn_protocols=["h2"] if http2 else [])
    if settings.credential_name:
        context.validation_context = CertificateValidationContext(verify_certificate_hash=[NO_CERTIFICATE])
    else:
        _originate(context, settings)
    cluster.transport_socket = upstream_socket(UpstreamTlsContext(common_tls_context=context, sni=settings.sni or ""))
    return frozenset()


def _originate(context: CommonTlsContext, settings: ClientTLSSettings) -> None:
    validation = CertificateValidationContext()
    if not settings.insecure_skip_verify:  # Envoy refuses names without roots to verify them by
        path = settings.ca_certificates
        validation.trusted_ca = DataSource(filename=path if path and path != "system" else SYSTEM_ROOTS)
        validation.match_typed_subject_alt_names = [
            SubjectAltNameMatcher(san_type=kind, matcher=StringMatcher(exact=name))
            for name in settings.subject_alt_names
            for kind in (SubjectAltNameMatcherSanType.DNS, SubjectAltNameMatcherSanType.URI)
        ]
    context.validation_context = validation
    if settings.mode is ClientTLSMode.MUTUAL:
        context.tls_certificates = [
            TlsCertificate(
                certificate_chain=DataSource(filename=settings.client_certificate or ""),
                private_key=DataSource(filename=settings.private_key or ""),
            )
        ]


def names_of_requests(settings: ClientTLSSettings | None) -> UpstreamHttpProtocolOptions | None:
    """Where no name is written, a request's authority is the name that the server is asked for and verified by
    (Istio: cluster_tls.go, setAutoSniAndAutoSanValidation)."""
    if settings is None or settings.mode not in (ClientTLSMode.SIMPLE, ClientTLSMode.MUTUAL) or settings.sni:
        return None
    verified = not settings.subject_alt_names and not settings.insecure_skip_verify
    return UpstreamHttpProtocolOptions(auto_sni=True, auto_san_validation=verified)

"""How a sidecar reaches the control plane: the cluster `xds-grpc`, and the secrets it authenticates with."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from pathlib import PurePosixPath
from typing import Any, Final

from envoy_data_plane.envoy.config.cluster.v3 import Cluster, ClusterDiscoveryType, UpstreamConnectionOptions
from envoy_data_plane.envoy.config.core.v3 import (
    ApiVersion,
    ConfigSource,
    DataSource,
    GrpcServiceGoogleGrpc,
    GrpcServiceGoogleGrpcCallCredentials,
    GrpcServiceGoogleGrpcCallCredentialsMetadataCredentialsFromPlugin,
    GrpcServiceGoogleGrpcChannelArgs,
    GrpcServiceGoogleGrpcChannelArgsValue,
    GrpcServiceGoogleGrpcChannelCredentials,
    GrpcServiceGoogleGrpcSslCredentials,
    Http2ProtocolOptions,
    KeepaliveSettings,
    PathConfigSource,
    TcpKeepalive,
    TransportSocket,
    TypedExtensionConfig,
    WatchedDirectory,
)
from envoy_data_plane.envoy.config.core.v3 import HttpProtocolOptions as CommonHttpOptions
from envoy_data_plane.envoy.config.endpoint.v3 import ClusterLoadAssignment, Endpoint, LbEndpoint, LocalityLbEndpoints
from envoy_data_plane.envoy.config.grpc_credential.v3 import FileBasedMetadataConfig
from envoy_data_plane.envoy.extensions.filters.http.credential_injector.v3 import CredentialInjector
from envoy_data_plane.envoy.extensions.filters.http.upstream_codec.v3 import UpstreamCodec
from envoy_data_plane.envoy.extensions.filters.network.http_connection_manager.v3 import HttpFilter
from envoy_data_plane.envoy.extensions.http.injected_credentials.generic.v3 import Generic
from envoy_data_plane.envoy.extensions.transport_sockets.tls.v3 import (
    CertificateValidationContext,
    CommonTlsContext,
    GenericSecret,
    SdsSecretConfig,
    Secret,
    SubjectAltNameMatcher,
    SubjectAltNameMatcherSanType,
    TlsParameters,
    TlsParametersTlsProtocol,
    UpstreamTlsContext,
)
from envoy_data_plane.envoy.extensions.upstreams.http.v3 import (
    HttpProtocolOptions,
    HttpProtocolOptionsExplicitHttpConfig,
)
from envoy_data_plane.envoy.type.matcher.v3 import StringMatcher

from dragoman.codec import encode, pack, to_json
from dragoman.sidecar.address import SocketAddress, UnixSocket

XDS_CLUSTER: Final = "xds-grpc"
TOKEN_SECRET: Final = "control-plane-token"  # noqa: S105
ROOT_SECRET: Final = "control-plane-root"  # noqa: S105
SERVER_NAME: Final = "istiod.istio-system.svc"  # the name Istio's control planes have in their certificates

_FILE_BASED_METADATA: Final = "envoy.grpc_credentials.file_based_metadata"
_KEEPALIVE_INTERVAL: Final = timedelta(seconds=30)
_KEEPALIVE_TIMEOUT: Final = timedelta(seconds=10)


@dataclass(frozen=True, slots=True)
class Tls:
    """TLS towards the control plane: it must have a certificate for `server_name` under a root in `root_file`.

    With a `secret_file`, where `root_secret()` is written for Envoy to find, changes of the root's file are followed;
    without, they need a restart.
    """

    root_file: str
    server_name: str = SERVER_NAME
    secret_file: str | None = None


@dataclass(frozen=True, slots=True)
class Token:
    """A bearer token, re-read as it rotates.

    `token_file` holds the token, and nothing else; `secret_file` is where `token_secret()` is written for Envoy to
    find: only a secret that comes from a file follows the rotation of the token's file. Without one, Envoy's other gRPC
    client (google_grpc) reads the token for each stream; its root does not follow a file, and it has no statistics of a
    cluster.
    """

    token_file: str
    secret_file: str | None = None


@dataclass(frozen=True, slots=True)
class ControlPlane:
    """Address of the control plane and the credentials on the way. A token needs TLS, or anybody could read it."""

    address: SocketAddress | UnixSocket
    tls: Tls | None = None
    token: Token | None = None

    def __post_init__(self) -> None:
        if self.token is not None and self.tls is None and not isinstance(self.address, UnixSocket):
            raise ValueError("a token must not travel in plaintext: give the control plane's root certificate")
        if self.by_google_grpc and (self.tls is None or isinstance(self.address, UnixSocket)):
            raise ValueError("google_grpc sends tokens over TCP with TLS only")

    @property
    def by_google_grpc(self) -> bool:
        """Whether the stream is not that of the cluster `xds-grpc`."""
        return self.token is not None and self.token.secret_file is None


def xds_cluster(control_plane: ControlPlane) -> Cluster:
    """The cluster that carries ADS."""
    address = control_plane.address
    dns = isinstance(address, SocketAddress) and not address.is_ip
    endpoint = LbEndpoint(endpoint=Endpoint(address=address.to_envoy()))
    return Cluster(
        name=XDS_CLUSTER,
        type=ClusterDiscoveryType.STRICT_DNS if dns else ClusterDiscoveryType.STATIC,
        connect_timeout=timedelta(seconds=1),
        load_assignment=ClusterLoadAssignment(
            cluster_name=XDS_CLUSTER, endpoints=[LocalityLbEndpoints(lb_endpoints=[endpoint])]
        ),
        # A control plane that vanishes without a FIN would else be waited for until TCP gives up, some 15 minutes.
        upstream_connection_options=UpstreamConnectionOptions(tcp_keepalive=TcpKeepalive(keepalive_time=300)),
        typed_extension_protocol_options={
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": pack(
                HttpProtocolOptions(
                    # A stream that is sent away, or has come of age, begins anew on another connection: a load balancer
                    # in front of replicas decides by connection where it leads.
                    common_http_protocol_options=CommonHttpOptions(max_requests_per_connection=1),
                    explicit_http_config=HttpProtocolOptionsExplicitHttpConfig(
                        http2_protocol_options=Http2ProtocolOptions(
                            connection_keepalive=KeepaliveSettings(
                                interval=_KEEPALIVE_INTERVAL, timeout=_KEEPALIVE_TIMEOUT
                            )
                        )
                    ),
                    http_filters=_credential_filters(control_plane.token),
                )
            )
        },
        transport_socket=_tls_socket(control_plane.tls) if control_plane.tls is not None else None,
    )


def google_grpc(control_plane: ControlPlane) -> GrpcServiceGoogleGrpc:
    """The control plane for Envoy's other gRPC client, which reads the token's file for each stream."""
    tls, token = control_plane.tls, control_plane.token
    assert tls is not None and token is not None  # noqa: S101, PT018 - see ControlPlane
    plugin = FileBasedMetadataConfig(
        secret_data=DataSource(filename=token.token_file), header_key="authorization", header_prefix="Bearer "
    )
    return GrpcServiceGoogleGrpc(
        target_uri=str(control_plane.address),
        stat_prefix=XDS_CLUSTER,
        channel_credentials=GrpcServiceGoogleGrpcChannelCredentials(
            ssl_credentials=GrpcServiceGoogleGrpcSslCredentials(root_certs=DataSource(filename=tls.root_file))
        ),
        credentials_factory_name=_FILE_BASED_METADATA,
        call_credentials=[
            GrpcServiceGoogleGrpcCallCredentials(
                from_plugin=GrpcServiceGoogleGrpcCallCredentialsMetadataCredentialsFromPlugin(
                    name=_FILE_BASED_METADATA, typed_config=pack(plugin)
                )
            )
        ],
        channel_args=GrpcServiceGoogleGrpcChannelArgs(
            args={
                "grpc.ssl_target_name_override": GrpcServiceGoogleGrpcChannelArgsValue(string_value=tls.server_name),
                "grpc.keepalive_time_ms": _milliseconds(_KEEPALIVE_INTERVAL),
                "grpc.keepalive_timeout_ms": _milliseconds(_KEEPALIVE_TIMEOUT),
            }
        ),
    )


def _milliseconds(span: timedelta) -> GrpcServiceGoogleGrpcChannelArgsValue:
    return GrpcServiceGoogleGrpcChannelArgsValue(int_value=span // timedelta(milliseconds=1))


def root_secret(tls: Tls) -> dict[str, Any]:
    """The contents of `tls.secret_file`: where Envoy finds the root, and whom it makes believe."""
    return _resources(Secret(name=ROOT_SECRET, validation_context=_validation(tls, watched=True)))


def token_secret(token: Token) -> dict[str, Any]:
    """The contents of `token.secret_file`: where Envoy finds the token, never the token itself."""
    source = DataSource(filename=token.token_file, watched_directory=_folder_of(token.token_file))
    return _resources(Secret(name=TOKEN_SECRET, generic_secret=GenericSecret(secret=source)))


def _folder_of(file: str) -> WatchedDirectory:
    # Kubernetes replaces the files of a volume by renaming a link in their directory, which a watch of the file itself
    # would miss.
    return WatchedDirectory(path=str(PurePosixPath(file).parent))


def _resources(secret: Secret) -> dict[str, Any]:
    return {"resources": [{"@type": pack(secret).type_url, **to_json(Secret, encode(secret))}]}


def _from_file(name: str, path: str) -> SdsSecretConfig:
    source = ConfigSource(path_config_source=PathConfigSource(path=path), resource_api_version=ApiVersion.V3)
    return SdsSecretConfig(name=name, sds_config=source)


def _credential_filters(token: Token | None) -> list[HttpFilter]:
    if token is None or token.secret_file is None:
        return []
    generic = Generic(
        credential=_from_file(TOKEN_SECRET, token.secret_file),
        header="authorization",
        header_value_prefix="Bearer ",
    )
    injector = CredentialInjector(
        credential=TypedExtensionConfig(name="envoy.http.injected_credentials.generic", typed_config=pack(generic))
    )
    return [
        HttpFilter(name="envoy.filters.http.credential_injector", typed_config=pack(injector)),
        HttpFilter(name="envoy.filters.http.upstream_codec", typed_config=pack(UpstreamCodec())),
    ]


def _tls_socket(tls: Tls) -> TransportSocket:
    context = UpstreamTlsContext(
        sni=tls.server_name,
        common_tls_context=CommonTlsContext(
            # Envoy's clients offer TLS 1.2 at most unless told.
            tls_params=TlsParameters(
                tls_minimum_protocol_version=TlsParametersTlsProtocol.TLSv1_2,
                tls_maximum_protocol_version=TlsParametersTlsProtocol.TLSv1_3,
            ),
            alpn_protocols=["h2"],
            **_trust(tls),
        ),
    )
    return TransportSocket(name="envoy.transport_sockets.tls", typed_config=pack(context))


def _trust(tls: Tls) -> dict[str, Any]:
    if tls.secret_file is not None:
        return {"validation_context_sds_secret_config": _from_file(ROOT_SECRET, tls.secret_file)}
    return {"validation_context": _validation(tls, watched=False)}


def _validation(tls: Tls, *, watched: bool) -> CertificateValidationContext:
    return CertificateValidationContext(
        trusted_ca=DataSource(filename=tls.root_file),
        watched_directory=_folder_of(tls.root_file) if watched else None,
        match_typed_subject_alt_names=[
            SubjectAltNameMatcher(
                san_type=SubjectAltNameMatcherSanType.DNS, matcher=StringMatcher(exact=tls.server_name)
            )
        ],
    )

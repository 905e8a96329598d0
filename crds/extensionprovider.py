"""MeshConfig.extensionProviders: services that proxies ask. Of Istio's kinds those that decide about requests."""

from msgspec import field

from crds.duration import Duration
from crds.model import Message
from crds.scalars import UInt32


class ExtAuthzRequestBody(Message, frozen=True):
    """EnvoyExternalAuthorizationRequestBody: how much of a request's body the authorizer is sent."""

    max_request_bytes: UInt32 = 0
    allow_partial_message: bool = False
    pack_as_bytes: bool = False


class EnvoyExtAuthzHttp(Message, frozen=True):
    """EnvoyExternalAuthorizationHttpProvider. Headers are names, `prefix*` or `*suffix`, in any case."""

    service: str
    port: UInt32
    timeout: Duration | None = None  # None: 600 s
    path_prefix: str = ""
    fail_open: bool = False
    clear_route_cache: bool = False
    status_on_error: str = ""  # "" is 403
    include_headers_in_check: tuple[str, ...] = ()  # deprecated
    include_request_headers_in_check: tuple[str, ...] = ()
    include_additional_headers_in_check: dict[str, str] = field(default_factory=dict)
    include_request_body_in_check: ExtAuthzRequestBody | None = None
    headers_to_upstream_on_allow: tuple[str, ...] = ()
    headers_to_downstream_on_deny: tuple[str, ...] = ()
    headers_to_downstream_on_allow: tuple[str, ...] = ()


class EnvoyExtAuthzGrpc(Message, frozen=True):
    """EnvoyExternalAuthorizationGrpcProvider."""

    service: str
    port: UInt32
    timeout: Duration | None = None  # None: 600 s
    fail_open: bool = False
    clear_route_cache: bool = False
    status_on_error: str = ""  # "" is 403
    include_request_body_in_check: ExtAuthzRequestBody | None = None


class ExtensionProvider(Message, frozen=True):
    """One of the mesh's providers, which policies name; exactly one of its kinds is set."""

    name: str
    envoy_ext_authz_http: EnvoyExtAuthzHttp | None = None
    envoy_ext_authz_grpc: EnvoyExtAuthzGrpc | None = None

    @property
    def authorizer(self) -> EnvoyExtAuthzHttp | EnvoyExtAuthzGrpc | None:
        """What decides about requests, None for a provider of another kind."""
        return self.envoy_ext_authz_http or self.envoy_ext_authz_grpc

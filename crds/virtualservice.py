"""VirtualService: how requests for a host are matched, changed and routed."""

from enum import StrEnum
from typing import Annotated, ClassVar

from msgspec import field

from crds.destination import Destination
from crds.duration import Duration
from crds.limits import MANY
from crds.meta import IstioObject, Resource
from crds.model import Message
from crds.scalars import Int32, UInt32
from crds.stringmatch import StringMatch


class HTTPMatchRequest(Message, frozen=True):
    """All conditions must hold. `port`, `gateways` and the source conditions are decided at translation."""

    name: str | None = None
    uri: StringMatch | None = None
    scheme: StringMatch | None = None
    method: StringMatch | None = None
    authority: StringMatch | None = None
    headers: dict[str, StringMatch] = field(default_factory=dict)
    port: UInt32 | None = None
    source_labels: dict[str, str] = field(default_factory=dict)
    gateways: tuple[str, ...] = ()
    query_params: dict[str, StringMatch] = field(default_factory=dict)
    ignore_uri_case: bool | None = None
    without_headers: dict[str, StringMatch] = field(default_factory=dict)
    source_namespace: str | None = None
    stat_prefix: str | None = None


class HeaderOperations(Message, frozen=True):
    set: dict[str, str] = field(default_factory=dict)
    add: dict[str, str] = field(default_factory=dict)
    remove: tuple[str, ...] = ()


class Headers(Message, frozen=True):
    request: HeaderOperations | None = None
    response: HeaderOperations | None = None


class HTTPRouteDestination(Message, frozen=True):
    destination: Destination
    weight: Int32 | None = None
    headers: Headers | None = None


class RouteDestination(Message, frozen=True):
    """The destination of a TCP or TLS route."""

    destination: Destination
    weight: Int32 | None = None


class RedirectPortSelection(StrEnum):
    FROM_PROTOCOL_DEFAULT = "FROM_PROTOCOL_DEFAULT"
    FROM_REQUEST_PORT = "FROM_REQUEST_PORT"


class HTTPRedirect(Message, frozen=True):
    """`redirect_code` unset is 301."""

    uri: str | None = None
    prefix_rewrite: str | None = None
    authority: str | None = None
    port: UInt32 | None = None
    derive_port: RedirectPortSelection | None = None
    scheme: str | None = None
    redirect_code: UInt32 | None = None


class HTTPBody(Message, frozen=True):
    string: str | None = None
    bytes_: bytes | None = None


class HTTPDirectResponse(Message, frozen=True):
    status: UInt32
    body: HTTPBody | None = None


class Delegate(Message, frozen=True):
    """The VirtualService that holds the routes; the namespace defaults to that of the one that delegates."""

    name: str | None = None
    namespace: str | None = None


class RegexRewrite(Message, frozen=True):
    match: str | None = None
    rewrite: str | None = None


class HTTPRewrite(Message, frozen=True):
    uri: str | None = None
    authority: str | None = None
    uri_regex_rewrite: RegexRewrite | None = None


class HTTPRetry(Message, frozen=True):
    """`attempts` counts the retries, not the first try; 0 switches retries off."""

    attempts: Int32 | None = None
    per_try_timeout: Duration | None = None
    retry_on: str | None = None
    retry_remote_localities: bool | None = None
    retry_ignore_previous_hosts: bool | None = None
    backoff: Duration | None = None


class Percent(Message, frozen=True):
    """0 to 100, four decimal digits count."""

    value: float | None = None


class Delay(Message, frozen=True):
    percent: Int32 | None = None  # deprecated: percentage
    percentage: Percent | None = None
    fixed_delay: Duration | None = None
    exponential_delay: Duration | None = None


class Abort(Message, frozen=True):
    percentage: Percent | None = None
    http_status: Int32 | None = None
    grpc_status: str | None = None
    http2_error: str | None = None


class HTTPFaultInjection(Message, frozen=True):
    delay: Delay | None = None
    abort: Abort | None = None


class HTTPMirrorPolicy(Message, frozen=True):
    destination: Destination
    percentage: Percent | None = None


class UnmatchedPreflights(StrEnum):
    UNSPECIFIED = "UNSPECIFIED"
    FORWARD = "FORWARD"
    IGNORE = "IGNORE"


class CorsPolicy(Message, frozen=True):
    allow_origin: tuple[str, ...] = ()  # deprecated: allow_origins
    allow_origins: tuple[StringMatch, ...] = ()
    allow_methods: tuple[str, ...] = ()
    allow_headers: tuple[str, ...] = ()
    expose_headers: tuple[str, ...] = ()
    max_age: Duration | None = None
    allow_credentials: bool | None = None
    unmatched_preflights: UnmatchedPreflights | None = None


class HTTPRoute(Message, frozen=True):
    """A match and one action: route, redirect, direct_response or delegate."""

    name: str | None = None
    match: tuple[HTTPMatchRequest, ...] = ()
    route: tuple[HTTPRouteDestination, ...] = ()
    redirect: HTTPRedirect | None = None
    direct_response: HTTPDirectResponse | None = None
    delegate: Delegate | None = None
    rewrite: HTTPRewrite | None = None
    timeout: Duration | None = None
    retries: HTTPRetry | None = None
    fault: HTTPFaultInjection | None = None
    mirror: Destination | None = None
    mirrors: tuple[HTTPMirrorPolicy, ...] = ()
    mirror_percentage: Percent | None = None
    mirror_percent: UInt32 | None = None  # deprecated: mirror_percentage
    mirror_percent_alias: UInt32 | None = field(default=None, name="mirror_percent")  # deprecated: mirror_percentage
    cors_policy: CorsPolicy | None = None
    headers: Headers | None = None


class TLSMatchAttributes(Message, frozen=True):
    sni_hosts: tuple[str, ...] = ()
    destination_subnets: tuple[str, ...] = ()
    port: UInt32 | None = None
    source_labels: dict[str, str] = field(default_factory=dict)
    gateways: tuple[str, ...] = ()
    source_namespace: str | None = None


class TLSRoute(Message, frozen=True):
    """Routes TLS that is not terminated, by SNI."""

    match: tuple[TLSMatchAttributes, ...] = ()
    route: tuple[RouteDestination, ...] = ()


class L4MatchAttributes(Message, frozen=True):
    destination_subnets: tuple[str, ...] = ()
    port: UInt32 | None = None
    source_subnet: str | None = None  # in the API, read by nobody
    source_labels: dict[str, str] = field(default_factory=dict)
    gateways: tuple[str, ...] = ()
    source_namespace: str | None = None


class TCPRoute(Message, frozen=True):
    match: tuple[L4MatchAttributes, ...] = ()
    route: tuple[RouteDestination, ...] = ()


class VirtualServiceSpec(Message, frozen=True):
    """No `hosts`: the object can only be delegated to. No `gateways`: it holds for the sidecars of the mesh."""

    hosts: tuple[str, ...] = ()
    gateways: tuple[str, ...] = ()
    http: Annotated[tuple[HTTPRoute, ...], MANY] = ()
    tls: Annotated[tuple[TLSRoute, ...], MANY] = ()
    tcp: Annotated[tuple[TCPRoute, ...], MANY] = ()
    export_to: tuple[str, ...] = ()


class VirtualService(IstioObject, frozen=True, kw_only=True):
    resource: ClassVar = Resource(
        "networking.istio.io", "virtualservices", ("v1", "v1beta1", "v1alpha3"), "v1", ("vs",)
    )
    spec: VirtualServiceSpec

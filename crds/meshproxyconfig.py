"""MeshConfig's `defaultConfig`: what proxies start with (Istio: api/mesh/v1alpha1/proxy.proto ProxyConfig).

Also the content of the annotation `proxy.istio.io/config` and of the PROXY_CONFIG variable.
"""

from enum import StrEnum

from msgspec import field

from crds.duration import Duration
from crds.model import Message
from crds.scalars import NonNegativeInt32, UInt32


class InboundInterceptionMode(StrEnum):
    """How traffic reaches the proxy; NONE: applications and listeners name each other."""

    REDIRECT = "REDIRECT"
    TPROXY = "TPROXY"
    NONE = "NONE"


class ForwardClientCertDetails(StrEnum):
    """What a gateway does with X-Forwarded-Client-Cert; UNDEFINED is SANITIZE_SET."""

    UNDEFINED = "UNDEFINED"
    SANITIZE = "SANITIZE"
    FORWARD_ONLY = "FORWARD_ONLY"
    APPEND_FORWARD = "APPEND_FORWARD"
    SANITIZE_SET = "SANITIZE_SET"
    ALWAYS_FORWARD_ONLY = "ALWAYS_FORWARD_ONLY"


class ProxyProtocolConfiguration(Message, frozen=True):
    """Present: gateways expect the PROXY protocol."""


class Topology(Message, frozen=True):
    """What stands in front of a gateway."""

    num_trusted_proxies: UInt32 = 0
    forward_client_cert_details: ForwardClientCertDetails = ForwardClientCertDetails.UNDEFINED
    proxy_protocol: ProxyProtocolConfiguration | None = None


class ProxyStatsMatcher(Message, frozen=True):
    """Names of Envoy's statistics to keep beyond the usual ones."""

    inclusion_prefixes: tuple[str, ...] = ()
    inclusion_suffixes: tuple[str, ...] = ()
    inclusion_regexps: tuple[str, ...] = ()


class ProxyConfigImage(Message, frozen=True):
    image_type: str | None = None


class MeshProxyConfig(Message, frozen=True):
    """Defaults are Istio's (Istio: pkg/config/mesh/mesh.go DefaultProxyConfig)."""

    concurrency: NonNegativeInt32 | None = None  # worker threads; 0 is one per core
    config_path: str = "./etc/istio/proxy"
    discovery_address: str = "istiod.istio-system.svc:15012"
    drain_duration: Duration = Duration(seconds=45)
    termination_drain_duration: Duration = Duration(seconds=5)
    extra_stat_tags: tuple[str, ...] = ()
    gateway_topology: Topology = Topology()
    hold_application_until_proxy_starts: bool = False
    image: ProxyConfigImage | None = None
    interception_mode: InboundInterceptionMode = InboundInterceptionMode.REDIRECT
    mesh_id: str = ""
    proxy_admin_port: UInt32 = 15000
    proxy_metadata: dict[str, str] = field(default_factory=dict)
    proxy_stats_matcher: ProxyStatsMatcher = ProxyStatsMatcher()
    runtime_values: dict[str, str] = field(default_factory=dict)
    service_cluster: str = "istio-proxy"
    stat_name_length: UInt32 = 189
    status_port: UInt32 = 15020

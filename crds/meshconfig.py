"""MeshConfig: the settings of the whole mesh, as the ConfigMap `istio` holds them in YAML under the key `mesh`.

Unlike in the kinds, a field left out has Istio's default here, never None where Istio has one (Istio:
pkg/config/mesh/mesh.go DefaultMeshConfig). A field that we do not know is a warning: a mesh must not fail to start
over one setting.
"""

import re
from collections.abc import Iterator, Mapping
from enum import StrEnum
from typing import Any

import msgspec
import yaml
from msgspec import field

from crds.clienttls import ClientTLSSettings
from crds.codes import problem
from crds.connectionpool import TcpKeepalive
from crds.duration import Duration
from crds.extensionprovider import ExtensionProvider
from crds.hooks import decode_hook
from crds.labelselector import LabelSelector
from crds.leaves import set_leaves
from crds.loadbalancer import LocalityLoadBalancerSetting, ZoneAwareLoadBalancerSetting
from crds.meshproxyconfig import MeshProxyConfig
from crds.model import Message
from crds.problem import Invalid, Problem, Severity
from crds.report import misfits, unknown_field, without_nulls
from crds.scalars import UInt32
from crds.servertls import TLSProtocol
from crds.shape import ListOf, MapOf, Shape, child, message_of
from crds.shape import Message as MessageShape
from crds.support import MESH_CONFIG
from crds.validate import extensionproviders
from crds.virtualservice import HTTPRetry

CONFIG_MAP = ("istio-system", "istio")
"""Namespace and name of the ConfigMap (Istio: pilot/pkg/bootstrap/mesh.go)."""
CONFIG_KEY = "mesh"


class OutboundTrafficPolicyMode(StrEnum):
    REGISTRY_ONLY = "REGISTRY_ONLY"
    ALLOW_ANY = "ALLOW_ANY"
    ALLOW_ANY_DYNAMIC_DNS = "ALLOW_ANY_DYNAMIC_DNS"


class OutboundTrafficPolicy(Message, frozen=True):
    """What happens to traffic for unknown destinations, where no Sidecar says otherwise."""

    mode: OutboundTrafficPolicyMode = OutboundTrafficPolicyMode.ALLOW_ANY
    tls: ClientTLSSettings | None = None


class InboundTrafficPolicyMode(StrEnum):
    """Whether the application is reached at the pod's address or at loopback."""

    PASSTHROUGH = "PASSTHROUGH"
    LOCALHOST = "LOCALHOST"


class InboundTrafficPolicy(Message, frozen=True):
    mode: InboundTrafficPolicyMode = InboundTrafficPolicyMode.PASSTHROUGH


class AccessLogEncoding(StrEnum):
    TEXT = "TEXT"
    JSON = "JSON"


class IngressControllerMode(StrEnum):
    UNSPECIFIED = "UNSPECIFIED"
    OFF = "OFF"
    DEFAULT = "DEFAULT"
    STRICT = "STRICT"


class MeshH2UpgradePolicy(StrEnum):
    """MeshConfig.H2UpgradePolicy; a DestinationRule can override it."""

    DO_NOT_UPGRADE = "DO_NOT_UPGRADE"
    UPGRADE = "UPGRADE"


class NormalizationType(StrEnum):
    """DEFAULT is BASE."""

    DEFAULT = "DEFAULT"
    NONE = "NONE"
    BASE = "BASE"
    MERGE_SLASHES = "MERGE_SLASHES"
    DECODE_AND_MERGE_SLASHES = "DECODE_AND_MERGE_SLASHES"


class ProxyPathNormalization(Message, frozen=True):
    normalization: NormalizationType = NormalizationType.DEFAULT


class TLSConfig(Message, frozen=True):
    min_protocol_version: TLSProtocol = TLSProtocol.TLS_AUTO
    ecdh_curves: tuple[str, ...] = ()
    cipher_suites: tuple[str, ...] = ()


class CertificateData(Message, frozen=True):
    """Roots that are trusted beside the CA's own: `pem`, or those at a SPIFFE bundle endpoint."""

    pem: str = ""
    spiffe_bundle_url: str = ""
    cert_signers: tuple[str, ...] = ()
    trust_domains: tuple[str, ...] = ()


class MeshConfig(Message, frozen=True):
    """The settings in force; `MeshConfig()` are Istio's defaults."""

    access_log_encoding: AccessLogEncoding = AccessLogEncoding.TEXT
    access_log_file: str = ""  # "" logs nothing
    access_log_format: str = ""  # "" is Istio's format
    ca_certificates: tuple[CertificateData, ...] = ()
    connect_timeout: Duration = Duration(seconds=10)
    default_config: MeshProxyConfig = MeshProxyConfig()
    default_destination_rule_export_to: tuple[str, ...] = ("*",)
    default_http_retry_policy: HTTPRetry | None = None
    default_service_export_to: tuple[str, ...] = ("*",)
    default_virtual_service_export_to: tuple[str, ...] = ("*",)
    disable_envoy_listener_log: bool = False
    discovery_selectors: tuple[LabelSelector, ...] = ()  # none: every namespace
    dns_refresh_rate: Duration = Duration(seconds=60)
    enable_auto_mtls: bool = True
    enable_prometheus_merge: bool = True
    enable_tracing: bool = True
    extension_providers: tuple[ExtensionProvider, ...] = ()
    h2_upgrade_policy: MeshH2UpgradePolicy = MeshH2UpgradePolicy.DO_NOT_UPGRADE
    inbound_cluster_stat_name: str = ""
    inbound_traffic_policy: InboundTrafficPolicy = InboundTrafficPolicy()
    ingress_class: str = "istio"
    ingress_controller_mode: IngressControllerMode = IngressControllerMode.STRICT
    ingress_selector: str = ""
    ingress_service: str = "istio-ingressgateway"
    locality_lb_setting: LocalityLoadBalancerSetting = LocalityLoadBalancerSetting(enabled=True)
    mesh_mtls: TLSConfig = field(default=TLSConfig(), name="meshMTLS")
    outbound_cluster_stat_name: str = ""
    outbound_traffic_policy: OutboundTrafficPolicy = OutboundTrafficPolicy()
    path_normalization: ProxyPathNormalization = ProxyPathNormalization()
    protocol_detection_timeout: Duration = Duration()  # 0: wait for the client for ever
    proxy_http_port: UInt32 = 0  # 0: no HTTP proxy listener
    proxy_inbound_listen_port: UInt32 = 15006
    proxy_listen_port: UInt32 = 15001
    root_namespace: str = "istio-system"
    tcp_keepalive: TcpKeepalive | None = None
    tls_defaults: TLSConfig = TLSConfig()
    trust_domain: str = "cluster.local"
    trust_domain_aliases: tuple[str, ...] = ()
    zone_aware_lb_setting: ZoneAwareLoadBalancerSetting | None = None


_OTHER_FIELDS = frozenset(
    (
        "ca",
        "certificates",
        "configSources",
        "defaultInboundHttpRetryPolicy",
        "defaultProviders",
        "defaultTrafficPolicy",
        "enableEnvoyAccessLogService",
        "extensionProviders[].datadog",
        "extensionProviders[].envoyFileAccessLog",
        "extensionProviders[].envoyHttpAls",
        "extensionProviders[].envoyOtelAls",
        "extensionProviders[].envoyTcpAls",
        "extensionProviders[].lightstep",
        "extensionProviders[].opencensus",
        "extensionProviders[].opentelemetry",
        "extensionProviders[].prometheus",
        "extensionProviders[].sds",
        "extensionProviders[].skywalking",
        "extensionProviders[].stackdriver",
        "extensionProviders[].zipkin",
        "hboneIdleTimeout",
        "serviceEntryVisibility",
        "serviceScopeConfigs",
        "serviceSettings",
        "verifyCertificateAtClient",
        "defaultConfig.binaryPath",
        "defaultConfig.caCertificatesPem",
        "defaultConfig.connectionSettings",
        "defaultConfig.controlPlaneAuthPolicy",
        "defaultConfig.customConfigFile",
        "defaultConfig.envoyAccessLogService",
        "defaultConfig.envoyMetricsService",
        "defaultConfig.fileFlushInterval",
        "defaultConfig.fileFlushMinSizeKb",
        "defaultConfig.privateKeyProvider",
        "defaultConfig.proxyBootstrapTemplatePath",
        "defaultConfig.proxyHeaders",
        "defaultConfig.readinessProbe",
        "defaultConfig.statsCompression",
        "defaultConfig.tracing",
        "defaultConfig.tracingServiceName",
    )
)
"""Fields of Istio's MeshConfig that we do not model."""

_INDEX = re.compile(r"\[\d+\]")


def parse(text: str) -> MeshConfig:
    """The settings that this YAML asks for. Raises Invalid when it is no YAML or a value has the wrong type."""
    return read(text)[0]


def read(text: str) -> tuple[MeshConfig, tuple[Problem, ...]]:
    """The settings, and a warning for every field that is unknown or has no effect yet."""
    shape = message_of(MeshConfig)
    try:
        document = yaml.load(text, Loader=yaml.CSafeLoader)
    except yaml.YAMLError as error:
        raise Invalid((problem("DRG0100", "", f"not YAML: {error}", "correct the syntax"),)) from error
    document = without_nulls({} if document is None else document, shape)
    warnings: list[Problem] = []
    known = _known_part(document, shape, "", warnings)
    try:
        config = msgspec.convert(known, MeshConfig, dec_hook=decode_hook, str_keys=True)
    except msgspec.ValidationError as error:
        found = tuple(misfits(known, shape, "")) or (problem("DRG0102", "", str(error)),)
        raise Invalid(found) from None
    found = tuple(extensionproviders.problems(config.extension_providers, "extensionProviders"))
    if any(each.severity is Severity.ERROR for each in found):
        raise Invalid(found)
    return config, (*warnings, *found, *_without_effect(config))


def _known_part(value: Any, shape: Shape, path: str, warnings: list[Problem]) -> Any:
    """`value` without the fields that its shape lacks; each of them is a warning."""
    match shape:
        case MessageShape(_, _, fields) if isinstance(value, Mapping):
            known = {}
            for key, item in value.items():
                where = child(path, key)
                if key in fields:
                    known[key] = _known_part(item, fields[key].shape, where, warnings)
                elif _INDEX.sub("[]", where) in _OTHER_FIELDS:
                    warnings.append(problem("DRG0202", where, f"{key} has no effect yet"))
                else:
                    remedy = unknown_field(key, fields, path).remedy
                    warnings.append(problem("DRG0203", where, f"unknown setting {key!r}", remedy))
            return known
        case ListOf(item_shape) if isinstance(value, list):
            return [_known_part(item, item_shape, f"{path}[{i}]", warnings) for i, item in enumerate(value)]
        case MapOf(_, item_shape) if isinstance(value, Mapping):
            return {key: _known_part(item, item_shape, f"{path}[{key}]", warnings) for key, item in value.items()}
    return value


def _without_effect(config: MeshConfig) -> Iterator[Problem]:
    """A warning for each setting that is modelled, differs from the default, and that nothing reads yet."""
    for leaf in set_leaves(config, message_of(MeshConfig)):
        if not MESH_CONFIG.honours(leaf):
            yield problem("DRG0202", leaf.path, f"{leaf.path.rpartition('.')[2]} has no effect yet")

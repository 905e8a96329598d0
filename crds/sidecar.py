"""Sidecar: what a workload's proxy listens on and which services it can see."""

from enum import StrEnum
from typing import Annotated, ClassVar

from crds.connectionpool import ConnectionPoolSettings
from crds.destination import Destination
from crds.limits import MANY
from crds.meta import IstioObject, Resource
from crds.model import Message
from crds.scalars import UInt32
from crds.selector import NetworkingWorkloadSelector
from crds.servertls import ServerTLSSettings


class SidecarPort(Message, frozen=True):
    number: UInt32 | None = None
    protocol: str | None = None
    name: str | None = None
    target_port: UInt32 | None = None  # deprecated


class CaptureMode(StrEnum):
    DEFAULT = "DEFAULT"
    IPTABLES = "IPTABLES"
    NONE = "NONE"


class IstioIngressListener(Message, frozen=True):
    """`default_endpoint` is `127.0.0.1:port`, `0.0.0.0:port` (the pod's own address) or `unix:///path`."""

    port: SidecarPort
    bind: str | None = None
    capture_mode: CaptureMode | None = None
    default_endpoint: str | None = None
    tls: ServerTLSSettings | None = None
    connection_pool: ConnectionPoolSettings | None = None


class IstioEgressListener(Message, frozen=True):
    """`hosts` are `namespace/dnsName`; namespace `*`, `.` (own), `~` (none); a leading `~` excludes."""

    hosts: tuple[str, ...]
    port: SidecarPort | None = None
    bind: str | None = None
    capture_mode: CaptureMode | None = None


class OutboundTrafficPolicyMode(StrEnum):
    REGISTRY_ONLY = "REGISTRY_ONLY"
    ALLOW_ANY = "ALLOW_ANY"


class OutboundTrafficPolicy(Message, frozen=True):
    """What happens to traffic for unknown destinations."""

    mode: OutboundTrafficPolicyMode | None = None
    egress_proxy: Destination | None = None


class SidecarSpec(Message, frozen=True):
    workload_selector: NetworkingWorkloadSelector | None = None
    ingress: Annotated[tuple[IstioIngressListener, ...], MANY] = ()
    egress: Annotated[tuple[IstioEgressListener, ...], MANY] = ()
    inbound_connection_pool: ConnectionPoolSettings | None = None
    outbound_traffic_policy: OutboundTrafficPolicy | None = None


class Sidecar(IstioObject, frozen=True, kw_only=True):
    resource: ClassVar = Resource("networking.istio.io", "sidecars", ("v1", "v1beta1", "v1alpha3"), "v1")
    spec: SidecarSpec

"""What a DestinationRule says about traffic to a host, a port of it, or a subset of it."""

from enum import StrEnum
from typing import Annotated

from crds.clienttls import ClientTLSSettings
from crds.connectionpool import ConnectionPoolSettings
from crds.destination import PortSelector
from crds.duration import Duration
from crds.limits import PORT_LEVEL_SETTINGS
from crds.loadbalancer import LoadBalancerSettings
from crds.model import Message
from crds.outlierdetection import OutlierDetection
from crds.scalars import PercentFloat, UInt32


class PortTrafficPolicy(Message, frozen=True):
    """Settings of one port: they replace the destination's as a whole, nothing is inherited."""

    port: PortSelector | None = None
    load_balancer: LoadBalancerSettings | None = None
    connection_pool: ConnectionPoolSettings | None = None
    outlier_detection: OutlierDetection | None = None
    tls: ClientTLSSettings | None = None


class TunnelSettings(Message, frozen=True):
    """Carry TCP to target_host:target_port through HTTP CONNECT or POST."""

    target_host: str
    target_port: UInt32
    protocol: str | None = None


class ProxyProtocolVersion(StrEnum):
    V1 = "V1"
    V2 = "V2"


class ProxyProtocol(Message, frozen=True):
    version: ProxyProtocolVersion | None = None


class RetryBudget(Message, frozen=True):
    """Concurrent retries as a percentage of active requests."""

    percent: PercentFloat | None = None
    min_retry_concurrency: UInt32 | None = None
    budget_interval: Duration | None = None


class TrafficPolicy(Message, frozen=True):
    load_balancer: LoadBalancerSettings | None = None
    connection_pool: ConnectionPoolSettings | None = None
    outlier_detection: OutlierDetection | None = None
    tls: ClientTLSSettings | None = None
    port_level_settings: Annotated[tuple[PortTrafficPolicy, ...], PORT_LEVEL_SETTINGS] = ()
    tunnel: TunnelSettings | None = None
    proxy_protocol: ProxyProtocol | None = None
    retry_budget: RetryBudget | None = None

"""Limits and timeouts of connections to a destination (DestinationRule, Sidecar)."""

from enum import StrEnum

from crds.duration import Duration
from crds.model import Message
from crds.scalars import Int32, UInt32


class TcpKeepalive(Message, frozen=True):
    probes: UInt32 | None = None
    time: Duration | None = None
    interval: Duration | None = None


class TCPSettings(Message, frozen=True):
    max_connections: Int32 | None = None
    connect_timeout: Duration | None = None
    tcp_keepalive: TcpKeepalive | None = None
    max_connection_duration: Duration | None = None
    idle_timeout: Duration | None = None


class H2UpgradePolicy(StrEnum):
    DEFAULT = "DEFAULT"
    DO_NOT_UPGRADE = "DO_NOT_UPGRADE"
    UPGRADE = "UPGRADE"


class HTTP2KeepAlive(Message, frozen=True):
    interval: Duration | None = None
    timeout: Duration | None = None


class HTTPSettings(Message, frozen=True):
    http1_max_pending_requests: Int32 | None = None
    http2_max_requests: Int32 | None = None
    max_requests_per_connection: Int32 | None = None
    max_retries: Int32 | None = None
    idle_timeout: Duration | None = None
    h2_upgrade_policy: H2UpgradePolicy | None = None
    use_client_protocol: bool | None = None
    max_concurrent_streams: Int32 | None = None
    http2_keep_alive: HTTP2KeepAlive | None = None


class ConnectionPoolSettings(Message, frozen=True):
    tcp: TCPSettings | None = None
    http: HTTPSettings | None = None

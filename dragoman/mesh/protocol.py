"""Which protocol a port speaks: `appProtocol`, else the port's name, else a few well-known numbers, else detection.

Istio: pkg/config/kube/conversion.go (ConvertProtocol) and pkg/config/protocol/instance.go.
"""

from __future__ import annotations

import enum


class Protocol(enum.StrEnum):
    HTTP = "HTTP"
    HTTP2 = "HTTP2"
    GRPC = "GRPC"
    GRPC_WEB = "GRPC-Web"
    HTTPS = "HTTPS"
    TLS = "TLS"
    TCP = "TCP"
    MONGO = "Mongo"
    MYSQL = "MySQL"
    REDIS = "Redis"
    UDP = "UDP"
    AUTO = "Auto"
    """Not declared: detected per connection from its first bytes."""

    @property
    def is_http(self) -> bool:
        return self in _HTTP

    @property
    def is_http2(self) -> bool:
        return self in _HTTP2

    @property
    def is_tls(self) -> bool:
        """The application's own TLS: opaque to the proxy but for its SNI."""
        return self in _TLS


_HTTP = frozenset({Protocol.HTTP, Protocol.HTTP2, Protocol.GRPC, Protocol.GRPC_WEB})
_HTTP2 = frozenset({Protocol.HTTP2, Protocol.GRPC, Protocol.GRPC_WEB})
_TLS = frozenset({Protocol.HTTPS, Protocol.TLS})

_BY_NAME = {
    "http": Protocol.HTTP,
    "http2": Protocol.HTTP2,
    "grpc": Protocol.GRPC,
    "grpc-web": Protocol.GRPC_WEB,
    "https": Protocol.HTTPS,
    "tls": Protocol.TLS,
    "tcp": Protocol.TCP,
    "mongo": Protocol.MONGO,
    "mysql": Protocol.MYSQL,
    "redis": Protocol.REDIS,
    "udp": Protocol.UDP,
    "kubernetes.io/h2c": Protocol.HTTP2,
    "kubernetes.io/ws": Protocol.HTTP,
    "kubernetes.io/wss": Protocol.HTTPS,
}
_TCP_BY_NUMBER = frozenset({25, 53, 3306, 27017})
"""Server-first protocols that detection would stall: always TCP when undeclared."""


def protocol_of(number: int, name: str, app_protocol: str | None, transport: str = "TCP") -> Protocol:
    """The protocol of a Service port."""
    if transport == "UDP":
        return Protocol.UDP
    if app_protocol:
        known = _BY_NAME.get(app_protocol.lower())
        if known is not None:
            return known
    lower = name.lower()
    if lower == "grpc-web" or lower.startswith("grpc-web-"):
        return Protocol.GRPC_WEB
    known = _BY_NAME.get(lower.split("-", 1)[0])
    if known is not None:
        return known
    return Protocol.TCP if number in _TCP_BY_NUMBER else Protocol.AUTO


def named_protocol(name: str) -> Protocol:
    """The protocol an Istio object spells out (`Gateway.servers[].port.protocol`), any case; unknown names are TCP."""
    return _BY_NAME.get(name.lower().replace("_", "-"), Protocol.TCP)

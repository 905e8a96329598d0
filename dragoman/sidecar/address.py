"""Where something listens, as Envoy writes it."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass

from envoy_data_plane.envoy.config.core.v3 import Address, Pipe
from envoy_data_plane.envoy.config.core.v3 import SocketAddress as EnvoySocketAddress


@dataclass(frozen=True, slots=True)
class SocketAddress:
    """A TCP address. `host` is an IP address where something listens, and may be a DNS name where one connects."""

    host: str
    port: int

    @property
    def is_ip(self) -> bool:
        try:
            ipaddress.ip_address(self.host)
        except ValueError:
            return False
        return True

    def to_envoy(self) -> Address:
        return Address(socket_address=EnvoySocketAddress(address=self.host, port_value=self.port))

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class UnixSocket:
    """A UNIX domain socket. `path` has at most 107 bytes (unix(7))."""

    path: str

    def to_envoy(self) -> Address:
        return Address(pipe=Pipe(path=self.path))

    def __str__(self) -> str:
        return f"unix://{self.path}"


def parse_address(text: str) -> SocketAddress | UnixSocket:
    """The address that `text` spells: `host:port`, `[ipv6]:port` or `unix:///path`; raises `ValueError` otherwise."""
    if text.startswith("unix:"):
        path = text.removeprefix("unix:").removeprefix("//")
        if not path.startswith("/"):
            raise ValueError(f"{text!r}: the path of a UNIX socket must be absolute")
        return UnixSocket(path)
    host, _, port = text.rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        raise ValueError(f"{text!r}: write an IPv6 address in brackets, [{host}]:{port}")
    if not host or not (port.isascii() and port.isdecimal() and 0 < int(port) < 2**16):
        raise ValueError(f"{text!r} is not host:port")
    return SocketAddress(host, int(port))


@dataclass(frozen=True, slots=True)
class StaticAddresses:
    """Where a proxy's own listeners are. They must differ: two sockets on one address would share its connections."""

    admin: SocketAddress
    readiness: SocketAddress
    prometheus: SocketAddress
    lifecycle: SocketAddress

    def __post_init__(self) -> None:
        if len({self.admin, self.readiness, self.prometheus, self.lifecycle}) < 4:
            raise ValueError(
                f"a proxy's static listeners must have addresses of their own: admin {self.admin}, readiness "
                f"{self.readiness}, prometheus {self.prometheus}, lifecycle {self.lifecycle}"
            )

    @classmethod
    def on(
        cls, host: str, *, admin: int = 15000, readiness: int = 15021, prometheus: int = 15090, lifecycle: int = 15020
    ) -> StaticAddresses:
        """All on one `host`, at Istio's ports (Istio: "Ports used by Istio") unless others are given."""
        return cls(*(SocketAddress(host, port) for port in (admin, readiness, prometheus, lifecycle)))

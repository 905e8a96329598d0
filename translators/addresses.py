"""Where something listens, as Envoy writes it."""

from __future__ import annotations

from envoy_data_plane.envoy.config.core.v3 import Address, Pipe, SocketAddress


def tcp_address(host: str, port: int) -> Address:
    """An IP address and port."""
    return Address(socket_address=SocketAddress(address=host, port_value=port))


def unix_address(path: str) -> Address:
    """A Unix socket."""
    return Address(pipe=Pipe(path=path))

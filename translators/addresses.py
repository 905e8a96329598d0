"""Where something listens, as Envoy writes it."""

from __future__ import annotations

from collections.abc import Sequence

from envoy_data_plane.envoy.config.core.v3 import Address, Pipe, SocketAddress
from envoy_data_plane.envoy.config.listener.v3 import AdditionalAddress, Listener


def tcp_address(host: str, port: int) -> Address:
    """An IP address and port."""
    return Address(socket_address=SocketAddress(address=host, port_value=port))


def unix_address(path: str) -> Address:
    """A Unix socket."""
    return Address(pipe=Pipe(path=path))


def listen(listener: Listener, addresses: Sequence[str], port: int) -> Listener:
    """Have a listener listen on a port of all the addresses; returns it."""
    first, *others = addresses
    listener.address = tcp_address(first, port)
    listener.additional_addresses = [AdditionalAddress(address=tcp_address(other, port)) for other in others]
    return listener

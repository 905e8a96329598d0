"""Loopback addresses of a demo's own, and ports that are free on them.

Nothing captures traffic here, so each workload has an address of its own, and its Envoy binds only that one. All of
127.0.0.0/8 is loopback (RFC 1122, section 3.2.1.3), and on Linux no address of it needs to be set up.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

WRITTEN_BLOCK = "127.10.0."
"""The block in the demo's YAML. Another demo takes another one."""

BLOCKS = 256
"""How many demos there can be at once."""


class NoFreeAddressError(OSError):
    """All blocks, or all ports that were tried, are in use."""


@dataclass(frozen=True, slots=True)
class Block:
    """256 loopback addresses, this process's until `close` or its end, however it ends."""

    prefix: str
    _lock: socket.socket

    def address(self, last: int) -> str:
        return f"{self.prefix}{last}"

    def close(self) -> None:
        self._lock.close()


def reserve() -> Block:
    """The first block that no other demo has. Raises `NoFreeAddressError`.

    The claim is a name in Linux's abstract socket namespace (unix(7)): it goes with its process and leaves no file, and
    it is as wide as the network namespace, which is where loopback addresses are shared.
    """
    for number in range(BLOCKS):
        prefix = f"127.10.{number}."
        lock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            lock.bind(f"\0dragoman-demo {prefix}")
        except OSError:
            lock.close()
            continue
        return Block(prefix, lock)
    raise NoFreeAddressError(f"{BLOCKS} demos are running: no block of loopback addresses is left")


def free_ports(addresses: Iterable[str], wanted: Iterable[int]) -> Mapping[int, int]:
    """wanted port → itself where it is free on all addresses, else the next free one that nothing here wants.

    A program that listens on 0.0.0.0 has its port on every loopback address, so even an address of one's own does not
    make a port free. Raises `NoFreeAddressError`.
    """
    hosts, ports = tuple(addresses), tuple(wanted)
    found: dict[int, int] = {}
    for port in ports:
        candidates = (port, *(c for c in range(port + 1, port + 1000) if c not in ports))
        chosen = _first(candidates, lambda c: c not in found.values() and all(_is_free(host, c) for host in hosts))
        if chosen is None:
            raise NoFreeAddressError(f"no port from {port} to {port + 999} is free on {', '.join(hosts)}")
        found[port] = chosen
    return found


def _first(candidates: Iterable[int], admits: Callable[[int], bool]) -> int | None:
    return next((candidate for candidate in candidates if admits(candidate)), None)


def _is_free(host: str, port: int) -> bool:
    with socket.socket() as probe:
        # As Envoy binds: connections in TIME_WAIT do not count, listeners do.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
        return True

"""Addresses of IPv6 for pods: the bridge joins them to one link, and nothing of it passes the node's routing."""

import socket

from e2e.harness.commands import run
from e2e.harness.namespaces import Namespace


async def add_address(namespace: Namespace, *, instead: bool = False) -> str:
    """Give a pod an address of IPv6, which follows from that of IPv4, and return it; `instead` takes that one away."""
    address = f"fd00:10::{int(namespace.address.rpartition('.')[2]):x}"
    # The route is for virtual addresses: the kernel looks for one before it redirects.
    commands = f"addr add {address}/64 dev eth0 nodad\nroute add ::/0 dev eth0\n"
    if instead:
        commands += f"addr del {namespace.address}/32 dev eth0\n"
    await run("ip", "-n", namespace.name, "-batch", "-", stdin=commands)
    return address


def family_of(address: str) -> socket.AddressFamily:
    """The family of an IP address."""
    return socket.AF_INET6 if ":" in address else socket.AF_INET

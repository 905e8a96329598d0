"""Ending a client's transport: what gRPC's server cannot do.

A response that a client does not read stays inside gRPC: the call can neither be ended with a status, which would come
after the response, nor be reset, as there is no such call for servers. Only the end of the connection frees it.
"""

import os
import socket
from pathlib import Path
from urllib.parse import unquote


def cut(peer: str) -> bool:
    """Shut the TCP connection down that gRPC calls "ipv4:HOST:PORT" or "ipv6:[HOST]:PORT", with all of its streams.

    Returns whether it was found; peers of UNIX sockets have no address to find them by, and there is nothing to search
    but on Linux.
    """
    family, _, address = unquote(peer).partition(":")
    host, _, port = address.rpartition(":")
    descriptors = Path("/proc/self/fd")
    if family not in ("ipv4", "ipv6") or not descriptors.exists():
        return False
    wanted = (host.strip("[]"), int(port))
    return any(_shut_down(int(descriptor.name), wanted) for descriptor in descriptors.iterdir())


def _shut_down(descriptor: int, wanted: tuple[str, int]) -> bool:
    try:
        # A copy, so that nobody closes it, and opens another under the same number, between look and act.
        copy = os.dup(descriptor)
    except OSError:
        return False
    try:
        connection = socket.socket(fileno=copy)
    except OSError:
        os.close(copy)
        return False
    with connection:
        try:
            name = connection.getpeername()
            if connection.family not in (socket.AF_INET, socket.AF_INET6) or _address(name) != wanted:
                return False
            connection.shutdown(socket.SHUT_RDWR)
        except OSError:
            return False
    return True


def _address(name: tuple[str, int]) -> tuple[str, int]:
    # A socket that listens to both families shows IPv4 peers as mapped addresses, gRPC as they are.
    return name[0].removeprefix("::ffff:"), name[1]

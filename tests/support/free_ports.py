"""Ports for programs that cannot be asked which one they took."""

import contextlib
import itertools
import os
import socket

_numbers = itertools.count(1)


def own_loopback() -> str:
    """A loopback address that no other test uses, of this process or another: all its ports are free, and stay so."""
    process = os.getpid()
    return f"127.{192 + (process >> 8) % 32}.{process & 255}.{next(_numbers) % 254 + 1}"


def free_ports(count: int) -> list[int]:
    """Different ports that were free on 127.0.0.1 a moment ago."""
    with contextlib.ExitStack() as stack:
        held = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in held:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in held]

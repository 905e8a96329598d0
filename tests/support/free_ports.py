"""Ports for programs that cannot be asked which one they took."""

import contextlib
import socket


def free_ports(count: int) -> list[int]:
    """Different ports that were free on 127.0.0.1 a moment ago."""
    with contextlib.ExitStack() as stack:
        held = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in held:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in held]

"""TCP servers: one that echoes, one that speaks first."""

import asyncio
import contextlib

from e2e.apps.requests import Workload


class EchoProtocol(asyncio.Protocol):
    """Sends back what it gets; the client has the first word."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep silent."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Echo."""
        self._transport.write(data)


class GreetingProtocol(EchoProtocol):
    """Greets whoever connects, as MySQL and SMTP do, then echoes."""

    def __init__(self, workload: Workload) -> None:
        self._greeting = f"welcome to {workload.name} {workload.version}\n".encode()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Greet."""
        super().connection_made(transport)
        with contextlib.suppress(ConnectionError):
            self._transport.write(self._greeting)

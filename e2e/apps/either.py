"""HTTP/1.1 and HTTP/2 on one port: the first bytes, or ALPN under TLS, say which."""

import asyncio
from collections.abc import Callable

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
"""What a client of HTTP/2 sends first (RFC 9113, 3.4)."""


class EitherProtocol(asyncio.Protocol):
    """A connection that has not said yet what it speaks."""

    def __init__(self, http1: Callable[[], asyncio.BaseProtocol], http2: Callable[[], asyncio.BaseProtocol]) -> None:
        self._http1 = http1
        self._http2 = http2
        self._received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Wait for the first bytes."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Hand the connection over as soon as it is known which protocol it is."""
        self._received += data
        if self._received.startswith(PREFACE):
            self._become(self._http2())
        elif not PREFACE.startswith(self._received):
            self._become(self._http1())

    def _become(self, protocol: asyncio.BaseProtocol) -> None:
        assert isinstance(protocol, asyncio.Protocol)
        self._transport.set_protocol(protocol)
        protocol.connection_made(self._transport)
        protocol.data_received(self._received)

"""The servers of the load: to whoever asks they say who they are, as cheaply as can be, in the test's own process.

A listening socket stays in the namespace that it was made in, so a server in a pod needs no process there.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator

from hyperframe.frame import DataFrame, Frame, HeadersFrame, PingFrame, SettingsFrame

from e2e.apps.either import PREFACE
from e2e.churn.state import Service
from e2e.harness.namespaces import Namespace

_FRAME_HEAD = 9
_OK = b"\x88"
"""`:status: 200` (RFC 7541, appendix A)."""


class Connection(asyncio.Protocol):
    """One connection of a server; `others` are all that are open."""

    def __init__(self, version: str, others: set["Connection"]) -> None:
        self._others = others
        self._body = f'{{"version": "{version}"}}'.encode()
        self._received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self._others.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._others.discard(self)


class TcpConnection(Connection):
    """Sends back what it gets."""

    def data_received(self, data: bytes) -> None:
        self.transport.write(data)


class Http1Connection(Connection):
    """Answers requests that have no body."""

    def data_received(self, data: bytes) -> None:
        *requests, self._received = (self._received + data).split(b"\r\n\r\n")
        for _ in requests:
            self.transport.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%b" % (len(self._body), self._body))


class Http2Connection(Connection):
    """Answers as soon as a request is whole. What it says of all is less than the least window that a client has."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._unread_preface = len(PREFACE)
        self._send(SettingsFrame(0))

    def data_received(self, data: bytes) -> None:
        skipped, self._unread_preface = self._unread_preface, max(self._unread_preface - len(data), 0)
        self._received += data[skipped:]
        while len(self._received) >= _FRAME_HEAD:
            frame, length = Frame.parse_frame_header(memoryview(self._received[:_FRAME_HEAD]))
            end = _FRAME_HEAD + length
            if len(self._received) < end:
                return
            frame.parse_body(memoryview(self._received[_FRAME_HEAD:end]))
            self._received = self._received[end:]
            self._answer(frame)

    def _answer(self, frame: Frame) -> None:
        if isinstance(frame, SettingsFrame) and "ACK" not in frame.flags:
            self._send(SettingsFrame(0, flags=["ACK"]))
        elif isinstance(frame, PingFrame) and "ACK" not in frame.flags:
            self._send(PingFrame(0, opaque_data=frame.opaque_data, flags=["ACK"]))
        elif "END_STREAM" in frame.flags:
            head = HeadersFrame(frame.stream_id, _OK, flags=["END_HEADERS"])
            self._send(head, DataFrame(frame.stream_id, self._body, flags=["END_STREAM"]))

    def _send(self, *frames: Frame) -> None:
        self.transport.write(b"".join(frame.serialize() for frame in frames))


_CONNECTIONS: dict[str, type[Connection]] = {"http": Http1Connection, "http2": Http2Connection, "tcp": TcpConnection}


@contextlib.asynccontextmanager
async def serving(namespace: Namespace, service: Service, version: str) -> AsyncIterator[None]:
    """A pod answers as a replica of a service meanwhile, and at the end all its connections are cut."""
    listening = namespace.socket()
    listening.bind(("0.0.0.0", service.port))  # noqa: S104 - of the pod's namespace
    kind = _CONNECTIONS[service.port_name]
    connections: set[Connection] = set()
    server = await asyncio.get_running_loop().create_server(lambda: kind(version, connections), sock=listening)
    try:
        yield
    finally:
        server.close()
        for connection in tuple(connections):
            connection.transport.abort()
        await server.wait_closed()

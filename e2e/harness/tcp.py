"""A TCP connection from a pod, in the words of the tests."""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator

from e2e.harness.ipv6 import family_of
from e2e.harness.namespaces import Namespace


class TcpConnection:
    """An open connection. `reader` and `writer` are asyncio's own, for what is not here."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def send(self, data: bytes) -> None:
        """Send; raises ConnectionError when the peer has closed in the meantime and that is known already."""
        self.writer.write(data)
        await self.writer.drain()

    def finish(self) -> None:
        """Say that nothing more will be sent (half close)."""
        self.writer.write_eof()

    async def receive(self, size: int | None = None, *, seconds: float = 10) -> bytes:
        """Exactly `size` bytes, or what comes first; b"" at the end. Raises ConnectionError, TimeoutError."""
        async with asyncio.timeout(seconds):
            if size is None:
                return await self.reader.read(65536)
            try:
                return await self.reader.readexactly(size)
            except asyncio.IncompleteReadError as error:
                raise ConnectionResetError(f"closed after {error.partial!r}") from error

    async def receive_until_closed(self, *, seconds: float = 10) -> bytes:
        """All that comes until the peer closes or resets. Raises TimeoutError if it does neither."""
        received = bytearray()
        async with asyncio.timeout(seconds):
            with contextlib.suppress(ConnectionError):
                while data := await self.reader.read(65536):
                    received += data
        return bytes(received)


@contextlib.asynccontextmanager
async def connect(
    namespace: Namespace, address: str, port: int, *, uid: int, tls: ssl.SSLContext | None, name: str, seconds: float
) -> AsyncIterator[TcpConnection]:
    """A connection from a namespace, closed at the end. `name` is the server's, for SNI and its certificate.

    Raises ConnectionError, also for a failed TLS handshake, and TimeoutError.
    """
    made = namespace.socket(uid=uid, family=family_of(address))
    try:
        async with asyncio.timeout(seconds):
            await asyncio.get_running_loop().sock_connect(made, (address, port))
            reader, writer = await asyncio.open_connection(sock=made, ssl=tls, server_hostname=name if tls else None)
    except BaseException as error:
        made.close()
        if isinstance(error, OSError) and not isinstance(error, (ConnectionError, TimeoutError)):
            raise ConnectionError(f"{address}:{port}: {error}") from error  # no route, or TLS
        raise
    try:
        yield TcpConnection(reader, writer)
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()

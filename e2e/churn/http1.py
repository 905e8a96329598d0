"""HTTP/1.1 as cheap as it can be: one connection, one request at a time."""

import asyncio

Response = tuple[int, bytes]
"""Status and body."""


class Http1Connection:
    """Requests on one connection, until the server announces its end (`usable`).

    Raises ConnectionError when no answer came.
    """

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self.usable = True

    async def get(self, authority: str, path: str, headers: str = "", *, close: bool = False) -> Response:
        """One GET request. `headers` are whole lines; `close` says that no other will follow."""
        connection = "connection: close\r\n" if close else ""
        self._writer.write(f"GET {path} HTTP/1.1\r\nhost: {authority}\r\n{connection}{headers}\r\n".encode())
        try:
            head = (await self._reader.readuntil(b"\r\n\r\n")).lower()
            body = await self._body(head)
        except asyncio.IncompleteReadError as error:
            self.usable = False
            raise ConnectionResetError(f"closed after {error.partial[:200]!r}") from error
        except ConnectionError:
            self.usable = False
            raise
        if b"\r\nconnection: close\r\n" in head:
            self.usable = False
        return int(head[9:12]), body

    async def _body(self, head: bytes) -> bytes:
        _, found, rest = head.partition(b"\r\ncontent-length: ")
        if found:
            return await self._reader.readexactly(int(rest.partition(b"\r\n")[0]))
        if b"\r\ntransfer-encoding: chunked\r\n" not in head:
            return b""
        body = bytearray()
        while size := int(await self._reader.readuntil(b"\r\n"), 16):
            body += (await self._reader.readexactly(size + 2))[:-2]
        await self._reader.readuntil(b"\r\n")
        return bytes(body)

    def close(self) -> None:
        self.usable = False
        self._writer.close()

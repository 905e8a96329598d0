"""One HTTP/1.1 request on a connection of its own, as cheap as it can be: tests ask thousands of times."""

import asyncio
import socket
from collections.abc import Mapping

import yarl

from e2e.harness.answers import Answer

_READ = 65536


async def single_request(
    made: socket.socket, address: str, url: str, method: str, headers: Mapping[str, str], body: bytes
) -> Answer:
    """The answer. The socket is connected to an address and closed. Raises ConnectionError when no answer came."""
    loop = asyncio.get_running_loop()
    parts = yarl.URL(url)
    with made:
        try:
            await loop.sock_connect(made, (address, parts.port or 80))
            await loop.sock_sendall(made, _request(parts, method, headers, body))
            return await _Response(made).read(method)
        except TimeoutError:
            raise
        except (OSError, ValueError, IndexError) as error:
            raise ConnectionError(f"{url}: {error!r}") from error


def _request(url: yarl.URL, method: str, headers: Mapping[str, str], body: bytes) -> bytes:
    port = "" if url.is_default_port() else f":{url.port}"
    own = {"Host": f"{url.host_subcomponent}{port}", "Accept": "*/*", "Connection": "close"}
    if body:
        own["Content-Type"] = "application/octet-stream"
    if body or method not in ("GET", "HEAD", "OPTIONS", "TRACE"):
        own["Content-Length"] = str(len(body))
    names = {name.lower() for name in headers}
    lines = {name: value for name, value in own.items() if name.lower() not in names} | dict(headers)
    head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    return f"{method} {url.raw_path_qs} HTTP/1.1\r\n{head}\r\n".encode() + body


class _Response:
    def __init__(self, made: socket.socket) -> None:
        self._socket = made
        self._received = bytearray()

    async def read(self, method: str) -> Answer:
        status = 100
        while 100 <= status < 200:
            first, *lines = (await self._until(b"\r\n\r\n")).decode("latin-1").split("\r\n")
            status = int(first.split(" ", 2)[1])
        fields: dict[str, str] = {}
        for line in lines:
            name, _, value = line.partition(":")
            key, value = name.lower(), value.strip()
            fields[key] = f"{fields[key]},{value}" if key in fields else value
        return Answer(status, "HTTP/1.1", fields, await self._body(method, status, fields))

    async def _body(self, method: str, status: int, fields: Mapping[str, str]) -> bytes:
        if method == "HEAD" or status in (204, 304):
            return b""
        if fields.get("transfer-encoding", "").lower() == "chunked":
            chunks = []
            while size := int((await self._until(b"\r\n")).partition(b";")[0], 16):
                chunks.append(await self._exactly(size))
                await self._until(b"\r\n")
            return b"".join(chunks)
        if "content-length" in fields:
            return await self._exactly(int(fields["content-length"]))
        while await self._more():
            pass
        return bytes(self._received)

    async def _until(self, end: bytes) -> bytes:
        while (place := self._received.find(end)) < 0:
            await self._needed()
        found = bytes(self._received[:place])
        del self._received[: place + len(end)]
        return found

    async def _exactly(self, size: int) -> bytes:
        while len(self._received) < size:
            await self._needed()
        found = bytes(self._received[:size])
        del self._received[:size]
        return found

    async def _needed(self) -> None:
        if not await self._more():
            raise ConnectionResetError(f"closed after {bytes(self._received[:200])!r}")

    async def _more(self) -> bool:
        data = await asyncio.get_running_loop().sock_recv(self._socket, _READ)
        self._received += data
        return bool(data)

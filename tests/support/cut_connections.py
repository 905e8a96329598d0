"""A way to a server whose connections can be cut."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from urllib.parse import urlsplit


class Relay:
    """Passes bytes on, both ways."""

    def __init__(self, server: str) -> None:
        parts = urlsplit(server)
        self._host, self._port = parts.hostname or "", parts.port or 443
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._closed = self._stopped = False
        self.accepted = 0
        """Connections so far."""
        self.address = ""

    def cut(self) -> None:
        """Reset every connection."""
        for writer in self._writers:
            writer.transport.abort()

    def close(self) -> None:
        """Reset every connection, and each that comes."""
        self._closed = True
        self.cut()

    def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted += 1
        if self._stopped:  # accepted before the listener was closed
            writer.transport.abort()
            return
        task = asyncio.create_task(self._serve(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        # One that is cancelled before it begins closes nothing.
        task.add_done_callback(lambda _: writer.transport.abort())

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        opened = {writer}
        self._writers |= opened
        try:
            if not self._closed:
                there, back = await asyncio.open_connection(self._host, self._port)
                opened.add(back)
                self._writers.add(back)
                await asyncio.gather(_pass(reader, back), _pass(there, writer))
        except OSError:
            pass
        finally:
            self._writers -= opened
            for each in opened:
                each.transport.abort()
                with contextlib.suppress(OSError):
                    await each.wait_closed()

    async def stop(self) -> None:
        self._stopped = True
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


@contextlib.asynccontextmanager
async def relay(server: str) -> AsyncIterator[Relay]:
    """A relay to a server at a URL, on a port of its own of the same scheme."""
    found = Relay(server)
    listening = await asyncio.start_server(found.accept, "127.0.0.1", 0)
    port = listening.sockets[0].getsockname()[1]
    found.address = urlsplit(server)._replace(netloc=f"127.0.0.1:{port}").geturl()
    try:
        yield found
    finally:
        listening.close()
        await found.stop()


async def _pass(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    writer.transport.abort()

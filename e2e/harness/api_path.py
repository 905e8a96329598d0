"""The way from pods to the API server, which may be slow, and may be cut."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Iterator
from typing import Self


class ApiPath:
    """Hands on bytes between connections of pods and the API server; see `open`."""

    def __init__(self, address: str, server: tuple[str, int]) -> None:
        self._server = server
        self._connections: set[asyncio.Task[None]] = set()
        self._socket = socket.create_server((address, 0))
        self._delay = 0.0
        self._over = False

    @property
    def address(self) -> tuple[str, int]:
        """Where pods connect to."""
        host, port = self._socket.getsockname()
        return host, port

    @classmethod
    @contextlib.asynccontextmanager
    async def open(cls, address: str, server: tuple[str, int]) -> AsyncIterator[Self]:
        """Listen at a port of an address of the node until the end of the block."""
        path = cls(address, server)
        listener = await asyncio.start_server(path._accept, sock=path._socket)
        try:
            yield path
        finally:
            listener.close()
            path._over = True
            await path.cut()

    @contextlib.contextmanager
    def slow(self, seconds: float) -> Iterator[None]:
        """Meanwhile the server takes so long to hear what it is told, every time."""
        self._delay = seconds
        try:
            yield
        finally:
            self._delay = 0.0

    @contextlib.asynccontextmanager
    async def cut_every(self, seconds: float) -> AsyncIterator[None]:
        """Meanwhile no connection lasts longer than that."""

        async def cutting() -> None:
            while True:
                await asyncio.sleep(seconds)
                await self.cut()

        task = asyncio.create_task(cutting())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.wait([task])

    async def cut(self) -> None:
        """Close all connections that there are."""
        for task in tuple(self._connections):
            task.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._over:  # accepted before the listener was closed
            writer.transport.abort()
            return
        task = asyncio.create_task(self._hand_on(reader, writer))
        self._connections.add(task)
        task.add_done_callback(self._connections.discard)
        task.add_done_callback(lambda _: writer.close())  # a task that is cancelled before it begins closes nothing

    async def _hand_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # One that fails is closed, which is all that the near end could be told.
        with contextlib.suppress(OSError):
            far_reader, far_writer = await asyncio.open_connection(*self._server)
            with contextlib.closing(far_writer):
                ways = [
                    asyncio.create_task(self._copy(reader, far_writer, delayed=True)),
                    asyncio.create_task(self._copy(far_reader, writer, delayed=False)),
                ]
                try:
                    await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
                finally:
                    for way in ways:
                        way.cancel()
                    await asyncio.gather(*ways, return_exceptions=True)

    async def _copy(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, delayed: bool) -> None:
        while data := await reader.read(65536):
            if delayed and self._delay:
                await asyncio.sleep(self._delay)
            writer.write(data)
            await writer.drain()

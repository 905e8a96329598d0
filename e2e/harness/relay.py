"""A UNIX socket whose connections are handed on, byte by byte, to TCP connections of a pod.

For libraries that insist on making their sockets themselves, as gRPC's does.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Coroutine
from pathlib import Path

from e2e.harness.tcp import TcpConnection

Connect = Callable[[], contextlib.AbstractAsyncContextManager[TcpConnection]]


@contextlib.asynccontextmanager
async def relay(path: Path, connect: Connect) -> AsyncIterator[None]:
    """Listen at `path` and make one connection for every one that comes; all are closed at the end."""
    open_now: set[asyncio.Task[None]] = set()
    over = False

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if over:  # accepted before the listener was closed
            writer.transport.abort()
            return
        task = asyncio.create_task(_hand_on(reader, writer, connect))
        open_now.add(task)
        task.add_done_callback(open_now.discard)
        task.add_done_callback(lambda _: writer.close())  # a task that is cancelled before it begins closes nothing

    server = await asyncio.start_unix_server(accept, path)
    try:
        yield
    finally:
        server.close()
        over = True
        for task in tuple(open_now):
            task.cancel()
        await asyncio.gather(*open_now, return_exceptions=True)


async def _hand_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, connect: Connect) -> None:
    try:
        # A connection that fails is closed, which is all that the near end could be told.
        with contextlib.suppress(ConnectionError, TimeoutError):
            async with connect() as far:
                await _until_either_ends(_copy(reader, far.writer), _copy(far.reader, writer))
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


async def _until_either_ends(*copies: Coroutine[None, None, None]) -> None:
    ways = [asyncio.create_task(copy) for copy in copies]
    try:
        await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for way in ways:
            way.cancel()
        await asyncio.gather(*ways, return_exceptions=True)


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()

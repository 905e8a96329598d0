"""A gRPC client made of raw HTTP/2 frames, which can do what no gRPC library lets it: never read."""

import asyncio
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import ConnectionTerminated, DataReceived, Event, StreamEnded, StreamReset
from h2.settings import SettingCodes


@dataclass
class RawStream:
    """One stream on a connection of its own. `seen` are the frames that came; pings are answered."""

    http2: H2Connection
    writer: asyncio.StreamWriter
    seen: list[Event] = field(default_factory=list)
    closed: bool = False
    """The server closed the connection."""
    _news: asyncio.Condition = field(default_factory=asyncio.Condition)

    async def send(self, message: bytes) -> None:
        """Send a gRPC message."""
        self.http2.send_data(1, b"\0" + struct.pack(">I", len(message)) + message)
        await self._flush()

    async def until(self, kind: type[Event], seconds: float = 60) -> Event:
        """Wait for a frame of a kind; a connection that ends without it fails."""
        async with asyncio.timeout(seconds), self._news:
            while True:
                for event in self.seen:
                    if isinstance(event, kind):
                        return event
                assert not self.closed, f"the connection ended without {kind.__name__}"
                await self._news.wait()

    @property
    def ended(self) -> bool:
        """The server is done with the stream or the connection."""
        return self.closed or any(
            isinstance(event, StreamEnded | StreamReset | ConnectionTerminated) for event in self.seen
        )

    async def until_ended(self, seconds: float = 60) -> None:
        async with asyncio.timeout(seconds), self._news:
            await self._news.wait_for(lambda: self.ended)

    def received(self) -> int:
        """How many bytes of messages came."""
        return sum(len(event.data) for event in self.seen if isinstance(event, DataReceived))

    async def _flush(self) -> None:
        self.writer.write(self.http2.data_to_send())
        await self.writer.drain()

    async def read(self, reader: asyncio.StreamReader) -> None:
        try:
            while data := await reader.read(1 << 16):
                events = self.http2.receive_data(data)
                await self._flush()
                async with self._news:
                    self.seen += events
                    self._news.notify_all()
        finally:
            async with self._news:
                self.closed = True
                self._news.notify_all()


@asynccontextmanager
async def raw_stream(port: int, method: str, *, window: int = 0) -> AsyncIterator[RawStream]:
    """Open a stream; the server may send `window` bytes of messages on it, and no more ever."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    http2 = H2Connection(H2Configuration(client_side=True, header_encoding="utf-8"))
    http2.local_settings[SettingCodes.INITIAL_WINDOW_SIZE] = window
    http2.initiate_connection()
    http2.send_headers(
        1,
        [
            (":method", "POST"),
            (":scheme", "http"),
            (":path", method),
            (":authority", "xds"),
            ("content-type", "application/grpc"),
            ("te", "trailers"),
        ],
    )
    stream = RawStream(http2, writer)
    await stream._flush()
    reading = asyncio.create_task(stream.read(reader))
    try:
        yield stream
    finally:
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)
        writer.close()

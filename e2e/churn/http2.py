"""HTTP/2 with prior knowledge: many requests at a time on one connection, which may say that it is going away.

Streams that began before a GOAWAY end as usual (RFC 9113, 6.8), which the library `h2` cannot do; so here are its own
frames and header compression with what a client of small requests needs.
"""

import asyncio

import hpack
from hyperframe.frame import (
    ContinuationFrame,
    DataFrame,
    Frame,
    GoAwayFrame,
    HeadersFrame,
    PingFrame,
    RstStreamFrame,
    SettingsFrame,
    WindowUpdateFrame,
)

from e2e.churn.http1 import Response

_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_WINDOW = 2**31 - 1
_FIRST_WINDOW = 65535


class NotProcessedError(ConnectionError):
    """The server says that it has not acted on the request: it may be sent again, whatever it is (RFC 9113, 8.7)."""


class Http2Connection:
    """Requests on one connection; `usable` until the server announces its end. `run` has to run all the while."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._encoder = hpack.Encoder()
        self._decoder = hpack.Decoder()
        self._streams: dict[int, _Stream] = {}
        self._next = 1
        self.usable = True
        settings = SettingsFrame(0, settings={SettingsFrame.INITIAL_WINDOW_SIZE: _WINDOW, SettingsFrame.ENABLE_PUSH: 0})
        self._writer.write(_PREFACE)
        self._send(settings, WindowUpdateFrame(0, window_increment=_WINDOW - _FIRST_WINDOW))

    async def get(self, authority: str, path: str, headers: dict[str, str]) -> Response:
        """One GET request. Raises ConnectionError when no answer came."""
        number, self._next = self._next, self._next + 2
        stream = self._streams[number] = _Stream(asyncio.get_running_loop().create_future())
        pseudo = {":method": "GET", ":scheme": "http", ":authority": authority, ":path": path}
        data = self._encoder.encode((pseudo | headers).items())
        self._send(HeadersFrame(number, data, flags=["END_HEADERS", "END_STREAM"]))
        try:
            return await stream.answer
        finally:
            self._streams.pop(number, None)
            self._close_if_done()

    async def run(self) -> None:
        """Read until the connection ends; what has no answer then, fails."""
        error = "closed"
        try:
            while True:
                frame, length = Frame.parse_frame_header(memoryview(await self._reader.readexactly(9)))
                frame.parse_body(memoryview(await self._reader.readexactly(length)))
                self._receive(frame)
        except (asyncio.IncompleteReadError, ConnectionError) as reason:
            error = f"closed: {reason!r}"
        finally:
            self.usable = False
            self._writer.close()
            for stream in self._streams.values():
                stream.fail(ConnectionResetError(error))

    def close(self) -> None:
        self.usable = False
        self._writer.close()

    def _send(self, *frames: Frame) -> None:
        self._writer.write(b"".join(frame.serialize() for frame in frames))

    def _receive(self, frame: Frame) -> None:
        stream = self._streams.get(frame.stream_id)
        match frame:
            case HeadersFrame() | ContinuationFrame():
                assert "END_HEADERS" in frame.flags, "answers of tests have few headers"
                fields: dict[str, str] = {str(k): str(v) for k, v in self._decoder.decode(bytes(frame.data))}
                if stream is not None:
                    stream.status = int(fields.get(":status", stream.status))
            case DataFrame():
                self._send(WindowUpdateFrame(0, window_increment=frame.flow_controlled_length or 1))
                if stream is not None:
                    stream.body += frame.data
            case RstStreamFrame() if stream is not None:
                refused = frame.error_code == 7
                stream.fail((NotProcessedError if refused else ConnectionResetError)(f"reset {frame.error_code}"))
            case GoAwayFrame():
                self.usable = False
                for number, late in tuple(self._streams.items()):
                    if number > frame.last_stream_id:
                        late.fail(NotProcessedError(f"GOAWAY {frame.error_code}"))
                self._close_if_done()
            case PingFrame() if "ACK" not in frame.flags:
                self._send(PingFrame(0, opaque_data=frame.opaque_data, flags=["ACK"]))
            case SettingsFrame() if "ACK" not in frame.flags:
                self._send(SettingsFrame(0, flags=["ACK"]))
        if stream is not None and "END_STREAM" in frame.flags and not stream.answer.done():
            stream.answer.set_result((stream.status, bytes(stream.body)))

    def _close_if_done(self) -> None:
        if not self.usable and not self._streams:
            self._writer.close()


class _Stream:
    def __init__(self, answer: asyncio.Future[Response]) -> None:
        self.answer = answer
        self.status = 0
        self.body = bytearray()

    def fail(self, error: ConnectionError) -> None:
        if not self.answer.done():
            self.answer.set_exception(error)

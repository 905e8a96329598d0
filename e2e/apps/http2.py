"""The echo server's HTTP/2 side: with prior knowledge, or agreed on by ALPN."""

import asyncio
from dataclasses import dataclass, field

import h2.config
import h2.connection
import h2.events
import h2.exceptions
import h2.settings

from e2e.apps.http1 import reset
from e2e.apps.requests import Request, Response, Workload, respond

_MOST_STREAMS = 2**31 - 1


@dataclass
class _Stream:
    headers: list[tuple[str, str]]
    body: bytearray = field(default_factory=bytearray)
    unsent: bytes | None = None
    """What flow control has held back of the response; None before there is one."""


class Http2Protocol(asyncio.Protocol):
    """One connection."""

    def __init__(self, workload: Workload) -> None:
        self._workload = workload
        self._connection = h2.connection.H2Connection(
            h2.config.H2Configuration(client_side=False, header_encoding="utf-8")
        )
        # A client need not wait for the settings (RFC 9113, 3.4), and what it opens meanwhile beyond the library's
        # hundred streams ends the connection, all requests on it: of a server that was not given the CPU for a second.
        self._connection.local_settings = h2.settings.Settings(
            client=False, initial_values={h2.settings.SettingCodes.MAX_CONCURRENT_STREAMS: _MOST_STREAMS}
        )
        self._streams: dict[int, _Stream] = {}
        self._answers: set[asyncio.Task[None]] = set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin with the own settings, as the protocol wants it."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._connection.initiate_connection()
        self._flush()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the requests that are still waiting for their delay."""
        for answer in self._answers:
            answer.cancel()

    def data_received(self, data: bytes) -> None:
        """Take in frames; a peer that breaks the protocol loses the connection."""
        try:
            events = self._connection.receive_data(data)
        except h2.exceptions.ProtocolError:
            self._flush()
            self._transport.close()
            return
        for event in events:
            match event:
                case h2.events.RequestReceived():
                    self._streams[event.stream_id] = _Stream([(str(k), str(v)) for k, v in event.headers])
                case h2.events.DataReceived():
                    self._streams[event.stream_id].body += event.data
                    self._connection.acknowledge_received_data(event.flow_controlled_length or 0, event.stream_id)
                case h2.events.StreamEnded():
                    answer = asyncio.create_task(self._answer(event.stream_id))
                    self._answers.add(answer)
                    answer.add_done_callback(self._answers.discard)
                case h2.events.StreamReset():
                    self._streams.pop(event.stream_id, None)
                case h2.events.WindowUpdated():
                    for stream_id in tuple(self._streams):
                        self._send(stream_id)
                case h2.events.ConnectionTerminated():
                    self._transport.close()
        self._flush()

    async def _answer(self, stream_id: int) -> None:
        stream = self._streams[stream_id]
        response = respond(self._workload, self._request(stream))
        await asyncio.sleep(response.delay_seconds)
        if stream_id not in self._streams:
            return  # the client gave up
        if response.reset:
            reset(self._transport)
            return
        self._connection.send_headers(stream_id, _fields(response))
        stream.unsent = response.body
        self._send(stream_id)
        self._flush()

    def _send(self, stream_id: int) -> None:
        """Send as much of a response as the client's windows let through."""
        stream = self._streams[stream_id]
        while stream.unsent is not None:
            room = min(self._connection.local_flow_control_window(stream_id), self._connection.max_outbound_frame_size)
            if stream.unsent and room <= 0:
                return
            chunk, rest = stream.unsent[:room], stream.unsent[room:]
            self._connection.send_data(stream_id, chunk, end_stream=not rest)
            stream.unsent = rest or None
            if not rest:
                del self._streams[stream_id]

    def _request(self, stream: _Stream) -> Request:
        pseudo = {name: value for name, value in stream.headers if name.startswith(":")}
        headers: dict[str, str] = {}
        for name, value in stream.headers:
            if not name.startswith(":"):
                headers[name] = f"{headers[name]},{value}" if name in headers else value
        return Request(
            protocol="HTTP/2",
            tls=self._transport.get_extra_info("sslcontext") is not None,
            peer=self._transport.get_extra_info("peername")[0],
            method=pseudo[":method"],
            host=pseudo.get(":authority", ""),
            path=pseudo[":path"],
            headers=headers,
            body=stream.body.decode(errors="replace"),
        )

    def _flush(self) -> None:
        self._transport.write(self._connection.data_to_send())


def _fields(response: Response) -> list[tuple[str, str]]:
    return [(":status", str(response.status)), *response.headers, ("content-length", str(len(response.body)))]

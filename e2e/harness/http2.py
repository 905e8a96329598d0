"""HTTP/2 with prior knowledge, from the client's side: one request on one connection."""

import asyncio
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import urlsplit

import h2.config
import h2.connection
import h2.events

from e2e.harness.answers import Answer


async def request(
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    method: str,
    url: str,
    *,
    headers: Mapping[str, str],
    body: bytes,
) -> Answer:
    """Send one request on a fresh connection and read its response to the end.

    Raises ConnectionError when the peer resets the stream or the connection, or closes before the end.
    """
    parts = urlsplit(url)
    connection = h2.connection.H2Connection(h2.config.H2Configuration(header_encoding="utf-8"))
    connection.initiate_connection()
    stream = connection.get_next_available_stream_id()
    given = {name.lower(): value for name, value in headers.items()}
    pseudo = {
        ":method": method,
        ":scheme": parts.scheme,
        ":authority": given.pop("host", parts.netloc),
        ":path": (parts.path or "/") + (f"?{parts.query}" if parts.query else ""),
    }
    connection.send_headers(stream, [*pseudo.items(), *given.items()], end_stream=not body)
    if body:
        connection.send_data(stream, body, end_stream=True)  # bodies of tests fit the first window of 64 KiB
    response: dict[str, str] = {}
    received = bytearray()
    while True:
        writer.write(connection.data_to_send())
        await writer.drain()
        data = await reader.read(65536)
        if not data:
            raise ConnectionResetError("closed before the end of the response")
        for event in connection.receive_data(data):
            match event:
                case h2.events.ResponseReceived():
                    response = _text(event.headers)
                case h2.events.DataReceived():
                    received += event.data
                    connection.acknowledge_received_data(event.flow_controlled_length or 0, stream)
                case h2.events.TrailersReceived():
                    response |= _text(event.headers)
                case h2.events.StreamEnded():
                    return Answer(int(response.pop(":status")), "HTTP/2", response, bytes(received))
                case h2.events.StreamReset() | h2.events.ConnectionTerminated():
                    raise ConnectionResetError(f"{type(event).__name__}: error code {event.error_code}")


def _text(headers: Iterable[tuple[Any, Any]]) -> dict[str, str]:
    return {str(name): str(value) for name, value in headers}  # text already, by header_encoding

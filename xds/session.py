"""What the server asks of the runtime: who is this client, and what is it to get?"""

from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol

import grpc

from xds.request import Node
from xds.view import View


@dataclass(frozen=True, slots=True)
class Peer:
    """The other end of the connection, as the transport knows it."""

    address: str
    """gRPC's name of it: "ipv4:127.0.0.1:41234", "ipv6:…" or "unix:…"."""
    local: bool
    """Loopback or a UNIX socket: nobody else can read what is sent."""
    auth: Mapping[str, Iterable[bytes]]
    """gRPC's auth context: the verified certificate's names and the like; empty on a plaintext port."""
    metadata: Mapping[str, str | bytes]
    """Headers of the call, lower-case; `authorization` among them. Not to be logged."""


class Session(Protocol):
    """One connected client, as the runtime sees it."""

    proxy_id: str
    views: tuple[View, ...]
    """What it gets now. After a change call `on_views_changed`."""
    on_views_changed: Callable[[], None] | None
    """Set by the server before the first response; None again once the stream is gone."""

    def close(self) -> None:
        """The stream is over. Called exactly once."""


Connect = Callable[[Node, Peer], Awaitable[Session]]
"""Authenticates a client and says what it gets; raises `Refused` to turn it away."""


class Refused(Exception):  # noqa: N818 - says what happens to the client; nothing went wrong here
    """The client is not to be served: the stream ends with this gRPC status."""

    def __init__(self, code: grpc.StatusCode, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message

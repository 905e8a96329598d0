"""What the server asks of the runtime: who is this client, and what is it to get?"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import grpc

from xds.request import Node
from xds.view import View


@dataclass(frozen=True, slots=True)
class Peer:
    """The other end of the connection, as the transport knows it."""

    address: str
    """gRPC's name of it: "ipv4:127.0.0.1:41234", "ipv6:…" or "unix:…"."""
    local: bool
    """Plaintext over loopback or a UNIX socket: nobody else can read what is sent."""
    metadata: Mapping[str, str | bytes]
    """Headers of the call, lower-case; `authorization` among them. Not to be logged."""
    secure: bool = False
    """TLS: the peer can be sure whom it talks to."""
    certificate: bytes | None = None
    """The client certificate (DER) that TLS has verified under the mesh's roots; None if there was none."""
    caller: Any = None
    """What `Authenticate` made of it."""
    give_way: Callable[[], None] = field(default=lambda: None, repr=False, compare=False)
    """To be called by `Connect` before it waits for others than this server, so that streams behind it begin."""


class Session(Protocol):
    """One connected client, as the runtime sees it."""

    proxy_id: str
    views: tuple[View, ...]
    """What it gets now. After a change call `on_views_changed`."""
    on_views_changed: Callable[[], None] | None
    """Set by the server before the first response; None again once the stream is gone."""
    expires_at: float | None
    """When the credentials of the client expire, in seconds since the epoch: the stream ends then, and the client comes
    again with newer ones. None for never."""
    on_refused: Callable[["Refused"], None] | None
    """Set by the server like `on_views_changed`; to be called when the client is not to be served any longer."""

    def close(self) -> None:
        """The stream is over. Called exactly once."""


Authenticate = Callable[[Peer], Awaitable[Any]]
"""Says who a peer is, before anything that it sends is read; raises `Refused`. The answer goes into `Peer.caller`."""

Connect = Callable[[Node, Peer], Awaitable[Session]]
"""Says what a client gets, if it may be who it claims to be; raises `Refused` to turn it away."""

Authorize = Callable[[Peer], Awaitable[None]]
"""Says whether a peer may see the state of all clients; raises `Refused` if not."""


class Refused(Exception):  # noqa: N818 - says what happens to the client; nothing went wrong here
    """The client is not to be served: the stream ends with this gRPC status."""

    def __init__(self, code: grpc.StatusCode, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


async def only_from_here(peer: Peer) -> None:
    """Let peers on this machine see the state of all clients, and nobody else."""
    if not peer.local:
        raise Refused(grpc.StatusCode.PERMISSION_DENIED, "the state of all clients is for callers on this machine only")

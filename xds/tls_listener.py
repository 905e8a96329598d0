"""TLS in front of the gRPC server, with client certificates that are verified when given and not asked for otherwise.

A control plane is called with a token by some and with a certificate by others, on one port. grpcio can only require
client certificates or never request them (grpc: `grpc.ssl_server_credentials`, `require_client_auth`), so TLS ends here
and what is inside goes to the gRPC server through a UNIX socket that only this process's user can open. The name of the
connection's end on that socket tells the server whose it is; nothing in the call itself is believed.
"""

from __future__ import annotations

import asyncio
import contextlib
import resource
import secrets
import socket
import ssl
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from itertools import count
from typing import Any, Final

import structlog

LOG: Final = structlog.get_logger("xds.tls")

_CHUNK: Final = 256 << 10
_CLOSE_WITHIN: Final = 5.0
"""Seconds that a connection has to take the rest of what was written before it is cut."""


@dataclass(frozen=True, slots=True)
class TlsLimits:
    """What strangers may cost. Whoever has proved who it is, is no stranger any more."""

    prove_within: float = 15.0
    """Seconds from the first packet to an authenticated call: handshake and credentials included."""
    strangers: int = 4096
    """Connections that have proved nothing yet; one more, and the oldest of them goes. Never more than an eighth of the
    files that the process may have open: each may come to need three."""


def modern(context: ssl.SSLContext) -> ssl.SSLContext:
    """Let a server's context speak TLS 1.2 and 1.3 with forward secrecy and authenticated encryption, and HTTP/2."""
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers("ECDHE+AESGCM:ECDHE+CHACHA20")
    context.set_alpn_protocols(["h2"])
    # A resumed session would bring back a client certificate that may have expired since. Streams live long: little is
    # lost by a full handshake.
    context.num_tickets = 0
    context.options |= ssl.OP_NO_TICKET | ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION
    return context


class TlsListener:
    """Accepts TLS connections and passes what is inside on to `target`, a UNIX socket.

    `context` is asked for each connection, so that a renewed certificate or trust bundle counts from the next one on
    and open ones stay. `refused` counts connections that were closed from here, by reason.
    """

    def __init__(self, target: str, context: Callable[[], ssl.SSLContext], limits: TlsLimits | None = None) -> None:
        self._target = target
        self._context = context
        self._limits = limits or TlsLimits()
        self._most_strangers = min(self._limits.strangers, resource.getrlimit(resource.RLIMIT_NOFILE)[0] // 8)
        self._prefix = f"dragoman-{secrets.token_hex(8)}"
        self._numbers = count(1)
        self._connections: dict[str, _Connection] = {}
        self._strangers: dict[_Connection, None] = {}
        self._server: asyncio.Server | None = None
        self.refused: Counter[str] = Counter()

    async def bind(self, host: str, port: int) -> int:
        """Take an address; returns its port. Raises OSError if it cannot be had. Nobody is let in before `start`."""
        self._server = await asyncio.get_running_loop().create_server(
            lambda: _Connection(self), host, port, start_serving=False, backlog=1024
        )
        return int(self._server.sockets[0].getsockname()[1])

    async def start(self) -> None:
        """Accept connections."""
        assert self._server is not None, "bind first"  # noqa: S101
        await self._server.start_serving()

    async def stop(self) -> None:
        """Accept no more. Connections that are left are cut."""
        if self._server is not None:
            self._server.close()
        for connection in [*self._connections.values(), *self._strangers]:
            connection.abort()

    def find(self, name: str) -> TlsPeer | None:
        """Whose connection gRPC calls `name`; None for one that did not come from here."""
        found = self._connections.get(name)
        return found.peer if found is not None else None

    def prove(self, name: str) -> None:
        """The peer has said who it is, and was believed: its connection may stay."""
        found = self._connections.get(name)
        if found is not None:
            found.prove()

    def __len__(self) -> int:
        return len(self._connections)


@dataclass(frozen=True, slots=True)
class TlsPeer:
    """The other end of a TLS connection. `certificate` is its verified leaf (DER), None if it gave none."""

    address: str
    certificate: bytes | None


class _Connection(asyncio.Protocol):
    """The outer side of a connection: TLS, to the client. `_Inside` is its other half."""

    def __init__(self, listener: TlsListener) -> None:
        self._listener = listener
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._tls = listener._context().wrap_bio(self._incoming, self._outgoing, server_side=True)
        self._shaken = False
        self._inside: _Inside | None = None
        self._connecting: asyncio.Task[None] | None = None
        self._unsent: list[bytes] = []
        self._name = ""
        self._closed = False
        self.peer = TlsPeer("", None)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)  # noqa: S101 - a stream socket's
        self._transport = transport
        self.peer = TlsPeer(_grpc_name(transport.get_extra_info("peername")), None)
        listener = self._listener
        strangers = listener._strangers
        strangers[self] = None
        if len(strangers) > listener._most_strangers:
            next(iter(strangers)).refuse("crowded out")
        self._deadline = asyncio.get_running_loop().call_later(listener._limits.prove_within, self.refuse, "too slow")

    def data_received(self, data: bytes) -> None:
        self._incoming.write(data)
        if self._closed or not (self._shaken or self._shake_hands()):
            return
        try:
            while received := self._tls.read(_CHUNK):
                self._pass_on(received)
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLError as error:
            if not isinstance(error, ssl.SSLZeroReturnError):
                LOG.debug("connection broken", peer=self.peer.address, error=error.reason)
            self.close()
            return
        else:
            self.close()  # the peer is done (close_notify)
            return
        self._flush()  # what TLS itself has to answer, say to a key update

    def _shake_hands(self) -> bool:
        try:
            self._tls.do_handshake()
        except ssl.SSLWantReadError:
            self._flush()
            return False
        except ssl.SSLCertVerificationError as error:
            self.refuse("certificate", error.verify_message)
            return False
        except ssl.SSLError as error:
            self.refuse("handshake", error.reason or "")
            return False
        self._shaken = True
        self.peer = TlsPeer(self.peer.address, self._tls.getpeercert(binary_form=True))
        self._flush()
        return True

    def _pass_on(self, data: bytes) -> None:
        if self._inside is not None:
            self._inside.write(data)
            return
        self._unsent.append(data)
        if self._connecting is None:
            # Whoever stops after the handshake costs one socket, not three.
            self._transport.pause_reading()
            self._connecting = asyncio.create_task(self._connect())

    async def _connect(self) -> None:
        listener = self._listener
        name = f"{listener._prefix}-{next(listener._numbers)}"
        loop = asyncio.get_running_loop()
        end = socket.socket(socket.AF_UNIX)
        try:
            end.setblocking(False)
            end.bind(f"\0{name}")
            self._name = f"unix-abstract:{name}"
            listener._connections[self._name] = self
            await loop.sock_connect(end, listener._target)
            _, inside = await loop.create_unix_connection(lambda: _Inside(self), sock=end)
        except OSError as error:
            end.close()
            self.refuse("unavailable", str(error))
            return
        if self._closed:
            inside.abort()
            return
        self._inside = inside
        for data in self._unsent:
            inside.write(data)
        self._unsent.clear()
        self._transport.resume_reading()

    def write(self, data: bytes) -> None:
        """Send to the client what the server has to say."""
        if self._closed:
            return
        try:
            self._tls.write(data)
        except ssl.SSLError as error:
            LOG.debug("connection broken", peer=self.peer.address, error=error.reason)
            self.close()
            return
        self._flush()

    def _flush(self) -> None:
        if self._outgoing.pending:
            self._transport.write(self._outgoing.read())

    def pause_writing(self) -> None:
        if self._inside is not None:
            self._inside.transport.pause_reading()

    def resume_writing(self) -> None:
        if self._inside is not None:
            self._inside.transport.resume_reading()

    def pause_reading(self) -> None:
        """The server does not keep up."""
        self._transport.pause_reading()

    def resume_reading(self) -> None:
        """It does again."""
        self._transport.resume_reading()

    def prove(self) -> None:
        self._deadline.cancel()
        self._listener._strangers.pop(self, None)

    def refuse(self, reason: str, detail: str = "") -> None:
        """Close a connection that nobody is known behind, and count why."""
        if not self._closed:
            self._listener.refused[reason] += 1
            LOG.info("connection refused", peer=self.peer.address, reason=reason, detail=detail)
            self.close()

    def close(self) -> None:
        """Close both sides once what was written is sent."""
        if self._closed:
            return
        self._closed = True
        if self._shaken:
            with contextlib.suppress(ssl.SSLError):
                self._tls.unwrap()
        self._flush()
        self._transport.close()
        self._deadline.cancel()
        self._deadline = asyncio.get_running_loop().call_later(_CLOSE_WITHIN, self._transport.abort)
        self._forget()

    def abort(self) -> None:
        self._transport.abort()

    def connection_lost(self, error: Exception | None) -> None:
        self._closed = True
        self._deadline.cancel()
        self._forget()

    def _forget(self) -> None:
        self._listener._strangers.pop(self, None)
        if self._inside is not None:
            self._inside.abort()
        # The name stays until the server's side is gone, if there is one: its calls are still those of this peer.
        elif self._name:
            self._listener._connections.pop(self._name, None)

    def inside_lost(self) -> None:
        self._listener._connections.pop(self._name, None)
        self.close()


class _Inside(asyncio.Protocol):
    """The inner side: plaintext, to the gRPC server."""

    transport: asyncio.Transport

    def __init__(self, outside: _Connection) -> None:
        self._outside = outside

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)  # noqa: S101 - a stream socket's
        self.transport = transport

    def write(self, data: bytes) -> None:
        self.transport.write(data)

    def abort(self) -> None:
        self.transport.abort()

    def data_received(self, data: bytes) -> None:
        self._outside.write(data)

    def pause_writing(self) -> None:
        self._outside.pause_reading()

    def resume_writing(self) -> None:
        self._outside.resume_reading()

    def connection_lost(self, error: Exception | None) -> None:
        self._outside.inside_lost()


def _grpc_name(address: Any) -> str:
    """A socket's address as gRPC writes it: ipv4:127.0.0.1:41234, ipv6:[::1]:41234."""
    if not address:
        return "unknown"
    host, port, *_ = address
    return f"ipv6:[{host}]:{port}" if ":" in host else f"ipv4:{host}:{port}"

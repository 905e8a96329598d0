"""The server's TLS ports, and who is at the other end of a call, whichever way it came."""

from __future__ import annotations

import ssl
import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import grpc

from xds.session import Peer, Refused
from xds.tls_listener import TlsLimits, TlsListener

AnyContext = grpc.aio.ServicerContext[Any, Any]


class SecurePorts:
    """TLS listeners in front of one UNIX socket. False while there are none."""

    def __init__(self, limits: TlsLimits) -> None:
        self._limits = limits
        self._listeners: list[TlsListener] = []
        self.plaintext_socket = False
        """Whether there is a UNIX socket in plaintext for callers, too."""
        self._folder: tempfile.TemporaryDirectory[str] | None = None

    def __len__(self) -> int:
        return len(self._listeners)

    @property
    def socket(self) -> Path:
        """Where the gRPC server is to listen: in a folder that only this user may enter."""
        if self._folder is None:
            self._folder = tempfile.TemporaryDirectory(prefix="dragoman-")
        return Path(self._folder.name) / "inside"

    async def bind(self, host: str, port: int, context: Callable[[], ssl.SSLContext]) -> int:
        """Take an address for one more listener; raises OSError."""
        listener = TlsListener(str(self.socket), context, self._limits)
        port = await listener.bind(host, port)
        self._listeners.append(listener)
        return port

    async def start(self) -> None:
        for listener in self._listeners:
            await listener.start()

    async def stop(self) -> None:
        for listener in self._listeners:
            await listener.stop()
        if self._folder is not None:
            self._folder.cleanup()
            self._folder = None

    def refused(self) -> Counter[str]:
        """Connections closed from here, by reason."""
        return sum((listener.refused for listener in self._listeners), Counter())

    def peer(self, context: AnyContext) -> Peer:
        """The other end of a call; raises `Refused` for whoever came to the inner socket other than through TLS.

        Other processes of this user may enter its folder, and are not to be taken for local proxies.
        """
        name = context.peer()
        metadata = dict(context.invocation_metadata() or ())
        for listener in self._listeners:
            found = listener.find(name)
            if found is not None:
                return Peer(found.address, False, metadata, secure=True, certificate=found.certificate)
        if name.startswith("unix-abstract:") or (name.startswith("unix:") and not self.plaintext_socket):
            raise Refused(grpc.StatusCode.UNAUTHENTICATED, "this socket is the control plane's own: use its TLS port")
        # gRPC percent-encodes the brackets of an IPv6 peer.
        local = unquote(name).startswith(("unix:", "ipv4:127.", "ipv6:[::1]:", "ipv6:[::ffff:127."))
        return Peer(name, local, metadata)

    def prove(self, context: AnyContext) -> None:
        """The caller has said who it is, and was believed."""
        for listener in self._listeners:
            listener.prove(context.peer())

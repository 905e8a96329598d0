"""The sockets of a client, to be ended with it."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import weakref
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import aiohttp
    from aiohttp.connector import AddrInfoType


class OpenSockets:
    """Those that a session has opened, its connections under way and the ones that it has closed included.

    aiohttp forgets a connection when it closes it, as it does when a request is cancelled, and TLS then waits for the
    server's goodbye: a loop that ends before would leave the socket open.
    """

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self._sockets: weakref.WeakSet[socket.socket] = weakref.WeakSet()
        # The session is made by the client library, which cannot be told; aiohttp takes it at construction only.
        setattr(session.connector, "_socket_factory", self._make)  # noqa: B010

    def _make(self, address: AddrInfoType) -> socket.socket:
        family, kind, protocol, _, _ = address
        made = socket.socket(family, kind, protocol)
        self._sockets.add(made)
        return made

    async def end(self, within: float) -> None:
        """Break what is still connected, so that the loop closes it, and wait for that so many seconds."""
        for each in self._open():
            with contextlib.suppress(OSError):  # it has just gone
                each.shutdown(socket.SHUT_RDWR)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(within):
                while self._open():  # noqa: ASYNC110 - sockets tell nobody that they close
                    await asyncio.sleep(0)

    def _open(self) -> list[socket.socket]:
        return [each for each in self._sockets if each.fileno() >= 0]

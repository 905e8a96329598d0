"""The TLS side of the webhooks' port: a certificate that is renewed while the API server keeps connections open."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from typing import Final

import structlog
from aiohttp import web

from ca.authority import AuthorityError

log = structlog.get_logger(__name__)

CONNECTIONS: Final = 1024
"""Connections at once; more are closed. An API server opens one for each object that it asks about at that moment."""

_HANDSHAKE_SECONDS: Final = 10.0


def following(certificate: Callable[[], ssl.SSLContext]) -> ssl.SSLContext:
    """TLS settings that ask `certificate` anew for each connection (OpenSSL: SSL_CTX_set_tlsext_servername_callback;
    it is called for clients that name no server, too)."""

    def choose(connection: ssl.SSLObject, name: str | None, context: ssl.SSLContext) -> int | None:
        try:
            connection.context = certificate()
        except AuthorityError as error:
            log.error("no certificate for the webhooks", error=str(error))
            return ssl.ALERT_DESCRIPTION_INTERNAL_ERROR
        return None

    first = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    first.minimum_version = ssl.TLSVersion.TLSv1_2
    # What is resumed would go past the choice.
    first.num_tickets = 0
    first.options |= ssl.OP_NO_TICKET | ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION
    first.sni_callback = choose
    return first


async def listen(server: web.Server, host: str, port: int, certificate: Callable[[], ssl.SSLContext]) -> asyncio.Server:
    """Accept connections. Raises OSError when the address cannot be bound."""

    def accept() -> asyncio.Protocol:
        return server() if len(server.connections) < CONNECTIONS else _Closed()

    return await asyncio.get_running_loop().create_server(
        accept, host, port, ssl=following(certificate), ssl_handshake_timeout=_HANDSHAKE_SECONDS, backlog=CONNECTIONS
    )


class _Closed(asyncio.Protocol):
    """One connection too many."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        log.warning("webhook connection closed, there are too many", most=CONNECTIONS)
        transport.close()

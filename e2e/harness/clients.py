"""Clients inside a pod: HTTP/1.1, HTTP/2 with prior knowledge, gRPC, WebSocket, TCP.

They run in the test's own process on sockets made in the pod's namespace (`Namespace.socket`), as a user that is not
Envoy's: to the iptables rules, and to everything behind them, they are an application of that pod.

All raise ConnectionError when no answer came (refused, reset, closed early, no route, TLS) and TimeoutError when it
took too long; an HTTP status is never an exception.
"""

import asyncio
import contextlib
import json
import ssl
import tempfile
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import grpc.aio

from e2e.harness import http1, http2, tcp
from e2e.harness.answers import Answer
from e2e.harness.ipv6 import family_of
from e2e.harness.namespaces import Namespace
from e2e.harness.relay import relay
from e2e.harness.single_request import single_request
from e2e.harness.traffic import Traffic


class Client:
    """Calls from a pod. `resolve` gives the address of a name, as the pod's DNS would, or raises ConnectionError."""

    def __init__(self, namespace: Namespace, resolve: Callable[[str], str], *, uid: int = 0) -> None:
        self.namespace = namespace
        self._resolve = resolve
        self._uid = uid

    def resolve(self, name: str) -> str:
        """The address of a name. Raises ConnectionError."""
        return self._resolve(name)

    def as_user(self, uid: int) -> "Client":
        """The same calls from another user of the pod: 1337 is Envoy, whom the rules do not capture."""
        return Client(self.namespace, self._resolve, uid=uid)

    async def http(
        self,
        url: str,
        *,
        method: str = "GET",
        headers: Mapping[str, str] | None = None,
        body: bytes = b"",
        tls: ssl.SSLContext | None = None,
        seconds: float = 10,
    ) -> Answer:
        """One HTTP/1.1 request on a connection of its own."""
        if tls is None and url.startswith("http:"):
            address = self._resolve(urlsplit(url).hostname or "")
            async with asyncio.timeout(seconds):
                made = self.namespace.socket(uid=self._uid, family=family_of(address))
                return await single_request(made, address, url, method, headers or {}, body)
        async with self.session(tls=tls, seconds=seconds, keep_alive=False) as request:
            return await request(url, method=method, headers=headers, body=body)

    async def h2c(
        self,
        url: str,
        *,
        method: str = "GET",
        headers: Mapping[str, str] | None = None,
        body: bytes = b"",
        seconds: float = 10,
    ) -> Answer:
        """One HTTP/2 request with prior knowledge (no TLS, no upgrade) on a connection of its own."""
        parts = urlsplit(url)
        async with asyncio.timeout(seconds), self.tcp(parts.hostname or "", parts.port or 80) as connection:
            reader, writer = connection.reader, connection.writer
            return await http2.request(reader, writer, method, url, headers=headers or {}, body=body)

    def session(
        self, *, tls: ssl.SSLContext | None = None, seconds: float = 10, keep_alive: bool = True
    ) -> contextlib.AbstractAsyncContextManager[http1.HttpSession]:
        """HTTP/1.1 on connections that stay open: `async with pod.session() as request: await request(url)`."""
        return http1.session(
            lambda family: self.namespace.socket(uid=self._uid, family=family),
            self._resolve,
            tls=tls,
            seconds=seconds,
            keep_alive=keep_alive,
        )

    @contextlib.asynccontextmanager
    async def websocket(
        self, url: str, *, headers: Mapping[str, str] | None = None, seconds: float = 10
    ) -> AsyncIterator[aiohttp.ClientWebSocketResponse]:
        """An open WebSocket. Raises aiohttp.WSServerHandshakeError, which has the status, when it is refused."""
        async with self.session(seconds=seconds) as request, request.websocket(url, headers=headers) as websocket:
            yield websocket

    def tcp(
        self, host: str, port: int, *, tls: ssl.SSLContext | None = None, seconds: float = 10
    ) -> contextlib.AbstractAsyncContextManager[tcp.TcpConnection]:
        """A TCP connection, closed at the end of the block."""
        address = self._resolve(host)
        return tcp.connect(self.namespace, address, port, uid=self._uid, tls=tls, name=host, seconds=seconds)

    @contextlib.asynccontextmanager
    async def grpc(self, target: str) -> AsyncIterator[grpc.aio.Channel]:
        """A gRPC channel (plaintext) to `HOST:PORT`."""
        host, _, port = target.rpartition(":")
        with tempfile.TemporaryDirectory(prefix="dragoman-grpc-") as directory:
            path = Path(directory) / "channel"
            authority = [("grpc.default_authority", target)]
            async with (
                relay(path, lambda: self.tcp(host, int(port))),
                grpc.aio.insecure_channel(f"unix:{path}", options=authority) as channel,
            ):
                yield channel

    async def grpc_echo(
        self, target: str, message: bytes = b"hello", *, metadata: Mapping[str, str] | None = None, seconds: float = 10
    ) -> Mapping[str, Any]:
        """What the echo application says of a unary call. Raises grpc.aio.AioRpcError for a status other than OK."""
        async with self.grpc(target) as channel:
            call = channel.unary_unary("/e2e.Echo/Unary", bytes, bytes)
            answer = await call(message, metadata=tuple((metadata or {}).items()), timeout=seconds)
            said: Mapping[str, Any] = json.loads(answer)
            return said

    @contextlib.asynccontextmanager
    async def traffic(
        self,
        url: str,
        *,
        per_second: float = 50,
        headers: Mapping[str, str] | None = None,
        seconds: float = 10,
        keep_alive: bool = True,
    ) -> AsyncIterator[Traffic]:
        """Requests at a steady rate, whatever happens meanwhile, until the block ends; then each has its outcome."""
        if not keep_alive:
            async with Traffic(lambda: self.http(url, headers=headers, seconds=seconds), per_second) as traffic:
                yield traffic
            return
        async with (
            self.session(seconds=seconds) as request,
            Traffic(lambda: request(url, headers=headers), per_second) as traffic,
        ):
            yield traffic

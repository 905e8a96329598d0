"""HTTP/1.1 and WebSocket from a pod, on aiohttp's client."""

import contextlib
import ssl
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from socket import AF_INET, AddressFamily, socket

import aiohttp
import aiohttp.abc

from e2e.harness.answers import Answer
from e2e.harness.ipv6 import family_of


class HttpSession:
    """Requests that may share connections. Raises ConnectionError when no answer came, and TimeoutError."""

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self._session = session

    async def __call__(
        self, url: str, *, method: str = "GET", headers: Mapping[str, str] | None = None, body: bytes = b""
    ) -> Answer:
        """One request. A redirect is an answer like others."""
        with _connection_errors(url):
            async with self._session.request(
                method, url, headers=headers, data=body or None, allow_redirects=False
            ) as response:
                fields: dict[str, str] = {}
                for name, value in response.headers.items():
                    key = name.lower()
                    fields[key] = f"{fields[key]},{value}" if key in fields else value
                return Answer(response.status, "HTTP/1.1", fields, await response.read())

    @contextlib.asynccontextmanager
    async def websocket(
        self, url: str, *, headers: Mapping[str, str] | None = None
    ) -> AsyncIterator[aiohttp.ClientWebSocketResponse]:
        """An open WebSocket. Raises aiohttp.WSServerHandshakeError, which has the status, when it is refused."""
        with _connection_errors(url):
            websocket = await self._session.ws_connect(url, headers=headers)
        async with websocket:
            yield websocket


@contextlib.asynccontextmanager
async def session(
    make_socket: Callable[[int], socket],
    resolve: Callable[[str], str],
    *,
    tls: ssl.SSLContext | None,
    seconds: float,
    keep_alive: bool,
) -> AsyncIterator[HttpSession]:
    """A session whose connections use the given sockets, made by family, and names.

    `seconds` is the longest that a request may take.
    """
    connector = aiohttp.TCPConnector(
        resolver=_Resolver(resolve),
        socket_factory=lambda info: make_socket(info[0]),
        use_dns_cache=False,
        force_close=not keep_alive,
        limit=0,
        ssl=tls or True,
    )
    async with aiohttp.ClientSession(
        connector=connector,
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=False,
        timeout=aiohttp.ClientTimeout(total=seconds),
        skip_auto_headers=("User-Agent", "Accept-Encoding"),
    ) as made:
        yield HttpSession(made)


@contextlib.contextmanager
def _connection_errors(url: str) -> Iterator[None]:
    try:
        yield
    except TimeoutError:
        raise
    except (aiohttp.ClientConnectionError, aiohttp.ClientPayloadError) as error:
        raise ConnectionError(f"{url}: {error}") from error


class _Resolver(aiohttp.abc.AbstractResolver):
    def __init__(self, resolve: Callable[[str], str]) -> None:
        self._resolve = resolve

    async def resolve(
        self, host: str, port: int = 0, family: AddressFamily = AF_INET
    ) -> list[aiohttp.abc.ResolveResult]:
        address = self._resolve(host)
        kind = family_of(address)
        return [{"hostname": host, "host": address, "port": port, "family": kind, "proto": 0, "flags": 0}]

    async def close(self) -> None:
        """Nothing is held."""

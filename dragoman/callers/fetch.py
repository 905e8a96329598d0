"""Small public documents over HTTP, from servers that may be slow, broken or hostile."""

from __future__ import annotations

import asyncio
import socket
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, Final
from urllib.parse import urljoin, urlsplit

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult

from dragoman.callers.address_rules import EVERYWHERE, AddressRules

MAX_BYTES: Final = 1 << 20
"""A longer document is refused."""

_LOOKUPS: Final = ThreadPoolExecutor(max_workers=8, thread_name_prefix="lookup")

_REDIRECTS: Final = (301, 302, 303, 307, 308)


class FetchError(Exception):
    """The document cannot be had; `str()` says why, and holds nothing of what the server said."""


class _Resolver(AbstractResolver):
    """Names to addresses in threads of its own: name servers may be slow, too, and others need the loop's threads."""

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        look_up = partial(socket.getaddrinfo, host, port, family, socket.SOCK_STREAM, 0, socket.AI_ADDRCONFIG)
        found = await asyncio.get_running_loop().run_in_executor(_LOOKUPS, look_up)
        return [
            ResolveResult(
                hostname=host, host=str(address[0]), port=port, family=of, proto=protocol, flags=socket.AI_NUMERICHOST
            )
            for of, _, protocol, _, address in found
        ]

    async def close(self) -> None:
        """Nothing is held."""


class Fetcher:
    """GETs within limits of time, size, redirects and addresses.

    Each connection's address is judged when it is opened, whatever name, spelling or redirect led to it. Proxies,
    cookies and compression are not used.
    """

    def __init__(self, rules: AddressRules = EVERYWHERE, *, redirects: int = 0) -> None:
        self._rules = rules
        self._redirects = redirects

    async def get(self, url: str, *, seconds: float) -> bytes:
        """The document at `url`; raises `FetchError`, at the latest after `seconds`."""
        try:
            return await self._get(url, seconds)
        except FetchError as error:
            raise FetchError(f"{url}: {error}") from None

    async def _get(self, url: str, seconds: float) -> bytes:
        try:
            async with (
                asyncio.timeout(seconds),
                aiohttp.ClientSession(
                    connector=aiohttp.TCPConnector(
                        resolver=_Resolver(), use_dns_cache=False, socket_factory=self._socket, force_close=True
                    ),
                    cookie_jar=aiohttp.DummyCookieJar(),
                    auto_decompress=False,
                    headers={"accept": "application/json", "accept-encoding": "identity"},
                ) as session,
            ):
                return await self._follow(session, url)
        except TimeoutError:
            raise FetchError(f"no answer within {seconds:g} s") from None
        except (aiohttp.ClientError, OSError, ValueError, LookupError) as error:
            raise FetchError(_reason(error)) from None

    async def _follow(self, session: aiohttp.ClientSession, url: str) -> bytes:
        for _ in range(self._redirects + 1):
            async with session.get(url, allow_redirects=False) as response:
                if response.status == 200:
                    return await _body(response)
                if response.status not in _REDIRECTS:
                    raise FetchError(f"the server answers {response.status}")
                further = urljoin(url, response.headers.get("location", ""))
            if not same_or_better(url, further):
                raise FetchError("the server redirects to what is no https URL")
            url = further
        raise FetchError("the server redirects" if not self._redirects else "too many redirects")

    def _socket(self, address: Any) -> socket.socket:
        family, kind, protocol, _, (host, *_) = address
        objection = self._rules.objection(host)
        if objection is not None:
            raise PermissionError(f"not allowed: {objection}")
        return socket.socket(family, kind, protocol)


def same_or_better(url: str, further: str) -> bool:
    """Whether what a document at `url` leads to is as safe from others on the way."""
    return urlsplit(further).scheme in (("https",) if urlsplit(url).scheme == "https" else ("http", "https"))


async def _body(response: aiohttp.ClientResponse) -> bytes:
    body = bytearray()
    async for chunk in response.content.iter_any():
        body += chunk
        if len(body) > MAX_BYTES:
            raise FetchError(f"the answer is longer than {MAX_BYTES} bytes")
    return bytes(body)


def _reason(error: Exception) -> str:
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return f"the server's certificate does not hold: {error.certificate_error}"
    if isinstance(error, aiohttp.ClientConnectorError):
        return f"no connection: {error.os_error.strerror or error.os_error}"
    if isinstance(error, ValueError | LookupError):
        # Which of them is raised for what depends on the version of Python.
        return "not a URL"
    return f"the server does not speak HTTP well: {type(error).__name__}"

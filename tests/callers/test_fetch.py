"""Documents from servers that may be slow, broken or hostile."""

from __future__ import annotations

import asyncio
import ipaddress
import ssl
import tempfile
from collections.abc import AsyncIterator
from datetime import UTC, datetime

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from ca.authority import new_root
from dragoman.callers.address_rules import EVERYWHERE, AddressRules
from dragoman.callers.fetch import MAX_BYTES, Fetcher, FetchError, same_or_better
from dragoman.callers.openid import key_set_uri


class Server:
    """Answers by path; `asked` are the headers of each request."""

    def __init__(self) -> None:
        self.asked: list[dict[str, str]] = []
        self.url = ""
        self.released = asyncio.Event()

    async def answer(self, request: web.Request) -> web.StreamResponse:
        self.asked.append({name.lower(): value for name, value in request.headers.items()})
        match request.path.split("/"):
            case [_, "ok"]:
                return web.Response(text="here")
            case [_, "status", code]:
                return web.Response(status=int(code), text="a secret of the inner network")
            case [_, "redirect", "0"]:
                raise web.HTTPFound("/ok")
            case [_, "redirect", left]:
                raise web.HTTPFound(f"/redirect/{int(left) - 1}")
            case [_, "to"]:
                return web.Response(status=302, headers={"location": request.query["url"]})
            case [_, "cookie"]:
                return web.Response(status=302, headers={"location": "/ok", "set-cookie": "a=b"})
            case [_, "long", length]:
                return web.Response(body=b" " * int(length))
            case [_, "endless"]:
                response = web.StreamResponse()
                await response.prepare(request)
                while True:
                    await response.write(b" " * 65536)
            case [_, "slow"]:
                await self.released.wait()
        raise web.HTTPNotFound


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    found = Server()
    application = web.Application()
    application.router.add_get("/{tail:.*}", found.answer)
    async with TestServer(application) as running:
        found.url = str(running.make_url("")).rstrip("/")
        try:
            yield found
        finally:
            found.released.set()


async def fetched(server: Server, path: str, *, redirects: int = 3, seconds: float = 60) -> bytes:
    return await Fetcher(EVERYWHERE, redirects=redirects).get(f"{server.url}{path}", seconds=seconds)


async def test_a_document_is_asked_for_without_compression_and_cookies(server: Server) -> None:
    assert await fetched(server, "/cookie") == b"here"
    for headers in server.asked:
        assert headers["accept-encoding"] == "identity"
        assert "cookie" not in headers
        assert "authorization" not in headers


@pytest.mark.parametrize("path", ["/redirect/2", f"/long/{MAX_BYTES}"])
async def test_within_the_limits(server: Server, path: str) -> None:
    assert await fetched(server, path)


@pytest.mark.parametrize(
    ("path", "why"),
    [
        ("/redirect/3", "too many redirects"),
        ("/to?url=file:///etc/passwd", "no https URL"),
        ("/to?url=ftp://127.0.0.1/", "no https URL"),
        ("/to?url=http://[", "URL"),
        ("/to?url=http://h[::1]:1@/", "URL"),
        ("/status/404", "answers 404"),
        ("/status/204", "answers 204"),
        ("/status/500", "answers 500"),
        (f"/long/{MAX_BYTES + 1}", "longer than"),
        ("/endless", "longer than"),
    ],
)
async def test_beyond_the_limits(server: Server, path: str, why: str) -> None:
    with pytest.raises(FetchError, match=why) as error:
        await fetched(server, path)
    assert "secret" not in str(error.value)


async def test_redirects_are_not_followed_unless_asked_for(server: Server) -> None:
    with pytest.raises(FetchError, match="redirects"):
        await fetched(server, "/redirect/0", redirects=0)
    assert len(server.asked) == 1


async def test_a_server_that_does_not_answer(server: Server) -> None:
    with pytest.raises(FetchError, match=r"no answer within 0\.05 s"):
        await fetched(server, "/slow", seconds=0.05)


async def test_what_is_no_http() -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readline()
        writer.write(b"220 mail.example ESMTP\r\n")
        writer.close()

    server = await asyncio.start_server(talk, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(FetchError, match="does not speak HTTP well"):
            await Fetcher().get(f"http://127.0.0.1:{port}/", seconds=60)
    with pytest.raises(FetchError, match="no connection"):
        await Fetcher().get(f"http://127.0.0.1:{port}/", seconds=60)


async def test_a_certificate_that_nobody_vouches_for() -> None:
    root = new_root("somebody", now=datetime.now(UTC))
    with tempfile.NamedTemporaryFile() as file:
        file.write(root.certificate.public_bytes(Encoding.PEM))
        file.write(root.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        file.flush()
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(file.name)
    server = TestServer(web.Application(), scheme="https")
    await server.start_server(ssl=context)
    try:
        with pytest.raises(FetchError, match="certificate does not hold"):
            await Fetcher().get(f"https://127.0.0.1:{server.port}/", seconds=60)
    finally:
        await server.close()


LOCAL = [
    "http://127.0.0.1",
    "http://127.9.9.9",
    "http://localhost",
    "http://0x7f.1",
    "http://[::1]",
    "http://[::ffff:127.0.0.1]",
    "http://[64:ff9b::7f00:1]",
]


@pytest.mark.parametrize("host", LOCAL)
async def test_no_spelling_of_a_refused_address_is_connected_to(server: Server, host: str) -> None:
    port = server.url.rpartition(":")[2]
    with pytest.raises(FetchError, match=r"not allowed: .* is a loopback address"):
        await Fetcher(AddressRules()).get(f"{host}:{port}/ok", seconds=60)
    assert not server.asked


async def test_no_redirect_leads_to_a_refused_address(server: Server) -> None:
    port = server.url.rpartition(":")[2]
    only_here = AddressRules(allowed=(ipaddress.ip_network("127.0.0.1/32"),))
    with pytest.raises(FetchError, match=r"127\.0\.0\.2 is a loopback address"):
        await Fetcher(only_here, redirects=3).get(f"{server.url}/to?url=http://127.0.0.2:{port}/ok", seconds=60)
    assert len(server.asked) == 1


@pytest.mark.parametrize(
    "url", ["", "x", "http:///", "http://a:99999/", "file:///etc/passwd", "http://user:pw@[/", "https://h[::1]:1@/"]
)
async def test_what_is_no_url(url: str) -> None:
    with pytest.raises(FetchError):
        await Fetcher().get(url, seconds=60)


def test_a_document_over_tls_leads_to_none_without() -> None:
    assert same_or_better("https://a/x", "https://b/y")
    assert same_or_better("http://a/x", "https://b/y")
    assert not same_or_better("https://a/x", "http://a/x")


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"jwks_uri": 3}', "[" * 100_000, '{"jwks_uri": "file:///keys"}'])
async def test_openid_configurations_without_a_usable_uri(text: str) -> None:
    async def configuration(request: web.Request) -> web.Response:
        return web.Response(text=text)

    application = web.Application()
    application.router.add_get("/tenant/.well-known/openid-configuration", configuration)
    async with TestServer(application) as running:
        with pytest.raises(FetchError, match="openid-configuration"):
            await key_set_uri(Fetcher(), str(running.make_url("/tenant/")), seconds=60)

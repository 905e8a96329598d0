"""Bundles that others publish: fetched over TLS, kept while their publisher fails, gone with the setting."""

from __future__ import annotations

import asyncio
import ipaddress
import json
import ssl
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Self

import aiohttp.connector
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from cryptography import x509

from ca.authority import Authority, new_root
from ca.bundle import spiffe_bundle
from ca.secrets import root_secret
from dragoman.callers.address_rules import AddressRules
from dragoman.callers.fetch import FetchError
from dragoman.runtime import trust_bundles
from dragoman.runtime.key_sets import KeyFetching
from dragoman.runtime.trust_bundle_store import TrustBundleStore
from dragoman.runtime.trust_bundles import TrustBundles
from tests.debug.running_plane import MESH, running_plane
from tests.runtime.test_added_roots import certificates, verified_with
from tests.support.until import until
from tests.translators.gateway_certificates import Authority as WebAuthority

URL = "https://spiffe.example/bundle"
OTHER = "https://other.example/bundle"


def root(name: str) -> Authority:
    return new_root(name, now=datetime.now(UTC))


def document(*authorities: Authority) -> bytes:
    return json.dumps(spiffe_bundle([authority.certificate for authority in authorities])).encode()


class Published:
    """Documents by URL, and how often each was asked for; an exception is raised."""

    def __init__(self) -> None:
        self.documents: dict[str, bytes | Exception] = {}
        self.asked: asyncio.Queue[str] = asyncio.Queue()

    async def get(self, url: str, *, seconds: float) -> bytes:
        self.asked.put_nowait(url)
        found = self.documents[url]
        if isinstance(found, Exception):
            raise found
        return found


@pytest.fixture
def published(monkeypatch: pytest.MonkeyPatch) -> Published:
    """Waits are as good as none."""
    for name in ("SOONEST", "LATEST", "_FIRST_RETRY", "_LAST_RETRY"):
        monkeypatch.setattr(trust_bundles, name, 0.001)
    return Published()


class Followed:
    """Bundles that are followed within the block."""

    def __init__(self, published: Published, store: TrustBundleStore | None = None) -> None:
        self.changes: asyncio.Queue[None] = asyncio.Queue()
        self.bundles = TrustBundles(published, lambda: self.changes.put_nowait(None), store)

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self.bundles.run())
        return self

    async def __aexit__(self, *error: object) -> None:
        self._task.cancel()
        with suppress(asyncio.CancelledError):
            await self._task


async def asked(published: Published, url: str, times: int) -> None:
    """Wait until a URL was asked for so often again."""
    while not published.asked.empty():
        published.asked.get_nowait()
    while times:
        times -= await published.asked.get() == url


async def test_a_bundle_is_followed_and_told_of_only_when_it_is_another(published: Published) -> None:
    one, two = root("one"), root("two")
    published.documents[URL] = document(one)
    async with Followed(published) as followed:
        followed.bundles.follow([URL])
        await followed.changes.get()
        assert followed.bundles.roots(URL) == (one.certificate,)
        await asked(published, URL, 3)
        assert followed.changes.empty()
        published.documents[URL] = document(two, one)
        await followed.changes.get()
        assert followed.bundles.roots(URL) == (two.certificate, one.certificate)


async def test_the_last_good_stays_while_the_publisher_fails(published: Published) -> None:
    one = root("one")
    published.documents[URL] = document(one)
    async with Followed(published) as followed:
        followed.bundles.follow([URL])
        await followed.changes.get()
        for broken in (FetchError("no answer"), b"<html>", document(one)[:-5], RuntimeError("a defect")):
            published.documents[URL] = broken
            await asked(published, URL, 2)
            assert followed.bundles.roots(URL) == (one.certificate,)
        published.documents[URL] = document()
        await followed.changes.get()
        assert followed.bundles.roots(URL) == (), "a bundle without keys takes trust away"


async def test_one_that_fails_keeps_no_other_from_its_turn(published: Published) -> None:
    one = root("one")
    published.documents |= {URL: FetchError("no answer"), OTHER: document(one)}
    async with Followed(published) as followed:
        followed.bundles.follow([URL, OTHER])
        await followed.changes.get()
        assert followed.bundles.roots(OTHER) == (one.certificate,)
        assert followed.bundles.roots(URL) == ()


async def test_what_is_no_longer_named_is_neither_asked_for_nor_trusted(published: Published) -> None:
    published.documents |= {URL: document(root("one")), OTHER: document(root("two"))}
    async with Followed(published) as followed:
        followed.bundles.follow([URL, OTHER])
        await followed.changes.get()
        await followed.changes.get()
        followed.bundles.follow([OTHER])
        assert followed.bundles.roots(URL) == ()
        await asked(published, OTHER, 1)
        await asked(published, OTHER, 3)
        assert published.asked.empty() or URL not in {published.asked.get_nowait()}
        followed.bundles.follow([URL])
        await followed.changes.get()
        assert followed.bundles.roots(URL)


async def test_the_first_round_is_waited_for_but_not_forever(published: Published) -> None:
    one = root("one")
    published.documents |= {URL: document(one), OTHER: FetchError("no answer")}
    async with Followed(published) as followed:
        followed.bundles.follow([URL, OTHER])
        await followed.bundles.first(30)
        assert followed.bundles.roots(URL) == (one.certificate,)


async def test_a_restart_while_the_publisher_is_down_costs_nothing(published: Published, tmp_path: Path) -> None:
    one, file = root("one"), tmp_path / "state" / "trust-bundles.json"
    published.documents |= {URL: document(one), OTHER: document()}
    async with Followed(published, TrustBundleStore(file)) as followed:
        followed.bundles.follow([URL])
        await followed.changes.get()
        await asked(published, URL, 2)
    assert file.stat().st_mode & 0o077 == 0
    published.documents[URL] = FetchError("no answer")
    async with Followed(published, TrustBundleStore(file)) as followed:
        followed.bundles.follow([URL])
        assert followed.bundles.roots(URL) == (one.certificate,)
        await followed.bundles.first(30)
        followed.bundles.follow([OTHER])
        await followed.changes.get()
        followed.bundles.follow([URL, OTHER])
        assert followed.bundles.roots(URL) == (), "what was no longer named is not trusted again for what it was"


@pytest.mark.parametrize("content", ["", "{", '{"format": 2, "bundles": {}}', '{"format": 1, "bundles": {"a": "b"}}'])
def test_a_file_that_cannot_be_read_is_as_good_as_none(content: str, tmp_path: Path) -> None:
    file = tmp_path / "trust-bundles.json"
    TrustBundleStore(file).save({URL: (root("one").certificate,)})
    assert TrustBundleStore(file).load()
    file.write_text(content)
    assert TrustBundleStore(file).load() == {}


async def hanging(url: str, *, seconds: float) -> bytes:
    await asyncio.Event().wait()
    return b""


async def test_a_publisher_that_hangs_holds_nobody_up(published: Published, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(published, "get", hanging)
    async with Followed(published) as followed:
        followed.bundles.follow([URL])
        await followed.bundles.first(0.01)
        assert followed.bundles.roots(URL) == ()


async def test_over_tls_into_what_proxies_trust(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trust_bundles, "SOONEST", 0.01)
    monkeypatch.setattr(trust_bundles, "LATEST", 0.01)
    published = {"roots": document(old := root("old"))}

    async def answer(request: web.Request) -> web.Response:
        return web.Response(body=published["roots"])

    web_authority = WebAuthority()
    pair = web_authority.issue("localhost")
    files = tmp_path / "certificate", tmp_path / "key"
    for file, content in zip(files, (pair.certificate, pair.key), strict=True):
        file.write_bytes(content)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(*files)
    monkeypatch.setattr(aiohttp.connector, "_SSL_CONTEXT_VERIFIED", web_authority.trusting())
    application = web.Application()
    application.router.add_get("/bundle", answer)
    server = TestServer(application, scheme="https")
    await server.start_server(ssl=context)
    folder = tmp_path / "mesh"
    folder.mkdir()
    url = f"https://localhost:{server.port}/bundle"
    entry: dict[str, object] = {"spiffeBundleUrl": url, "trustDomains": ["old.example"]}
    local = KeyFetching(AddressRules(allowed=(ipaddress.ip_network("127.0.0.1/32"), ipaddress.ip_network("::1/128"))))

    try:
        async with running_plane(folder, MESH + certificates(entry), key_fetching=local) as running:
            own = running.plane.authority.roots

            async def trusted(*more: x509.Certificate, name: str = "old.example") -> bool:
                identities = running.plane.identities
                assert identities.roots == own, "it is not for all of ours"
                if not more:
                    return identities.distributed == root_secret(identities.roots_pem)
                ours = {"new.example": own, "old.example": own}
                return verified_with(identities.distributed) == {**ours, name: (*ours.get(name, ()), *more)}

            assert await trusted(old.certificate), "what was fetched is there when the first proxy comes"
            published["roots"] = document(new := root("new"))
            await until(lambda: trusted(new.certificate))
            (folder / "mesh.yaml").write_text(MESH + certificates({**entry, "trustDomains": ["elsewhere.example"]}))
            await until(lambda: trusted(new.certificate, name="elsewhere.example"))
            (folder / "mesh.yaml").write_text(
                MESH + certificates({**entry, "spiffeBundleUrl": url.replace("https", "http")})
            )
            await until(trusted)
            (folder / "mesh.yaml").write_text(MESH + certificates(entry))
            await until(lambda: trusted(new.certificate))
        async with running_plane(folder, MESH + certificates(entry)) as running:
            assert running.plane.identities.roots == running.plane.authority.roots, "loopback is not asked by default"
    finally:
        await server.close()

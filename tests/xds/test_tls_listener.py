"""TLS in front of the server: versions, certificates, renewal, and strangers who cost little."""

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from ca.authority import Authority, key_pem, new_root, pem
from ca.identity import SpiffeId
from dragoman.runtime.serving_certificate import ServingCertificate
from xds.tls_listener import TlsLimits, TlsListener

WEB = SpiffeId("cluster.local", "shop", "web")


class Echo:
    """The server behind: sends back what it gets, and remembers by which names gRPC would know its clients."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self.lost = asyncio.Event()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peer = writer.get_extra_info("peername")
        self.names.append("unix-abstract:" + peer[1:].decode() if isinstance(peer, bytes) else peer)
        try:
            while data := await reader.read(1 << 16):
                writer.write(data)
                await writer.drain()
        except ConnectionError:
            pass
        finally:
            writer.close()
            self.lost.set()


class Front:
    def __init__(self, folder: Path) -> None:
        self.root = new_root("cluster.local", now=datetime.now(UTC))
        self.now = datetime.now(UTC)
        self.certificate = ServingCertificate(lambda: self.root, lambda: self.root.roots, clock=lambda: self.now)
        self.echo = Echo()
        self.listener = TlsListener(str(folder / "inside"), self.certificate.context, TlsLimits())
        self.port = 0

    def client(self, *ids: SpiffeId, by: Authority | None = None, folder: Path | None = None) -> ssl.SSLContext:
        context = ssl.create_default_context(cadata=self.root.roots_pem.decode())
        if ids and folder is not None:
            key = ec.generate_private_key(ec.SECP256R1())
            issued = (by or self.root).sign(key.public_key(), spiffe_ids=ids, now=datetime.now(UTC))
            file = folder / "client.pem"
            file.write_bytes(pem([issued]) + key_pem(key))
            context.load_cert_chain(file)
        return context

    @asynccontextmanager
    async def connected(
        self, context: ssl.SSLContext, name: str = "istiod.istio-system.svc"
    ) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port, ssl=context, server_hostname=name)
        try:
            yield reader, writer
        finally:
            writer.transport.abort()

    async def until_refused(self, reason: str, count: int = 1) -> None:
        async with asyncio.timeout(60):
            while self.listener.refused[reason] < count:  # noqa: ASYNC110 - a counter has no event
                await asyncio.sleep(0.01)


@asynccontextmanager
async def front(folder: Path, **limits: float) -> AsyncIterator[Front]:
    found = Front(folder)
    found.listener = TlsListener(str(folder / "inside"), found.certificate.context, TlsLimits(**limits))  # type: ignore[arg-type]
    inside = await asyncio.start_unix_server(found.echo.serve, folder / "inside")
    found.port = await found.listener.bind("127.0.0.1", 0)
    await found.listener.start()
    try:
        yield found
    finally:
        await found.listener.stop()
        inside.close()


async def test_bytes_go_both_ways_and_the_name_inside_leads_to_the_peer(tmp_path: Path) -> None:
    data = bytes(range(256)) * 20_000
    async with front(tmp_path) as served, served.connected(served.client()) as (reader, writer):
        writer.write(data)
        assert await reader.readexactly(len(data)) == data
        (name,) = served.echo.names
        peer = served.listener.find(name)
        assert peer is not None
        assert peer.address == "ipv4:127.0.0.1:{}".format(writer.get_extra_info("sockname")[1])
        assert peer.certificate is None
        assert served.listener.find("unix:") is None
        assert served.listener.find("unix-abstract:somebody-else") is None


async def test_a_client_certificate_is_verified_when_given(tmp_path: Path) -> None:
    async with front(tmp_path) as served:
        async with served.connected(served.client(WEB, folder=tmp_path)) as (reader, writer):
            writer.write(b"x")
            await reader.readexactly(1)
            peer = served.listener.find(served.echo.names[0])
            assert peer is not None
            assert peer.certificate is not None
            names = x509.load_der_x509_certificate(peer.certificate).extensions.get_extension_for_class(
                x509.SubjectAlternativeName
            )
            assert names.value.get_values_for_type(x509.UniformResourceIdentifier) == [str(WEB)]
        stranger = new_root("cluster.local", now=datetime.now(UTC))
        with pytest.raises((ssl.SSLError, ConnectionError)):
            async with served.connected(served.client(WEB, by=stranger, folder=tmp_path)) as (reader, _):
                await reader.readexactly(1)
        await served.until_refused("certificate")
        assert len(served.echo.names) == 1


@pytest.mark.parametrize("name", ["istiod.istio-system.svc", "dragoman.istio-system.svc", "localhost", "127.0.0.1"])
async def test_the_certificate_has_the_names_that_callers_use(tmp_path: Path, name: str) -> None:
    async with front(tmp_path) as served, served.connected(served.client(), name) as (_, writer):
        tls = writer.get_extra_info("ssl_object")
        assert tls.version() == "TLSv1.3"


async def test_old_versions_and_weak_suites_are_refused(tmp_path: Path) -> None:
    async with front(tmp_path) as served:
        old = served.client()
        old.set_ciphers("ALL:@SECLEVEL=0")
        with pytest.warns(DeprecationWarning, match="TLSv1"):
            old.minimum_version, old.maximum_version = ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1
        weak = served.client()
        weak.maximum_version = ssl.TLSVersion.TLSv1_2
        weak.set_ciphers("ECDHE+AES+SHA")
        for context in (old, weak):
            with pytest.raises((ssl.SSLError, ConnectionError)):
                async with served.connected(context):
                    pass
        good = served.client()
        good.maximum_version = ssl.TLSVersion.TLSv1_2
        async with served.connected(good) as (_, writer):
            assert writer.get_extra_info("cipher")[0].startswith("ECDHE-ECDSA-AES")


async def test_a_renewed_certificate_counts_from_the_next_connection_on(tmp_path: Path) -> None:
    def serial(writer: asyncio.StreamWriter) -> str:
        return str(writer.get_extra_info("peercert")["serialNumber"])

    async with AsyncExitStack() as stack:
        served = await stack.enter_async_context(front(tmp_path))
        served.now = datetime.now(UTC) - timedelta(hours=11, minutes=59)
        reader, writer = await stack.enter_async_context(served.connected(served.client()))
        async with served.connected(served.client()) as (_, again):
            assert serial(again) == serial(writer)
        served.now += timedelta(minutes=58)
        async with served.connected(served.client()) as (_, again):
            assert serial(again) == serial(writer)
        # Half of its life, which began two minutes before it was issued only on paper.
        served.now += timedelta(hours=11, minutes=3)
        async with served.connected(served.client()) as (_, renewed):
            assert serial(renewed) != serial(writer)
        served.root = new_root("cluster.local", now=datetime.now(UTC))
        async with served.connected(served.client()):
            pass  # under the new root
        writer.write(b"still here")
        assert await reader.readexactly(10) == b"still here"


async def test_slow_handshakes_are_cut_and_others_served(tmp_path: Path) -> None:
    async with front(tmp_path, prove_within=0.5) as served:
        silent = [await asyncio.open_connection("127.0.0.1", served.port) for _ in range(20)]
        for _, writer in silent[:10]:
            writer.write(b"\x16\x03\x01")  # the beginning of a ClientHello, and no more
        served.listener._limits = TlsLimits()  # who comes now has time enough on a busy machine, too
        async with served.connected(served.client()) as (reader, writer):
            writer.write(b"x")
            assert await reader.readexactly(1) == b"x"
            served.listener.prove(served.echo.names[0])
            for reader_, _ in silent:
                assert await asyncio.wait_for(reader_.read(), 60) == b""
            writer.write(b"y")
            assert await reader.readexactly(1) == b"y"
        assert served.listener.refused["too slow"] == 20
        for _, writer in silent:
            writer.close()


async def test_whoever_proves_nothing_after_the_handshake_goes_too(tmp_path: Path) -> None:
    async with front(tmp_path, prove_within=0.3) as served:
        for seconds in (0.3, 3.0, 30.0):
            served.listener._limits = TlsLimits(prove_within=seconds)
            served.echo.lost.clear()
            # A busy machine may not get through the handshake in so short a time.
            with suppress(OSError, asyncio.IncompleteReadError):
                async with served.connected(served.client()) as (reader, writer):
                    writer.write(b"x")
                    await reader.readexactly(1)
                    assert await asyncio.wait_for(reader.read(), 60) == b""
                    break
        else:
            pytest.fail("it was cut before the handshake had an end")
        await asyncio.wait_for(served.echo.lost.wait(), 60)
        assert len(served.listener) == 0


async def test_of_too_many_strangers_the_oldest_goes(tmp_path: Path) -> None:
    async with front(tmp_path, strangers=5) as served:
        crowd = [await asyncio.open_connection("127.0.0.1", served.port) for _ in range(30)]
        await served.until_refused("crowded out", 25)
        async with served.connected(served.client()) as (reader, writer):
            writer.write(b"x")
            assert await reader.readexactly(1) == b"x"
        for _, writer in crowd:
            writer.close()


@pytest.mark.parametrize(
    "garbage",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        bytes(1000),
        b"\x16\x03\x03\xff\xff" + b"z" * 70_000,
    ],
)
async def test_what_is_no_tls_is_refused(tmp_path: Path, garbage: bytes) -> None:
    async with front(tmp_path, prove_within=1) as served:
        reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
        writer.write(garbage)
        with suppress(ConnectionError):
            await asyncio.wait_for(reader.read(), 60)
        writer.close()
        assert sum(served.listener.refused.values()) == 1
        assert served.echo.names == []


async def test_a_client_that_does_not_read_holds_the_server_back(tmp_path: Path) -> None:
    """What waits to be sent does not pile up in this process."""
    async with front(tmp_path) as served:
        context = served.client()
        plain = socket.create_connection(("127.0.0.1", served.port))
        plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 16)
        plain.setblocking(False)
        reader, writer = await asyncio.open_connection(
            sock=plain, ssl=context, server_hostname="localhost", limit=1 << 16
        )
        writer.transport.pause_reading()
        block = bytes(1 << 20)
        written = 0
        with suppress(TimeoutError):
            async with asyncio.timeout(2):
                while written < 512:
                    writer.write(block)
                    await writer.drain()
                    written += 1
        assert written < 64
        writer.transport.abort()
        await asyncio.wait_for(served.echo.lost.wait(), 60)
        _ = reader


async def test_the_server_behind_is_gone(tmp_path: Path) -> None:
    async with front(tmp_path) as served:
        (tmp_path / "inside").unlink()
        async with served.connected(served.client()) as (reader, writer):
            writer.write(b"x")
            assert await asyncio.wait_for(reader.read(), 60) == b""
        assert served.listener.refused["unavailable"] == 1
        assert len(served.listener) == 0

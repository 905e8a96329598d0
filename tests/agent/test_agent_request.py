"""The agent against a running control plane: what it writes, and what it never puts in place of what is there."""

import asyncio
import json
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import grpc
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from ca import key_folder
from ca.authority import Authority, key_pem, new_root, pem
from ca.identity import SpiffeId
from dragoman.agent import request
from dragoman.agent.settings import Settings
from dragoman.codec import decode, encode
from dragoman.codec.messages import IstioCertificateRequest, IstioCertificateResponse
from tests.runtime.secure_plane import SERVER_NAME, SecurePlane, secure_plane

WEB = SpiffeId("cluster.local", "shop", "web")


@asynccontextmanager
async def reachable(tmp_path: Path) -> AsyncIterator[tuple[SecurePlane, Settings]]:
    served = tmp_path / "mesh"
    served.mkdir()
    async with secure_plane(served) as mesh:
        (tmp_path / "token").write_text(mesh.token())
        (tmp_path / "root.pem").write_bytes(mesh.root.roots_pem)
        yield mesh, settings(tmp_path, mesh.port)


def settings(tmp_path: Path, port: int, lifetime: int = 0) -> Settings:
    return Settings(
        f"127.0.0.1:{port}",
        SERVER_NAME,
        str(tmp_path / "root.pem"),
        str(tmp_path / "token"),
        str(tmp_path / "keys"),
        lifetime,
    )


def in_folder(tmp_path: Path) -> x509.Certificate:
    """The certificate that is there; its key must be, too."""
    found = key_folder.read(tmp_path / "keys")
    assert found is not None
    leaf = x509.load_pem_x509_certificates(found[1])[0]
    assert load_pem_private_key(found[0], None).public_key() == leaf.public_key()
    return leaf


async def test_a_certificate_for_a_key_that_nobody_else_has(tmp_path: Path) -> None:
    async with reachable(tmp_path) as (mesh, told):
        validity = await asyncio.to_thread(request.obtain, told)
        first = in_folder(tmp_path)
        names = first.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        assert names.get_values_for_type(x509.UniformResourceIdentifier) == [str(WEB)]
        assert validity.until == first.not_valid_after_utc.timestamp()
        assert (tmp_path / "keys" / "root-cert.pem").read_bytes() == mesh.root.roots_pem
        assert request.kept(tmp_path / "keys") is not None
        await asyncio.to_thread(request.obtain, told)
        assert in_folder(tmp_path).public_key() != first.public_key()


async def test_life_is_counted_from_now_as_certificates_are_dated_back(tmp_path: Path) -> None:
    async with reachable(tmp_path) as (mesh, _):
        validity = await asyncio.to_thread(request.obtain, settings(tmp_path, mesh.port, lifetime=60))
        assert validity.until - validity.since == pytest.approx(60, abs=30)


async def test_a_caller_that_is_refused_keeps_what_it_has(tmp_path: Path) -> None:
    async with reachable(tmp_path) as (mesh, told):
        await asyncio.to_thread(request.obtain, told)
        first = in_folder(tmp_path)
        secret = mesh.token(audience="somebody-else")
        (tmp_path / "token").write_text(secret)
        with pytest.raises(request.RequestFailedError, match="UNAUTHENTICATED") as failed:
            await asyncio.to_thread(request.obtain, told)
        assert secret not in str(failed.value)
        assert in_folder(tmp_path) == first


async def test_a_server_under_another_root_never_sees_the_token(tmp_path: Path) -> None:
    async with reachable(tmp_path) as (mesh, told):
        (tmp_path / "root.pem").write_bytes(new_root("cluster.local", now=datetime.now(UTC)).roots_pem)
        with pytest.raises(request.RequestFailedError, match="UNAVAILABLE"):
            await asyncio.to_thread(request.obtain, told)
        assert mesh.counted("citadel_server_csr_count") == 0


@pytest.mark.parametrize("missing", ["token", "root.pem"])
async def test_a_file_that_is_not_there_yet_is_named(tmp_path: Path, missing: str) -> None:
    async with reachable(tmp_path) as (_, told):
        (tmp_path / missing).unlink()
        with pytest.raises(request.RequestFailedError, match=f"cannot read .*{missing}"):
            await asyncio.to_thread(request.obtain, told)


Answer = Callable[[Authority, x509.CertificateSigningRequest], list[str]]


def _for_another_key(root: Authority, _: x509.CertificateSigningRequest) -> list[str]:
    key = ec.generate_private_key(ec.SECP256R1())
    return [_signed(root, key.public_key()), root.roots_pem.decode()]


def _under_another_root(root: Authority, csr: x509.CertificateSigningRequest) -> list[str]:
    other = new_root("cluster.local", now=datetime.now(UTC))
    return [_signed(root, csr.public_key()), other.roots_pem.decode()]


def _of_the_past(root: Authority, csr: x509.CertificateSigningRequest) -> list[str]:
    return [_signed(root, csr.public_key(), datetime.now(UTC) - timedelta(hours=1)), root.roots_pem.decode()]


def _signed(root: Authority, key: object, now: datetime | None = None) -> str:
    assert isinstance(key, ec.EllipticCurvePublicKey)
    at = now or datetime.now(UTC)
    return pem([root.sign(key, spiffe_ids=[WEB], now=at, lifetime=timedelta(minutes=5))]).decode()


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (_for_another_key, "another key"),
        (_under_another_root, "does not lead to the roots"),
        (_of_the_past, "not now"),
        (lambda *_: ["no", "certificates"], "something else than certificates"),
        (lambda *_: ["one alone"], "no chain"),
        (lambda *_: [], "no chain"),
    ],
)
async def test_what_envoy_could_not_use_is_not_put_in_place(tmp_path: Path, answer: Answer, why: str) -> None:
    root = new_root("cluster.local", now=datetime.now(UTC) - timedelta(days=1))

    async def create(data: bytes, _: object) -> bytes:
        csr = x509.load_pem_x509_csr(decode(IstioCertificateRequest, data).csr.encode())  # type: ignore[attr-defined]
        return encode(IstioCertificateResponse(cert_chain=answer(root, csr)))

    key = ec.generate_private_key(ec.SECP256R1())
    certificate = root.sign(key.public_key(), dns_names=[SERVER_NAME], now=datetime.now(UTC))
    server = grpc.aio.server()
    methods = {"CreateCertificate": grpc.unary_unary_rpc_method_handler(create)}
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler("istio.v1.auth.IstioCertificateService", methods),)
    )
    port = server.add_secure_port("127.0.0.1:0", grpc.ssl_server_credentials([(key_pem(key), pem([certificate]))]))
    await server.start()
    try:
        (tmp_path / "token").write_text("whatever")
        (tmp_path / "root.pem").write_bytes(root.roots_pem)
        with pytest.raises(request.RequestFailedError, match=why):
            await asyncio.to_thread(request.obtain, settings(tmp_path, port))
        assert not (tmp_path / "keys").exists()
    finally:
        await server.stop(0)


def test_requests_are_what_the_service_reads() -> None:
    for lifetime in (0, 1, 127, 128, 86_400, 2**40):
        found = decode(IstioCertificateRequest, request.encode_request(b"x" * 700, lifetime))
        assert (found.csr, found.validity_duration) == ("x" * 700, lifetime)  # type: ignore[attr-defined]


Said = Callable[[], Awaitable[dict[str, str]]]


@asynccontextmanager
async def agent(told: Settings) -> AsyncIterator[tuple[asyncio.subprocess.Process, Said]]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "dragoman.agent", told.to_json(), stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None

    async def said() -> dict[str, str]:
        assert process.stdout is not None
        async with asyncio.timeout(120):
            line: dict[str, str] = json.loads(await process.stdout.readline())
        return line

    try:
        yield process, said
    finally:
        if process.returncode is None:
            process.terminate()
        await process.communicate()


async def test_the_agent_asks_until_it_gets_and_again_when_told(tmp_path: Path) -> None:
    async with reachable(tmp_path) as (mesh, told):
        (tmp_path / "token").write_text("not yet")
        async with agent(told) as (process, said):
            refused = await said()
            assert (refused["level"], refused["event"]) == ("error", "no certificate, what is there stays")
            assert "UNAUTHENTICATED" in refused["error"]
            (tmp_path / "token").write_text(mesh.token())
            while (line := await said())["level"] == "error":
                pass
            assert line["event"] == "certificate in place"
            first = in_folder(tmp_path)
            process.send_signal(signal.SIGHUP)
            assert (await said())["level"] == "info"
            second = in_folder(tmp_path)
            assert second != first
            process.terminate()
            assert await process.wait() == 0
        # One that starts again is content with what is there.
        async with agent(told) as (_, said):
            assert (await said())["level"] == "info"
            assert in_folder(tmp_path) == second

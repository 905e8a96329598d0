"""No page, log line or metric of a running mesh holds a private key, in whatever spelling.

Every key that is made while the mesh runs is noted: the CA's, the workloads', that of the TLS port, that of the tokens.
Things go wrong on purpose, since it is error messages that quote.
"""

from __future__ import annotations

import base64
import io
import logging
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiohttp
import grpc
import pytest
import structlog
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key
from envoy_data_plane.envoy.extensions.transport_sockets.tls.v3 import Secret
from envoy_data_plane.envoy.service.discovery.v3 import DeltaDiscoveryRequest
from envoy_data_plane.google.rpc import Status

from ca.authority import new_root
from dragoman.cli.logs import LogFormat, LogLevel, configure
from dragoman.codec import SECRET, decode, encode
from dragoman.codec.messages import IstioCertificateRequest
from dragoman.debug.server import DebugServer
from tests.debug.test_debug_secrecy import secrets
from tests.runtime.secure_plane import MESH, SERVER_NAME, SecurePlane, node_id, secure_plane
from tests.support.until import until

CREATE = "/istio.v1.auth.IstioCertificateService/CreateCertificate"
MARKERS = ("PRIVATE KEY", base64.b64encode(b"-----BEGIN PRIVATE KEY")[:28].decode(), b"PRIVATE KEY".hex())


class Keys:
    """Every elliptic key that is made in this process, and others that are told."""

    def __init__(self) -> None:
        self.secrets: set[bytes] = set()

    def made(self, key: ec.EllipticCurvePrivateKey) -> ec.EllipticCurvePrivateKey:
        size = (key.curve.key_size + 7) // 8
        self.secrets.add(key.private_numbers().private_value.to_bytes(size))
        return key

    def told(self, pem: str) -> None:
        """A key of an operator: RSA, of which the first prime is enough."""
        numbers = load_pem_private_key(pem.encode(), None).private_numbers()  # type: ignore[union-attr]
        self.secrets.add(numbers.p.to_bytes(128))  # type: ignore[union-attr]


def spellings(secret: bytes) -> Iterator[str]:
    """Hexadecimal, decimal, and base64 wherever in a longer value it begins."""
    yield secret.hex()
    yield secret.hex().upper()
    yield secret.hex(":")
    yield str(int.from_bytes(secret))
    yield repr(secret)[2:-1]
    for before in range(3):
        # What the bytes before and after may change is cut off.
        inner = base64.b64encode(bytes(before) + secret)[(0, 2, 3)[before] : -4]
        yield inner.decode()
        yield inner.decode().replace("+", "-").replace("/", "_")


def found_in(text: str, keys: Keys) -> list[str]:
    # PEM and logs break lines, JSON writes the breaks out.
    flat = text.replace("\\n", "").replace("\n", "").replace("\\/", "/")
    marks = [mark for mark in MARKERS if mark in text]
    return marks + [spelt for secret in keys.secrets for spelt in spellings(secret) if spelt in flat]


@pytest.fixture
def keys(monkeypatch: pytest.MonkeyPatch) -> Keys:
    noted, generate = Keys(), ec.generate_private_key
    monkeypatch.setattr(ec, "generate_private_key", lambda *arguments: noted.made(generate(*arguments)))
    return noted


@pytest.fixture(params=LogFormat)
def logged(request: pytest.FixtureRequest) -> Iterator[io.StringIO]:
    """Everything that is logged, as `serve` does at its most talkative."""
    root = logging.getLogger()
    handlers, level, out = root.handlers, root.level, io.StringIO()
    configure(request.param, LogLevel.debug, out)
    structlog.configure(cache_logger_on_first_use=False)
    yield out
    structlog.reset_defaults()
    root.handlers = handlers
    root.setLevel(level)


@pytest.mark.parametrize("before", range(5))
@pytest.mark.parametrize("way", ["hex", "pem", "url"])
def test_what_is_searched_for_would_be_found(before: int, way: str) -> None:
    keys = Keys()
    key = keys.made(ec.generate_private_key(ec.SECP256R1()))
    (secret,) = keys.secrets
    around = b"x" * before + secret + b"y" * 5
    match way:
        case "hex":
            text = around.hex()
        case "pem":
            text = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode().replace("KEY", "")
        case _:
            text = base64.urlsafe_b64encode(around).decode()
    assert found_in(f"{{'line': {text!r}}}", keys)


async def _served_secret(mesh: SecurePlane) -> bytes:
    """A proxy takes its key, then rejects the next and quotes it, as no Envoy should."""
    async with mesh.stream(mesh.token()) as answer:
        response = await answer.response()
        key = decode(Secret, response.resources[0].resource.value).tls_certificate.private_key.inline_bytes  # type: ignore[attr-defined]
        await answer.call.write(encode(DeltaDiscoveryRequest(type_url=SECRET, response_nonce=response.nonce)))
        for identity in mesh.plane.identities.identities():
            mesh.plane.identities.rotate(identity)
        response = await answer.response()
        refusal = DeltaDiscoveryRequest(
            type_url=SECRET, response_nonce=response.nonce, error_detail=Status(code=13, message="default: bad key")
        )
        await answer.call.write(encode(refusal))
        await until(lambda: any(t.rejected for s in mesh.plane.server.connections() for t in s.types))
        return bytes(key)


async def _certificate(mesh: SecurePlane, csr: str) -> None:
    async with grpc.aio.secure_channel(
        f"127.0.0.1:{mesh.port}",
        mesh.credentials(),
        options=[("grpc.use_local_subchannel_pool", 1), ("grpc.ssl_target_name_override", SERVER_NAME)],
    ) as channel:
        call = channel.unary_unary(CREATE, None, None)
        await call(encode(IstioCertificateRequest(csr=csr)), metadata=(("authorization", f"Bearer {mesh.token()}"),))


async def _pages(mesh: SecurePlane, port: int) -> dict[str, str]:
    shown = {}
    async with aiohttp.ClientSession(f"http://127.0.0.1:{port}") as session:
        async with session.get("/debug/list") as response:
            paths = [page["path"] for page in await response.json()]
        paths += [f"/debug/config_dump?proxyID={session_.proxy_id}" for session_ in mesh.plane.sessions]
        for path in (*paths, "/metrics", "/debug/nowhere", "/debug/config_dump?proxyID=none.none"):
            async with session.get(path) as response:
                shown[path] = await response.text()
    return shown


async def test_no_page_log_line_or_metric_holds_a_key(
    tmp_path: Path,
    keys: Keys,
    logged: io.StringIO,
    key_and_certificate: tuple[str, str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    own_key, certificate = key_and_certificate
    keys.told(own_key)
    async with secure_plane(tmp_path, MESH + secrets(own_key, certificate)) as mesh:
        debug = DebugServer(mesh.plane)
        port = await debug.start("127.0.0.1", 0)
        try:
            gateway = node_id("gateway-1", "10.1.0.9").replace("sidecar", "router")
            async with (
                mesh.stream(mesh.token(), names=("default", "ROOTCA")) as kept,
                mesh.stream(
                    mesh.token("gateway-1", "gateway"), gateway, names=("kubernetes://site", "default")
                ) as edge,
            ):
                await kept.response()
                assert b"PRIVATE KEY" in (await edge.response()).resources[0].resource.value
                served = await _served_secret(mesh)
                mine = ec.generate_private_key(ec.SECP256R1())
                csr = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([])).sign(mine, hashes.SHA256())
                await _certificate(mesh, csr.public_bytes(Encoding.PEM).decode())
                written = mine.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
                for nonsense in (written, csr.public_bytes(Encoding.PEM).decode() + written):
                    # Somebody sends his key instead of a request for it.
                    with pytest.raises(grpc.aio.AioRpcError):
                        await _certificate(mesh, nonsense)
                # Another CA takes over, and a broken Secret with half of a key in it comes.
                mesh.plane.identities.use(new_root("cluster.local", now=datetime.now(UTC)))
                broken = secrets(own_key[: len(own_key) // 2], certificate)
                (mesh.folder / "mesh.yaml").write_text(MESH + broken)
                await _broken_authority(mesh, monkeypatch)
                pages = await _pages(mesh, port)
        finally:
            await debug.stop()
    assert any(spelt in served.decode().replace("\n", "") for secret in keys.secrets for spelt in spellings(secret))
    assert len(keys.secrets) >= 8
    assert len(pages) > 12
    for page, text in pages.items():
        assert not found_in(text, keys), page
    log = logged.getvalue()
    assert "Traceback" in log or "traceback" in log or '"frames"' in log
    assert not found_in(log, keys)
    assert mesh.token().rpartition(".")[0].partition(".")[0] not in log


async def _broken_authority(mesh: SecurePlane, monkeypatch: pytest.MonkeyPatch) -> None:
    """A bug where a key is in a local variable: the traceback is logged, the key is not."""

    def fails(*_: Any) -> None:
        raise ZeroDivisionError

    with monkeypatch.context() as patch:
        patch.setattr("dragoman.runtime.identities.workload_secret", fails)
        async with mesh.stream(mesh.token("cart-1", "cart"), node_id("cart-1", "10.1.0.2")) as answer:
            await answer.end()

"""Every TLS mode and setting of a gateway's servers through a real Envoy: who is let in, and who is refused."""

from __future__ import annotations

import asyncio
import hashlib
import json
import ssl
from base64 import b64encode
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from aiohttp import ClientConnectorError, ClientError
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from ca.authority import key_pem, pem
from ca.identity import SpiffeId
from tests.support.until import until
from tests.translators.gateway_certificates import Authority, KeyPair
from tests.translators.gateway_mesh import HTTPS, GatewayMesh, gateway_mesh, secret
from tests.translators.test_translators_gateway_traffic import gateway, server, virtual_service

pytestmark = pytest.mark.envoy

HOST = "a.example.com"
CA, CLIENTS = Authority("servers"), Authority("clients")
SERVER = CA.issue(HOST)
GOOD, OTHER, FOREIGN = CLIENTS.issue("client.org"), CLIENTS.issue("other.org"), CA.issue("client.org")


@pytest.fixture
async def mesh(tmp_path: Path) -> AsyncIterator[GatewayMesh]:
    """A gateway without a server, and a route for the one that a test writes."""
    async with gateway_mesh(
        tmp_path, {"edge": yaml.safe_dump(virtual_service("server", "gw", "*.example.com"))}
    ) as found:
        yield found


def serve(mesh: GatewayMesh, tls: dict[str, Any], *secrets: dict[str, Any]) -> None:
    """Serve HTTPS for a.example.com as `tls` says."""
    mesh.write("own", [gateway("gw", server("https", 443, "HTTPS", HOST, tls=tls)), *secrets])


def of_clients(**tls: Any) -> dict[str, Any]:
    return {"mode": "MUTUAL", "credentialName": "own", **tls}


def own(**more: bytes) -> dict[str, Any]:
    return secret("own", SERVER, **{"ca.crt": CLIENTS.pem, **more})


async def status(mesh: GatewayMesh, tls: ssl.SSLContext) -> int | None:
    """Of a request on a new connection; None where the connection is refused."""
    try:
        return (await mesh.get("https:///", HOST, tls=tls)).status
    except (ClientConnectorError, ClientError, OSError):
        return None


async def let_in(mesh: GatewayMesh, tls: ssl.SSLContext) -> None:
    await mesh.eventually(lambda: mesh.get("https:///", HOST, tls=tls), 200)


def trusting(client: KeyPair | None, folder: Path) -> ssl.SSLContext:
    return CA.trusting(client, folder=folder)


async def test_mutual_refuses_whom_its_authority_does_not_know(mesh: GatewayMesh, tmp_path: Path) -> None:
    serve(mesh, of_clients(), own())
    await let_in(mesh, trusting(GOOD, tmp_path))
    assert await status(mesh, trusting(None, tmp_path)) is None
    assert await status(mesh, trusting(FOREIGN, tmp_path)) is None


async def test_optional_mutual_lets_in_without_a_certificate_but_not_with_a_wrong_one(
    mesh: GatewayMesh, tmp_path: Path
) -> None:
    serve(mesh, of_clients(mode="OPTIONAL_MUTUAL"), own())
    await let_in(mesh, trusting(GOOD, tmp_path))
    assert await status(mesh, trusting(None, tmp_path)) == 200
    assert await status(mesh, trusting(FOREIGN, tmp_path)) is None


async def test_istio_mutual_lets_in_workloads_of_the_mesh(mesh: GatewayMesh, tmp_path: Path) -> None:
    serve(mesh, {"mode": "ISTIO_MUTUAL"})
    plane = mesh.control_plane

    def workload(authority: Any) -> ssl.SSLContext:
        key = ec.generate_private_key(ec.SECP256R1())
        identity = SpiffeId("cluster.local", "shop", "web")
        issued = authority.sign(
            key.public_key(), spiffe_ids=(identity,), now=datetime.now(UTC), lifetime=timedelta(hours=1)
        )
        context = ssl.create_default_context(cadata=plane.identities.roots_pem.decode())
        context.check_hostname = False  # its name is a SPIFFE id
        file = tmp_path / "workload.pem"
        file.write_bytes(pem([issued]) + key_pem(key))
        context.load_cert_chain(file)
        return context

    workload_context = workload(plane.authority)
    answer = await mesh.eventually(lambda: mesh.get("https:///", HOST, tls=workload_context), 200)
    assert "URI=spiffe://cluster.local/ns/edge/sa/gw" in json.loads(answer.content)["x-forwarded-client-cert"]
    anonymous = ssl.create_default_context(cadata=plane.identities.roots_pem.decode())
    anonymous.check_hostname = False
    assert await status(mesh, anonymous) is None
    anonymous.load_cert_chain(*_files(tmp_path, "foreign", GOOD))
    assert await status(mesh, anonymous) is None


def _files(folder: Path, name: str, pair: KeyPair) -> tuple[Path, Path]:
    certificate, key = folder / f"{name}.crt", folder / f"{name}.key"
    certificate.write_bytes(pair.certificate)
    key.write_bytes(pair.key)
    return certificate, key


@pytest.mark.parametrize("mode", ["SIMPLE", "MUTUAL"])
async def test_certificates_from_files(mesh: GatewayMesh, tmp_path: Path, mode: str) -> None:
    certificate, key = _files(tmp_path, "server", SERVER)
    roots = tmp_path / "clients.pem"
    roots.write_bytes(CLIENTS.pem)
    of_clients = {"caCertificates": str(roots)} if mode == "MUTUAL" else {}
    serve(mesh, {"mode": mode, "serverCertificate": str(certificate), "privateKey": str(key), **of_clients})
    await let_in(mesh, trusting(GOOD, tmp_path))
    assert await mesh.certificate(HOST, trusting(GOOD, tmp_path)) == SERVER.der
    assert await status(mesh, trusting(None, tmp_path)) == (200 if mode == "SIMPLE" else None)
    if mode == "MUTUAL":
        assert await status(mesh, trusting(FOREIGN, tmp_path)) is None


def by_cipher(kind: str) -> ssl.SSLContext:
    """A client that takes certificates of one kind of key only."""
    context = CA.trusting()
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(f"ECDHE-{kind}-AES256-GCM-SHA384")
    return context


@pytest.mark.parametrize("source", ["secrets", "files"])
async def test_several_certificates_for_different_kinds_of_key(mesh: GatewayMesh, tmp_path: Path, source: str) -> None:
    pairs = {"RSA": CA.issue(HOST, rsa_bits=2048), "ECDSA": SERVER}
    if source == "secrets":
        names = {kind: f"cert-{kind.lower()}" for kind in pairs}
        listed = [secret(names[kind], pair) for kind, pair in pairs.items()]
        serve(mesh, {"mode": "SIMPLE", "credentialNames": list(names.values())}, *listed)
    else:
        files = [_files(tmp_path, kind, pair) for kind, pair in pairs.items()]
        written = [{"serverCertificate": str(certificate), "privateKey": str(key)} for certificate, key in files]
        serve(mesh, {"mode": "SIMPLE", "tlsCertificates": written})
    for kind, pair in pairs.items():
        await let_in(mesh, by_cipher(kind))
        assert await mesh.certificate(HOST, by_cipher(kind)) == pair.der


def _spki(pair: KeyPair) -> str:
    public = pair.parsed.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return b64encode(hashlib.sha256(public).digest()).decode()


@pytest.mark.parametrize(
    "only",
    [
        {"subjectAltNames": ["client.org"]},
        {"verifyCertificateSpki": [_spki(GOOD)]},
        {"verifyCertificateHash": [hashlib.sha256(GOOD.der).hexdigest()]},
    ],
    ids=lambda only: next(iter(only)),
)
async def test_of_those_whom_the_authority_knows_only_some(
    mesh: GatewayMesh, tmp_path: Path, only: dict[str, list[str]]
) -> None:
    serve(mesh, of_clients(**only), own())
    await let_in(mesh, trusting(GOOD, tmp_path))
    assert await status(mesh, trusting(OTHER, tmp_path)) is None
    assert await status(mesh, trusting(FOREIGN, tmp_path)) is None


async def test_a_client_certificate_that_need_not_be_verified_must_be_there(mesh: GatewayMesh, tmp_path: Path) -> None:
    serve(mesh, of_clients(insecureSkipVerify=True), own())
    await let_in(mesh, trusting(FOREIGN, tmp_path))
    assert await status(mesh, trusting(None, tmp_path)) is None


def version(least: ssl.TLSVersion, most: ssl.TLSVersion) -> ssl.SSLContext:
    context = CA.trusting()
    context.minimum_version, context.maximum_version = least, most
    return context


def curve(name: str) -> ssl.SSLContext:
    context = CA.trusting()
    context.set_ecdh_curve(name)
    return context


def cipher(name: str) -> ssl.SSLContext:
    context = version(ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_2)
    context.set_ciphers(name)
    return context


TLS12, TLS13 = ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3


@pytest.mark.parametrize(
    ("settings", "good", "bad"),
    [
        ({"minProtocolVersion": "TLSV1_3"}, lambda: version(TLS13, TLS13), lambda: version(TLS12, TLS12)),
        ({"maxProtocolVersion": "TLSV1_2"}, lambda: version(TLS12, TLS12), lambda: version(TLS13, TLS13)),
        (
            {"cipherSuites": ["ECDHE-ECDSA-AES256-GCM-SHA384"]},
            lambda: cipher("ECDHE-ECDSA-AES256-GCM-SHA384"),
            lambda: cipher("ECDHE-ECDSA-AES128-GCM-SHA256"),
        ),
        ({"ecdhCurves": ["P-384"]}, lambda: curve("secp384r1"), lambda: curve("prime256v1")),
    ],
    ids=["min", "max", "ciphers", "curves"],
)
async def test_versions_ciphers_and_curves(
    mesh: GatewayMesh,
    settings: dict[str, Any],
    good: Callable[[], ssl.SSLContext],
    bad: Callable[[], ssl.SSLContext],
) -> None:
    serve(mesh, {"mode": "SIMPLE", "credentialName": "own"}, own())
    await let_in(mesh, bad())  # it is the setting that refuses it
    serve(mesh, {"mode": "SIMPLE", "credentialName": "own", **settings}, own())

    async def refused() -> bool:
        return await status(mesh, bad()) is None

    await until(refused)
    assert await status(mesh, good()) == 200


async def test_secrets_of_every_layout(mesh: GatewayMesh, tmp_path: Path) -> None:
    def generic(name: str, data: dict[str, bytes]) -> dict[str, Any]:
        found = secret(name, SERVER)
        return {**found, "type": "Opaque", "data": {key: b64encode(value).decode() for key, value in data.items()}}

    pair = {"cert": SERVER.certificate, "key": SERVER.key}
    for secrets in (
        [generic("own", {**pair, "cacert": CLIENTS.pem})],
        [generic("own", pair), generic("own-cacert", {"cacert": CLIENTS.pem})],
        [secret("own", SERVER), generic("own-cacert", {"ca.crt": CLIENTS.pem})],
        # Roots may be several, for as long as clients move from one to the next.
        [generic("own", {**pair, "cacert": Authority("old").pem + CLIENTS.pem})],
    ):
        serve(mesh, of_clients(), *secrets)
        await let_in(mesh, trusting(GOOD, tmp_path))
        assert await status(mesh, trusting(FOREIGN, tmp_path)) is None
        mesh.remove("own")

        async def gone() -> bool:
            return await status(mesh, trusting(GOOD, tmp_path)) is None

        await until(gone)


CONFIG_MAP = {
    "apiVersion": "v1",
    "kind": "ConfigMap",
    "metadata": {"name": "clients", "namespace": "shared"},
    "data": {"ca.crt": CLIENTS.pem.decode()},
}
BUNDLE = {
    "apiVersion": "certificates.k8s.io/v1beta1",
    "kind": "ClusterTrustBundle",
    "metadata": {"name": "example.org:clients:v1"},
    "spec": {"signerName": "example.org/clients", "trustBundle": CLIENTS.pem.decode()},
}


@pytest.mark.parametrize(
    ("name", "holder"),
    [("configmap://shared/clients", CONFIG_MAP), ("clustertrustbundle://example.org:clients:v1", BUNDLE)],
    ids=["config map", "cluster trust bundle"],
)
async def test_an_authority_that_everybody_may_know(
    mesh: GatewayMesh, tmp_path: Path, name: str, holder: dict[str, Any]
) -> None:
    serve(mesh, of_clients(caCertCredentialName=name), secret("own", SERVER), holder)
    await let_in(mesh, trusting(GOOD, tmp_path))
    assert await status(mesh, trusting(FOREIGN, tmp_path)) is None


async def test_a_stapled_ocsp_response_is_shown(mesh: GatewayMesh, tmp_path: Path) -> None:
    serve(mesh, {"mode": "SIMPLE", "credentialName": "own"}, own(**{"tls.ocsp-staple": CA.staple(SERVER)}))
    await let_in(mesh, CA.trusting())
    asked = await asyncio.create_subprocess_exec(
        *("openssl", "s_client", "-connect", f"{mesh.gateway}:{HTTPS}", "-servername", HOST, "-status"),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    said, _ = await asked.communicate()
    assert b"Cert Status: good" in said


@pytest.mark.parametrize("source", ["ca.crl", "crl", "file"])
async def test_a_revoked_client_is_refused_and_no_other(mesh: GatewayMesh, tmp_path: Path, source: str) -> None:
    serve(mesh, of_clients(), own())
    for pair in (GOOD, OTHER):
        await let_in(mesh, trusting(pair, tmp_path))
    revoked = CLIENTS.revoke(OTHER.parsed.serial_number)
    if source == "file":
        (tmp_path / "revoked.pem").write_bytes(revoked)
        serve(mesh, of_clients(caCrl=str(tmp_path / "revoked.pem")), own())
    else:
        serve(mesh, of_clients(), own(**{source: revoked}))

    async def refused() -> bool:
        return await status(mesh, trusting(OTHER, tmp_path)) is None

    await until(refused)
    assert await status(mesh, trusting(GOOD, tmp_path)) == 200


async def test_a_secret_rotates_under_traffic_without_a_failure(mesh: GatewayMesh) -> None:
    """New connections all the time, and one that is kept: none fails, and each certificate comes into force."""
    serve(mesh, {"mode": "SIMPLE", "credentialName": "own"}, own())
    tls = CA.trusting()
    await let_in(mesh, tls)
    answered = 0
    stopped = asyncio.Event()

    async def load() -> None:
        nonlocal answered
        while not stopped.is_set():
            assert (await mesh.get("https:///", HOST, tls=tls)).status == 200
            answered += 1

    reader, writer = await asyncio.open_connection(mesh.gateway, HTTPS, ssl=tls, server_hostname=HOST)

    async def on_the_kept_connection() -> bytes:
        writer.write(f"GET / HTTP/1.1\r\nHost: {HOST}\r\n\r\n".encode())
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        await reader.readexactly(int(head.split(b"content-length: ")[1].split(b"\r\n")[0]))
        return head.split(b" ")[1]

    loads = [asyncio.create_task(load()) for _ in range(3)]
    try:
        for _ in range(5):
            renewed = CA.issue(HOST)
            wanted_answers = answered + 5
            serve(mesh, {"mode": "SIMPLE", "credentialName": "own"}, secret("own", renewed))

            async def shown(wanted: bytes = renewed.der) -> bool:
                assert not any(task.done() for task in loads)
                return await mesh.certificate(HOST, tls) == wanted

            await until(shown)
            assert await on_the_kept_connection() == b"200"

            async def under_load(wanted: int = wanted_answers) -> bool:
                return answered >= wanted or any(task.done() for task in loads)

            await until(under_load)
    finally:
        stopped.set()
        results = await asyncio.gather(*loads, return_exceptions=True)
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()
    assert results == [None] * 3
    assert answered >= 25

"""TLS that a gateway opens to a server beyond the mesh, with credentials that a DestinationRule names."""

from __future__ import annotations

import ssl
from base64 import b64encode
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml
from aiohttp import web

from tests.support.until import until
from tests.translators.gateway_certificates import Authority, KeyPair
from tests.translators.gateway_mesh import Answer, GatewayMesh, gateway_mesh
from tests.translators.test_translators_gateway_traffic import gateway, server

pytestmark = pytest.mark.envoy

NAME = "secure.example"
SERVERS, CLIENTS = Authority("servers"), Authority("clients")
SERVER, CLIENT, FOREIGN = SERVERS.issue(NAME), CLIENTS.issue("client.org"), Authority("foreign").issue("client.org")


async def _seen(request: web.Request) -> web.Response:
    """What the server saw of the handshake."""
    peer: Any = request.transport.get_extra_info("peercert") if request.transport is not None else None
    tls: Any = request.transport.get_extra_info("ssl_object") if request.transport is not None else None
    names = [value for kind, value in (peer or {}).get("subjectAltName", ()) if kind == "DNS"]
    answer = web.json_response({"client": names, "version": tls.version() if tls is not None else None})
    answer.force_close()  # Envoy keeps connections that were made before a Secret changed
    return answer


@asynccontextmanager
async def tls_server(folder: Path, *, asks: bool, least: ssl.TLSVersion = ssl.TLSVersion.TLSv1_2) -> AsyncIterator[int]:
    """A server that ends TLS itself, and lets in clients of one authority only if it `asks`; yields its port."""
    file = folder / "server.pem"
    file.write_bytes(SERVER.certificate + SERVER.key)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = least
    context.load_cert_chain(file)
    if asks:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(cadata=CLIENTS.pem.decode())
    application = web.Application()
    application.router.add_get("/", _seen)
    runner = web.AppRunner(application)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context)
        await site.start()
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()


def secure(port: int) -> list[dict[str, Any]]:
    """A Service whose only endpoint is the server, and the route of the gateway to it."""
    meta = {"name": "secure", "namespace": "shop"}
    return [
        gateway("gw", server("http", 80, "HTTP", "*.example.com")),
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": meta,
            "spec": {"clusterIP": "10.96.0.20", "ports": [{"name": "http", "port": 443, "targetPort": port}]},
        },
        {
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {**meta, "labels": {"kubernetes.io/service-name": "secure"}},
            "addressType": "IPv4",
            "ports": [{"name": "http", "port": port}],
            "endpoints": [{"addresses": ["127.0.0.1"]}],
        },
        {
            "apiVersion": "networking.istio.io/v1",
            "kind": "VirtualService",
            "metadata": meta,
            "spec": {
                "hosts": ["a.example.com"],
                "gateways": ["edge/gw"],
                "http": [{"route": [{"destination": {"host": "secure", "port": {"number": 443}}}]}],
            },
        },
    ]


def rule(**tls: Any) -> dict[str, Any]:
    return {
        "apiVersion": "networking.istio.io/v1",
        "kind": "DestinationRule",
        "metadata": {"name": "secure", "namespace": "shop"},
        "spec": {"host": "secure", "trafficPolicy": {"tls": {"mode": "SIMPLE", "credentialName": "out", **tls}}},
    }


def out(roots: Authority | None = SERVERS, client: KeyPair | None = None, namespace: str = "edge") -> dict[str, Any]:
    data = {"ca.crt": roots.pem} if roots is not None else {}
    if client is not None:
        data |= {"tls.crt": client.certificate, "tls.key": client.key}
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "out", "namespace": namespace},
        "data": {key: b64encode(value).decode() for key, value in data.items()},
    }


@asynccontextmanager
async def calling(folder: Path, *, asks: bool, **more: Any) -> AsyncIterator[GatewayMesh]:
    async with (
        tls_server(folder, asks=asks, **more) as port,
        gateway_mesh(folder, {"secure": yaml.safe_dump_all(secure(port))}) as mesh,
    ):
        yield mesh


async def asked(mesh: GatewayMesh, status: int, *documents: dict[str, Any]) -> Answer:
    """The answer once it has a status under these rules; its content is what the server saw."""
    mesh.write("rule", list(documents))
    await mesh.in_force()
    return await mesh.eventually(lambda: mesh.get("http:///", "a.example.com"), status)


VERIFIED = {"sni": NAME, "subjectAltNames": [NAME]}


async def test_simple_believes_servers_of_the_secrets_authority_only(tmp_path: Path) -> None:
    async with calling(tmp_path, asks=False) as mesh:
        await asked(mesh, 200, rule(**VERIFIED), out())
        # The same authority under another name that the server has not, then another authority.
        await asked(mesh, 503, rule(sni=NAME, subjectAltNames=["other.example"]), out())
        await asked(mesh, 200, rule(**VERIFIED), out())
        await asked(mesh, 503, rule(**VERIFIED), out(CLIENTS))
        # It follows the Secret: the rule is as it was.
        await asked(mesh, 200, rule(**VERIFIED), out(SERVERS))


async def test_the_name_is_that_of_the_request_where_none_is_written(tmp_path: Path) -> None:
    async with calling(tmp_path, asks=False) as mesh:
        await asked(mesh, 200, rule(sni=NAME, subjectAltNames=[NAME]), out())
        await asked(mesh, 503, rule(), out())
        answer = await asked(mesh, 200, rule(insecureSkipVerify=True), out(None))
        assert b"TLS" in answer.content


async def test_mutual_shows_the_secrets_certificate(tmp_path: Path) -> None:
    async with calling(tmp_path, asks=True) as mesh:
        answer = await asked(mesh, 200, rule(mode="MUTUAL", **VERIFIED), out(client=CLIENT))
        assert b'"client.org"' in answer.content
        await asked(mesh, 503, rule(mode="MUTUAL", **VERIFIED), out(client=FOREIGN))
        renewed = CLIENTS.issue("renewed.org")
        answer = await asked(mesh, 200, rule(mode="MUTUAL", **VERIFIED), out(client=renewed))

        async def shown() -> bool:
            return b'"renewed.org"' in (await mesh.get("http:///", "a.example.com")).content

        await until(shown)


async def test_without_its_secret_a_client_never_speaks_plaintext(tmp_path: Path) -> None:
    """Neither while there is none, nor while it is another namespace's, nor without the authority."""
    async with calling(tmp_path, asks=False) as mesh:
        await asked(mesh, 503, rule(**VERIFIED))
        await asked(mesh, 503, rule(**VERIFIED), out(namespace="shop"))
        await asked(mesh, 503, rule(credentialName="kubernetes://shop/out", **VERIFIED), out(namespace="shop"))
        await asked(mesh, 503, rule(mode="MUTUAL", **VERIFIED), out(None, client=CLIENT))
        codes = {each.problem.code for each in mesh.control_plane.credentials.problems}
        assert codes == {"DRG0502"}
        await asked(mesh, 200, rule(**VERIFIED), out())
        assert mesh.control_plane.credentials.problems == ()


async def test_an_authority_in_a_config_map_and_revoked_servers(tmp_path: Path) -> None:
    roots = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "roots", "namespace": "shared"},
        "data": {"ca.crt": SERVERS.pem.decode()},
    }
    by_map = rule(credentialName="configmap://shared/roots", **VERIFIED)
    async with calling(tmp_path, asks=False) as mesh:
        await asked(mesh, 200, by_map, roots)
        roots["data"]["ca.crl"] = SERVERS.revoke(SERVER.parsed.serial_number).decode()  # type: ignore[index]
        await asked(mesh, 503, by_map, roots)


async def test_files_and_a_revocation_list_in_a_file(tmp_path: Path) -> None:
    files = {}
    for name, content in {
        "caCertificates": SERVERS.pem,
        "clientCertificate": CLIENT.certificate,
        "privateKey": CLIENT.key,
        "caCrl": SERVERS.revoke(SERVER.parsed.serial_number),
    }.items():
        (tmp_path / name).write_bytes(content)
        files[name] = str(tmp_path / name)
    revoked = {"caCrl": files.pop("caCrl")}
    async with calling(tmp_path, asks=True) as mesh:
        answer = await asked(mesh, 200, rule(mode="MUTUAL", credentialName="", **files, **VERIFIED))
        assert b'"client.org"' in answer.content
        await asked(mesh, 503, rule(mode="MUTUAL", credentialName="", **files, **revoked, **VERIFIED))


async def test_servers_of_tls_1_3_alone_are_reached(tmp_path: Path) -> None:
    """Envoy's clients end at TLS 1.2 unless they are told otherwise."""
    async with calling(tmp_path, asks=False, least=ssl.TLSVersion.TLSv1_3) as mesh:
        answer = await asked(mesh, 200, rule(**VERIFIED), out())
        assert b"TLSv1.3" in answer.content


async def test_a_server_of_the_gateway_and_a_client_share_one_secret(tmp_path: Path) -> None:
    """It is one resource to Envoy, whoever names it; who stops does not take it from the other."""
    both = out(client=CLIENT)
    https = gateway(
        "https", server("https", 443, "HTTPS", "b.example.com", tls={"mode": "SIMPLE", "credentialName": "out"})
    )
    async with calling(tmp_path, asks=True) as mesh:
        await asked(mesh, 200, rule(mode="MUTUAL", **VERIFIED), both, https)
        await asked(mesh, 200, rule(mode="MUTUAL", **VERIFIED), both)
        (found,) = [each.name for each in mesh.control_plane.credentials.served() if not each.name.endswith("-cacert")]
        assert found == "kubernetes://out"

"""Requests through a real gateway Envoy to a real meshed server, over everything between YAML and wire."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import yaml
from aiohttp import ClientConnectorError, ClientError

from tests.support.until import until
from tests.translators.gateway_certificates import Authority, KeyPair
from tests.translators.gateway_mesh import TCP, GatewayMesh, gateway_mesh, secret

pytestmark = pytest.mark.envoy

CA = Authority()
A, B = CA.issue("a.example.com"), CA.issue("b.example.com")


def server(name: str, port: int, protocol: str, *hosts: str, tls: dict[str, Any] | None = None) -> dict[str, Any]:
    found: dict[str, Any] = {"port": {"number": port, "name": name, "protocol": protocol}, "hosts": list(hosts)}
    return found if tls is None else {**found, "tls": tls}


def gateway(name: str, *servers: dict[str, Any], created: str = "2026-01-01T00:00:00Z") -> dict[str, Any]:
    return {
        "apiVersion": "networking.istio.io/v1",
        "kind": "Gateway",
        "metadata": {"name": name, "namespace": "edge", "creationTimestamp": created},
        "spec": {"selector": {"istio": "ingressgateway"}, "servers": list(servers)},
    }


def virtual_service(name: str, gateway: str, *hosts: str, **routes: Any) -> dict[str, Any]:
    destination = {"route": [{"destination": {"host": "server", "port": {"number": 8080}}}]}
    return {
        "apiVersion": "networking.istio.io/v1",
        "kind": "VirtualService",
        "metadata": {"name": name, "namespace": "shop"},
        "spec": {"hosts": list(hosts), "gateways": [f"edge/{gateway}"], **(routes or {"http": [destination]})},
    }


def simple(credential: str) -> dict[str, str]:
    return {"mode": "SIMPLE", "credentialName": credential}


@pytest.fixture
async def mesh(tmp_path: Path) -> AsyncIterator[GatewayMesh]:
    """A gateway with plain HTTP and HTTPS for a.example.com."""
    edge = [
        gateway(
            "gw",
            server("http", 80, "HTTP", "*.example.com"),
            server("https-a", 443, "HTTPS", "a.example.com", tls=simple("cert-a")),
        ),
        virtual_service("server", "gw", "*.example.com"),
    ]
    own = {"edge": yaml.safe_dump_all(edge), "certificate": yaml.safe_dump(secret("cert-a", A))}
    async with gateway_mesh(tmp_path, own) as found:
        yield found


async def refused(mesh: GatewayMesh, host: str, tls: ssl.SSLContext) -> bool:
    """Whether the gateway ends the handshake for `host` by a reset or an alert."""
    try:
        await mesh.get("https:///", host, tls=tls)
    except (ClientConnectorError, ClientError, OSError):
        return True
    return False


async def shows(mesh: GatewayMesh, host: str, tls: ssl.SSLContext, pair: KeyPair) -> None:
    """Wait until new connections see `pair`; every one of them works."""

    async def shown() -> bool:
        assert (await mesh.get("https:///", host, tls=tls)).status == 200
        return await mesh.certificate(host, tls) == pair.der

    await until(shown)


async def test_http_reaches_the_server_under_the_gateways_verified_identity(mesh: GatewayMesh) -> None:
    forged = {"x-forwarded-client-cert": "URI=spiffe://cluster.local/ns/evil/sa/evil"}
    answer = await mesh.eventually(lambda: mesh.get("http:///path", "a.example.com", headers=forged), 200)
    seen = json.loads(answer.content)
    assert f"URI={mesh.identity}" in seen["x-forwarded-client-cert"]
    assert "evil" not in seen["x-forwarded-client-cert"]
    assert seen["x-forwarded-proto"] == "http"
    assert answer.headers["server"] == "istio-envoy"
    assert (await mesh.get("http:///path", "a.example.org")).status == 404


async def test_a_certificate_by_the_name_that_is_asked_for_rotates_while_it_serves(mesh: GatewayMesh) -> None:
    mesh.write(
        "more",
        [
            gateway(
                "gw-b",
                server("https-b", 443, "HTTPS", "b.example.com", tls=simple("cert-b")),
                created="2026-02-01T00:00:00Z",
            ),
            virtual_service("server-b", "gw-b", "b.example.com"),
            secret("cert-b", B),
        ],
    )
    trusting = CA.trusting()
    await mesh.eventually(lambda: mesh.get("https:///", "b.example.com", tls=trusting), 200)
    assert await mesh.certificate("b.example.com", trusting) == B.der
    answer = await mesh.get("https:///", "a.example.com", tls=trusting)
    assert answer.status == 200
    assert await mesh.certificate("a.example.com", trusting) == A.der
    assert json.loads(answer.content)["x-forwarded-proto"] == "https"
    assert await refused(mesh, "c.example.com", trusting)
    # A name that the handshake was for, and another in the request: each server serves its own hosts.
    fronted = await mesh.get("https:///", "a.example.com", tls=trusting, headers={"Host": "b.example.com"})
    assert fronted.status == 404

    renewed = CA.issue("a.example.com")
    mesh.write("certificate", [secret("cert-a", renewed)])
    await shows(mesh, "a.example.com", trusting, renewed)


async def test_a_secret_that_is_missing_or_broken_stops_its_own_server_only(mesh: GatewayMesh) -> None:
    trusting = CA.trusting()
    mesh.write(
        "more",
        [
            gateway("gw-b", server("https-b", 443, "HTTPS", "b.example.com", tls=simple("cert-b"))),
            virtual_service("server-b", "gw-b", "b.example.com"),
        ],
    )
    await mesh.in_force()
    assert await refused(mesh, "b.example.com", trusting)
    assert (await mesh.get("https:///", "a.example.com", tls=trusting)).status == 200
    assert (await mesh.get("http:///", "a.example.com")).status == 200

    mesh.write("secrets", [secret("cert-b", KeyPair(B.certificate, A.key))])
    await mesh.in_force()
    assert await refused(mesh, "b.example.com", trusting)
    mesh.write("secrets", [secret("cert-b", B)])
    await mesh.eventually(lambda: mesh.get("https:///", "b.example.com", tls=trusting), 200)
    assert await mesh.certificate("b.example.com", trusting) == B.der
    # Once it serves, neither a broken Secret nor its removal takes that away.
    mesh.write("secrets", [secret("cert-b", KeyPair(B.certificate, A.key))])
    await mesh.in_force()
    assert (await mesh.get("https:///", "b.example.com", tls=trusting)).status == 200
    assert await mesh.certificate("b.example.com", trusting) == B.der
    mesh.remove("secrets")
    await mesh.in_force()
    assert await mesh.certificate("b.example.com", trusting) == B.der


async def test_a_gateway_starts_without_one_of_its_secrets(tmp_path: Path) -> None:
    """Every server on the port would wait for the secret of one, if Envoy were not told that there is none."""
    edge = [
        gateway(
            "gw",
            server("https-a", 443, "HTTPS", "a.example.com", tls=simple("cert-a")),
            server("https-b", 443, "HTTPS", "b.example.com", tls=simple("cert-b")),
        ),
        virtual_service("server", "gw", "*.example.com"),
        secret("cert-b", KeyPair(B.certificate, A.key)),
    ]
    async with gateway_mesh(tmp_path, {"edge": yaml.safe_dump_all(edge)}) as mesh:
        trusting = CA.trusting()
        assert await refused(mesh, "a.example.com", trusting)
        mesh.write("certificate", [secret("cert-a", A)])
        await mesh.eventually(lambda: mesh.get("https:///", "a.example.com", tls=trusting), 200)
        assert await refused(mesh, "b.example.com", trusting)
        assert await mesh.stat("listener_manager.total_listeners_warming") == 0


async def test_a_secret_of_another_namespace_is_not_given(mesh: GatewayMesh) -> None:
    stranger = secret("cert-b", B)
    stranger["metadata"]["namespace"] = "shop"
    mesh.write(
        "more",
        [
            gateway("gw-b", server("https-b", 443, "HTTPS", "b.example.com", tls=simple("cert-b"))),
            virtual_service("server-b", "gw-b", "b.example.com"),
            stranger,
        ],
    )
    await mesh.in_force()
    assert await refused(mesh, "b.example.com", CA.trusting())


async def test_plain_http_is_sent_on_to_https(mesh: GatewayMesh) -> None:
    mesh.write(
        "edge",
        [
            gateway("gw", server("http", 80, "HTTP", "*.example.com", tls={"httpsRedirect": True})),
            virtual_service("server", "gw", "*.example.com"),
        ],
    )
    answer = await mesh.eventually(lambda: mesh.get("http:///path?q", "a.example.com"), 301)
    assert answer.headers["location"] == "https://a.example.com/path?q"


async def test_two_gateways_on_one_port_serve_their_own_hosts(mesh: GatewayMesh) -> None:
    mesh.write(
        "more",
        [
            gateway("second", server("web", 80, "HTTP", "*.second.org"), created="2026-02-01T00:00:00Z"),
            gateway("third", server("tls", 80, "HTTPS", "x.org", tls=simple("cert-a")), created="2026-03-01T00:00:00Z"),
            virtual_service("second", "second", "www.second.org"),
        ],
    )
    assert (await mesh.eventually(lambda: mesh.get("http:///", "www.second.org"), 200)).status == 200
    assert (await mesh.get("http:///", "a.example.com")).status == 200
    assert (await mesh.get("http:///", "other.second.org")).status == 404


async def test_mutual_tls_lets_in_clients_of_its_authority_only(mesh: GatewayMesh, tmp_path: Path) -> None:
    clients = Authority("clients")
    good, bad = clients.issue("client.org"), CA.issue("client.org")
    with_good, with_bad = (CA.trusting(pair, folder=tmp_path) for pair in (good, bad))
    mutual = {"mode": "MUTUAL", "credentialName": "cert-b"}
    optional = {"mode": "OPTIONAL_MUTUAL", "credentialName": "cert-c", "caCertCredentialName": "clients"}
    mesh.write("certificate-b", [secret("cert-b", B)])
    mesh.write(
        "more",
        [
            gateway(
                "gw-b",
                server("https-b", 443, "HTTPS", "b.example.com", tls=mutual),
                server("https-c", 443, "HTTPS", "c.example.com", tls=optional),
            ),
            virtual_service("server-b", "gw-b", "b.example.com", "c.example.com"),
            secret("cert-c", CA.issue("c.example.com")),
            secret("clients", good, **{"ca.crt": clients.pem}),
        ],
    )
    await mesh.eventually(lambda: mesh.get("https:///", "c.example.com", tls=with_good), 200)
    # A certificate without the authority of its clients: nobody is let in, rather than everybody.
    assert await refused(mesh, "b.example.com", with_good)
    mesh.write("certificate-b", [secret("cert-b", B, **{"ca.crt": clients.pem})])
    answer = await mesh.eventually(lambda: mesh.get("https:///", "b.example.com", tls=with_good), 200)
    assert "Cert=" in json.loads(answer.content)["x-forwarded-client-cert"]
    assert await refused(mesh, "b.example.com", CA.trusting())
    assert await refused(mesh, "b.example.com", with_bad)
    assert (await mesh.get("https:///", "c.example.com", tls=CA.trusting())).status == 200
    assert (await mesh.get("https:///", "c.example.com", tls=with_good)).status == 200
    assert await refused(mesh, "c.example.com", with_bad)


async def test_policies_at_the_gateway_and_at_the_server_behind_it(mesh: GatewayMesh) -> None:
    def policy(namespace: str, action: str, rule: dict[str, Any]) -> dict[str, Any]:
        return {
            "apiVersion": "security.istio.io/v1",
            "kind": "AuthorizationPolicy",
            "metadata": {"name": action.lower(), "namespace": namespace},
            "spec": {"action": action, "rules": [rule]},
        }

    await mesh.eventually(lambda: mesh.get("http:///admin", "a.example.com"), 200)
    deny = policy("edge", "DENY", {"to": [{"operation": {"paths": ["/admin*"]}}]})
    principal = mesh.identity.removeprefix("spiffe://")
    allow = policy("shop", "ALLOW", {"from": [{"source": {"principals": [principal]}}]})
    mesh.write("policies", [deny, allow])
    await mesh.eventually(lambda: mesh.get("http:///admin", "a.example.com"), 403)
    assert (await mesh.get("http:///other", "a.example.com")).status == 200
    allow["spec"]["rules"][0]["from"][0]["source"]["principals"] = ["cluster.local/ns/edge/sa/other"]
    mesh.write("policies", [deny, allow])
    await mesh.eventually(lambda: mesh.get("http:///other", "a.example.com"), 403)


async def test_bytes_of_tls_that_ends_at_the_gateway_reach_a_server(mesh: GatewayMesh) -> None:
    """TLS that ends at the gateway reaches a TCP server, over the mesh's mutual TLS."""
    to_echo = [{"destination": {"host": "server", "port": {"number": 9000}}}]
    mesh.write(
        "more",
        [
            gateway("gw-tcp", server("tls", 9000, "TLS", "b.example.com", tls=simple("cert-b"))),
            virtual_service("tcp", "gw-tcp", "b.example.com", tcp=[{"route": to_echo}]),
            secret("cert-b", B),
        ],
    )

    async def echoed() -> bool:
        try:
            reader, writer = await asyncio.open_connection(
                mesh.gateway, TCP, ssl=CA.trusting(), server_hostname="b.example.com"
            )
        except OSError:
            return False
        writer.write(b"hello")
        try:
            return await reader.read(5) == b"hello"
        except OSError:
            return False
        finally:
            writer.close()

    await until(echoed)


async def test_tls_that_passes_through_arrives_byte_for_byte(mesh: GatewayMesh) -> None:
    """The application behind the server echoes, so a client's hello comes back: read for its name, and not ended."""
    to_echo = [{"destination": {"host": "server", "port": {"number": 9000}}}]
    tls = [{"match": [{"sniHosts": ["b.example.com"]}], "route": to_echo}]
    mesh.write(
        "more",
        [
            gateway("gw-tls", server("tls", 9000, "TLS", "*.example.com", tls={"mode": "PASSTHROUGH"})),
            virtual_service("tls", "gw-tls", "b.example.com", tls=tls),
        ],
    )

    async def exchanged(name: str) -> bool:
        hello = client_hello(name)
        try:
            reader, writer = await asyncio.open_connection(mesh.gateway, TCP)
        except OSError:
            return False
        writer.write(hello)
        try:
            return await reader.readexactly(len(hello)) == hello
        except (OSError, asyncio.IncompleteReadError):
            return False
        finally:
            writer.close()

    await until(lambda: exchanged("b.example.com"))
    assert not await exchanged("c.example.com")


async def test_a_new_server_on_the_port_leaves_open_connections_alone(mesh: GatewayMesh) -> None:
    reader, writer = await asyncio.open_connection(
        mesh.gateway, 8443, ssl=CA.trusting(), server_hostname="a.example.com"
    )

    async def status() -> bytes:
        writer.write(b"GET / HTTP/1.1\r\nHost: a.example.com\r\n\r\n")
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        assert b"connection: close" not in head
        await reader.readexactly(int(head.split(b"content-length: ")[1].split(b"\r\n")[0]))
        return head.split(b" ")[1]

    assert await status() == b"200"
    mesh.write(
        "more",
        [
            gateway("gw-b", server("https-b", 443, "HTTPS", "b.example.com", tls=simple("cert-b"))),
            virtual_service("server-b", "gw-b", "b.example.com"),
            secret("cert-b", B),
        ],
    )
    await mesh.eventually(lambda: mesh.get("https:///", "b.example.com", tls=CA.trusting()), 200)
    assert await status() == b"200"
    writer.close()


def client_hello(name: str) -> bytes:
    """The first bytes of a TLS client that asks for `name`."""
    outgoing = ssl.MemoryBIO()
    client = CA.trusting().wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname=name)
    with suppress(ssl.SSLWantReadError):
        client.do_handshake()
    return outgoing.read()


async def test_what_is_served_is_all_acked_and_nothing_warms(mesh: GatewayMesh) -> None:
    await mesh.in_force()
    assert all(types.in_sync for status in mesh.control_plane.server.connections() for types in status.types)
    assert await mesh.stat("listener_manager.total_listeners_warming") == 0
    assert await mesh.stat("cluster_manager.warming_clusters") == 0

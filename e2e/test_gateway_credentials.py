"""Secrets for the sidecars that a DestinationRule selects, in captured pods; gateways: tests/translators."""

import json
import sys
from base64 import b64encode
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest
import pytest_asyncio
import yaml

from e2e.harness import Mesh, Pod, eventually
from e2e.harness.apps import Command
from tests.support.until import until
from tests.translators.gateway_certificates import Authority, KeyPair

pytestmark = [
    pytest.mark.netns,
    pytest.mark.envoy,
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.usefixtures("settled"),
]

SERVERS, CLIENTS = Authority("servers"), Authority("clients")
SERVER, CLIENT, FOREIGN = SERVERS.issue("secure"), CLIENTS.issue("client.org"), Authority("x").issue("client.org")
URL = "http://secure:8443/"

TLS_SERVER = """
import json, os, ssl, tempfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

class Seen(BaseHTTPRequestHandler):
    def do_GET(self):
        names = [value for _, value in self.connection.getpeercert()["subjectAltName"]]
        body = json.dumps(names).encode()
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
with tempfile.NamedTemporaryFile("w") as file:
    file.write(os.environ["SERVER_PEM"])
    file.flush()
    context.load_cert_chain(file.name)
context.verify_mode = ssl.CERT_REQUIRED
context.load_verify_locations(cadata=os.environ["CLIENT_ROOTS"])
server = ThreadingHTTPServer(("", 8443), Seen)
server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
server.serve_forever()
"""


@dataclass(frozen=True, slots=True)
class Cast:
    """A server that ends TLS itself and lets in clients of one authority, and two meshed clients."""

    mesh: Mesh
    client: Pod
    other: Pod


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def cast(shared_mesh: Mesh) -> AsyncIterator[Cast]:
    await shared_mesh.service("secure", {"http": 8443})
    pem = (SERVER.certificate + SERVER.key).decode()
    variables = (("SERVER_PEM", pem), ("CLIENT_ROOTS", CLIENTS.pem.decode()))
    app = Command((sys.executable, "-c", TLS_SERVER), (8443,), variables)
    async with (
        shared_mesh.pod("secure", app=app),
        shared_mesh.pod("client", sidecar=True) as client,
        shared_mesh.pod("other", sidecar=True) as other,
    ):
        yield Cast(shared_mesh, client, other)


def secret(name: str, data: dict[str, bytes], namespace: str = "default") -> str:
    return yaml.safe_dump(
        {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": name, "namespace": namespace},
            "data": {key: b64encode(value).decode() for key, value in data.items()},
        }
    )


def out(client: KeyPair, roots: Authority = SERVERS) -> str:
    return secret("out", {"tls.crt": client.certificate, "tls.key": client.key, "ca.crt": roots.pem})


def rule(selects: str = "  workloadSelector: {matchLabels: {app: client}}\n") -> str:
    return f"""
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {{name: secure, namespace: default}}
spec:
  host: secure
{selects}  trafficPolicy: {{tls: {{mode: MUTUAL, credentialName: out, sni: secure, subjectAltNames: [secure]}}}}
"""


async def answers(client: Pod, status: int, body: bytes = b"") -> None:
    """Wait until a client's request has this status, and the server saw this certificate."""
    await eventually(lambda: client.http(URL), lambda answer: answer.status == status and body in answer.body)


async def test_a_sidecar_that_a_rule_selects_gets_its_secret_and_others_do_not(cast: Cast) -> None:
    with cast.mesh.configuration.during(rule(), out(CLIENT)):
        await answers(cast.client, 200, b"client.org")
        # Plaintext to a server of TLS: what the rule says does not hold for this client.
        assert (await cast.other.http(URL)).status != 200
        secrets = json.dumps(await cast.other.envoy.config_dump())
        assert "kubernetes://out" not in secrets
        assert "kubernetes://out" in json.dumps(await cast.client.envoy.config_dump())


async def test_without_a_selector_no_sidecar_gets_it_and_nothing_goes_out_in_plaintext(cast: Cast) -> None:
    with cast.mesh.configuration.during(rule(""), out(CLIENT)):
        await cast.mesh.settled()
        for client in (cast.client, cast.other):
            await answers(client, 503)
        # Every connection ended in the handshake, at the server's certificate.
        await until(lambda: any("BAD_CERTIFICATE_HASH_VALUE" in log for log in cast.mesh.logs().values()))


async def test_a_server_that_the_authority_does_not_know_and_a_client_that_the_server_does_not(cast: Cast) -> None:
    with cast.mesh.configuration.during(rule(), out(CLIENT, CLIENTS)):
        await answers(cast.client, 503)
    with cast.mesh.configuration.during(rule(), out(FOREIGN)):
        await answers(cast.client, 503)
    with cast.mesh.configuration.during(rule(), out(CLIENT)):
        await answers(cast.client, 200)


async def test_a_secret_that_comes_later_and_one_that_breaks(cast: Cast) -> None:
    with cast.mesh.configuration.during(rule()):
        await answers(cast.client, 503)
        with cast.mesh.configuration.during(out(CLIENT)):
            await answers(cast.client, 200, b"client.org")
            assert cast.mesh.control_plane is not None
            broken = {"tls.crt": CLIENT.certificate, "tls.key": FOREIGN.key, "ca.crt": SERVERS.pem}
            cast.mesh.configuration.apply(secret("out", broken))
            page = await eventually(
                lambda: cast.mesh.control_plane.debug("/debug/credentialz"), lambda page: bool(page["problems"])
            )
            assert [each["code"] for each in page["problems"]] == ["DRG0502"]
            await answers(cast.client, 200, b"client.org")

"""The CNI plugin as the node agent puts it onto a node: with a Python, tools and libraries of its own."""

import asyncio
import json
import secrets
import ssl
import threading
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from ca import new_root
from ca.authority import pem
from dragoman.capture.node_agent import Node, NodeAgent, Source
from e2e.harness.commands import run

pytestmark = pytest.mark.netns

ROOT = Path(__file__).parents[1]
NETWORK = {"cniVersion": "1.0.0", "name": "pods", "plugins": [{"type": "bridge"}]}
POD = {"spec": {"initContainers": [{"name": "istio-validation", "args": ["--verify", "--inbound-port=15006"]}]}}


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    """An API server that knows one pod; its roots and a token are in `account`."""

    class Api(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            known = self.headers["Authorization"] == "Bearer token" and self.path == "/api/v1/namespaces/shop/pods/web"
            self.send_response(200 if known else 404)
            self.end_headers()
            self.wfile.write(json.dumps(POD).encode())

        def log_message(self, *_: object) -> None:
            pass

    account = tmp_path / "account"
    account.mkdir()
    (account / "token").write_text("token")
    now, key = datetime.now(UTC), ec.generate_private_key(ec.SECP256R1())
    root = new_root("cluster.local", now=now)
    (account / "ca.crt").write_bytes(root.roots_pem)
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (tmp_path / "server.pem").write_bytes(
        private + pem([root.sign(key.public_key(), dns_names=["localhost"], now=now)])
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "server.pem")
    listening = HTTPServer(("127.0.0.1", 0), Api)
    listening.socket = context.wrap_socket(listening.socket, server_side=True)
    thread = threading.Thread(target=listening.serve_forever)
    thread.start()
    yield f"https://localhost:{listening.server_address[1]}"
    listening.shutdown()
    thread.join()
    listening.server_close()


@pytest.fixture
async def pod() -> AsyncIterator[str]:
    """The network namespace of a pod, by name."""
    name = f"dragoman-{secrets.token_hex(4)}"
    await run("ip", "netns", "add", name)
    await run("ip", "-n", name, "link", "set", "lo", "up")
    yield name
    await run("ip", "netns", "delete", name)


async def test_a_node_needs_nothing_but_a_shell(server: str, pod: str, tmp_path: Path) -> None:
    # Debian's own programs, as in the image.
    path = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}
    bundle, programs, configuration = (tmp_path / name for name in ("bundle", "programs", "net.d"))
    await run("sh", str(ROOT / "deploy/cni-bundle.sh"), str(bundle), str(ROOT / "dragoman"), environment=path)
    for folder in (programs, configuration):
        folder.mkdir()
    (configuration / "10-pods.conflist").write_text(json.dumps(NETWORK))
    agent = NodeAgent(
        Node(programs, configuration, str(programs), str(configuration)),
        Source(bundle, tmp_path / "account/token", tmp_path / "account/ca.crt"),
        server,
        backend="nftables",
        tell=lambda _: None,
    )
    agent.put_in_place()
    code, answer = await call(programs, configuration, pod)
    assert (code, answer) == (0, {"cniVersion": "1.0.0", "ips": []})
    rules = await run("ip", "netns", "exec", pod, "nft", "list", "ruleset")
    assert "15006" in rules


async def call(programs: Path, configuration: Path, pod: str) -> tuple[int | None, Any]:
    """The plugin as a runtime calls it, for the pod shop/web."""
    entry = json.loads((configuration / "10-pods.conflist").read_text())["plugins"][-1]
    process = await asyncio.create_subprocess_exec(
        programs / entry["type"],
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        env={
            # What it finds there would not be its own.
            "PATH": "/usr/bin:/bin",
            "CNI_COMMAND": "ADD",
            "CNI_CONTAINERID": "abc",
            "CNI_IFNAME": "eth0",
            "CNI_NETNS": f"/var/run/netns/{pod}",
            "CNI_ARGS": "K8S_POD_NAMESPACE=shop;K8S_POD_NAME=web",
        },
    )
    given = {**entry, "cniVersion": "1.0.0", "name": "pods", "prevResult": {"cniVersion": "1.0.0", "ips": []}}
    output, _ = await process.communicate(json.dumps(given).encode())
    return process.returncode, json.loads(output) if output else None

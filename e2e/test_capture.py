"""Capture with real traffic in network namespaces: both of the kernel's tools, both families of addresses."""

import asyncio
import contextlib
import ctypes
import json
import socket
import ssl
import struct
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from ca import new_root
from ca.authority import pem
from dragoman.capture import Capture, system
from e2e.harness import eventually
from e2e.harness.capture import PROXY_ID
from e2e.harness.commands import CommandError, run
from e2e.harness.namespaces import Namespace, Network

pytestmark = pytest.mark.netns

DRAGOMAN = str(Path(sys.executable).with_name("dragoman"))
APPLICATION, EXCLUDED, STATUS = 8080, 9090, 15020
INBOUND, OUTBOUND = 15006, 15001
V6 = {"pod": "fd00:10::2", "peer": "fd00:10::3"}
SOURCES = {4: "127.0.0.6", 6: "::6"}
LOOPBACKS = {4: "127.0.0.1", 6: "::1"}
_SO_ORIGINAL_DST = 80
_TCP_REPAIR = 19
_TRANSPARENT = {socket.AF_INET: (socket.SOL_IP, 19), socket.AF_INET6: (socket.IPPROTO_IPV6, 75)}


@dataclass
class Place:
    """A pod's network, and who answers there: each listener says its name, and where a connection was to go."""

    namespace: Namespace
    addresses: dict[int, str]
    listeners: list[socket.socket] = field(default_factory=list)

    def listen(self, port: int, name: str) -> None:
        """Answer connections at every address with the name, and for a proxy with their original destination."""
        for family, any_address in ((socket.AF_INET, "0.0.0.0"), (socket.AF_INET6, "::")):  # noqa: S104
            listener = self.namespace.inside(lambda kind=family: socket.socket(kind, socket.SOCK_STREAM))
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            if port == INBOUND:  # as TPROXY needs it, and REDIRECT does not mind
                listener.setsockopt(*_TRANSPARENT[family], 1)
            listener.bind((any_address, port))
            listener.listen(16)
            self.listeners.append(listener)
            threading.Thread(target=_answer, args=(listener, name), daemon=True).start()

    async def dial(
        self,
        address: str,
        port: int,
        *,
        uid: int = 1000,
        gid: int | None = None,
        source: str = "",
        source_port: int = 0,
    ) -> str:
        """What a connection from here is answered with; `refused` when nobody takes it."""
        family = socket.AF_INET6 if ":" in address else socket.AF_INET

        def make() -> socket.socket:
            # The rules see the user that a thread has when it makes the socket.
            libc = ctypes.CDLL(None)
            libc.setfsgid(uid if gid is None else gid)
            libc.setfsuid(uid)
            return socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)

        client = self.namespace.inside(make)
        with client:
            if source or source_port:
                client.bind((source, source_port))
            loop = asyncio.get_running_loop()
            try:
                async with asyncio.timeout(30):
                    await loop.sock_connect(client, (address, port))
                    return (await loop.sock_recv(client, 200)).decode()
            except ConnectionRefusedError:
                return "refused"

    def close(self) -> None:
        for listener in self.listeners:
            with contextlib.suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)
            listener.close()


def _answer(listener: socket.socket, name: str) -> None:
    while True:
        try:
            connection, _ = listener.accept()
        except OSError:
            return
        with connection:
            connection.sendall(f"{name}{_original(connection) if name.startswith('proxy') else ''}".encode())


def _original(connection: socket.socket) -> str:
    """` address:port` that the client dialled (Linux: SO_ORIGINAL_DST, IP6T_SO_ORIGINAL_DST)."""
    if connection.family == socket.AF_INET:
        raw = connection.getsockopt(socket.SOL_IP, _SO_ORIGINAL_DST, 16)
        port, address = struct.unpack("!2xH4s8x", raw)
    else:
        raw = connection.getsockopt(socket.IPPROTO_IPV6, _SO_ORIGINAL_DST, 28)
        port, address = struct.unpack("!2xH4x16s4x", raw)
    return f" {socket.inet_ntop(connection.family, address)}:{port}"


@dataclass
class Pair:
    """A pod with applications and a proxy, and one that dials it."""

    pod: Place
    peer: Place

    async def command(self, *arguments: str) -> str:
        """`dragoman capture` in the pod."""
        return await run("ip", "netns", "exec", self.pod.namespace.name, DRAGOMAN, "capture", *arguments)

    def capture(self, backend: system.Backend, **options: str) -> None:
        """The same, without the start of a program: options with underscores."""
        wanted = Capture.of_texts({name.replace("_", "-"): value for name, value in options.items()})
        self.pod.namespace.inside(lambda: system.apply(wanted, backend))


@pytest.fixture
async def pair() -> AsyncIterator[Pair]:
    async with Network() as network:
        places = {}
        for name in ("pod", "peer"):
            namespace = await network.add(name)
            await run("ip", "-n", namespace.name, "addr", "add", f"{V6[name]}/64", "dev", "eth0", "nodad")
            places[name] = Place(namespace, {4: namespace.address, 6: V6[name]})
        found = Pair(**places)
        for port, name in ((APPLICATION, "application"), (EXCLUDED, "excluded"), (STATUS, "status")):
            found.pod.listen(port, name)
        found.pod.listen(INBOUND, "proxy in")
        found.pod.listen(OUTBOUND, "proxy out")
        found.peer.listen(80, "peer")
        found.peer.listen(81, "peer")
        try:
            yield found
        finally:
            for place in places.values():
                place.close()


both = pytest.mark.parametrize("backend", ["iptables", "nftables"])


@both
async def test_what_is_captured_and_what_is_not(pair: Pair, backend: system.Backend) -> None:
    pair.capture(backend, exclude_inbound_ports=f"{STATUS},{EXCLUDED}", exclude_outbound_ports="81")
    pod, peer = pair.pod, pair.peer
    for family in (4, 6):
        own, other = pod.addresses[family], peer.addresses[family]
        assert await peer.dial(own, APPLICATION) == f"proxy in {own}:{APPLICATION}"
        assert await peer.dial(own, 7777) == f"proxy in {own}:7777"  # whether or not somebody listens
        assert await peer.dial(own, EXCLUDED) == "excluded"
        assert await peer.dial(own, STATUS) == "status"
        assert await pod.dial(other, 80) == f"proxy out {other}:80"
        assert await pod.dial(other, 81) == "peer"
        assert await pod.dial(other, 80, uid=PROXY_ID) == "peer"  # the proxy itself
        assert await pod.dial(LOOPBACKS[family], APPLICATION) == "application"
        assert await pod.dial(own, APPLICATION) == "application"  # to itself
        assert await pod.dial(own, APPLICATION, uid=PROXY_ID) == f"proxy in {own}:{APPLICATION}"
        # What the proxy has let in reaches the application.
        assert await pod.dial(own, APPLICATION, uid=PROXY_ID, source=SOURCES[family]) == "application"
        assert await pod.dial(LOOPBACKS[family], APPLICATION, uid=PROXY_ID) == "application"


@both
async def test_includes_are_all_that_is_captured(pair: Pair, backend: system.Backend) -> None:
    peer4, peer6 = pair.peer.addresses[4], pair.peer.addresses[6]
    pair.capture(backend, include_inbound_ports=f"{APPLICATION}", include_outbound_ranges=f"{peer4}/32,fd00:99::/64")
    for own in pair.pod.addresses.values():
        assert await pair.peer.dial(own, APPLICATION) == f"proxy in {own}:{APPLICATION}"
        assert await pair.peer.dial(own, EXCLUDED) == "excluded"
    assert await pair.pod.dial(peer4, 80) == f"proxy out {peer4}:80"
    assert await pair.pod.dial(peer6, 80) == "peer"

    pair.capture(backend, include_outbound_ranges="", include_outbound_ports="81")
    for other in (peer4, peer6):
        assert await pair.pod.dial(other, 81) == f"proxy out {other}:81"
        assert await pair.pod.dial(other, 80) == "peer"

    pair.capture(backend, include_inbound_ports="", include_outbound_ranges="")
    assert await pair.peer.dial(pair.pod.addresses[4], APPLICATION) == "application"
    assert await pair.pod.dial(peer4, 80) == "peer"


@both
async def test_excluded_ranges_and_interfaces(pair: Pair, backend: system.Backend) -> None:
    peer4, peer6 = pair.peer.addresses[4], pair.peer.addresses[6]
    pair.capture(backend, exclude_outbound_ranges=f"{peer4}/32,{peer6}/128")
    assert await pair.pod.dial(peer4, 80) == await pair.pod.dial(peer6, 80) == "peer"
    pair.capture(backend, exclude_interfaces="eth0")
    assert await pair.pod.dial(peer4, 80) == "peer"
    assert await pair.peer.dial(pair.pod.addresses[4], APPLICATION) == "application"


@both
async def test_transparent_capture(pair: Pair, backend: system.Backend) -> None:
    pair.capture(backend, mode="TPROXY", exclude_inbound_ports=f"{STATUS}", exclude_outbound_ports="81")
    pod, peer = pair.pod, pair.peer
    for family in (4, 6):
        own, other = pod.addresses[family], peer.addresses[family]
        assert await peer.dial(own, APPLICATION) == f"proxy in {own}:{APPLICATION}"
        assert await peer.dial(own, STATUS) == "status"
        assert await pod.dial(other, 80) == f"proxy out {other}:80"
        assert await pod.dial(other, 81) == "peer"
        assert await pod.dial(other, 80, uid=0, gid=PROXY_ID) == "peer"
        assert await pod.dial(LOOPBACKS[family], APPLICATION) == "application"
        assert await pod.dial(own, APPLICATION) == "application"
        # By a service to itself; what comes from the proxy's probes; and what it is told to send to a loopback address.
        assert await pod.dial(own, APPLICATION, uid=0, gid=PROXY_ID) == f"proxy in {own}:{APPLICATION}"
        assert await pod.dial(own, APPLICATION, uid=0, gid=PROXY_ID, source=SOURCES[family]) == "application"
        assert await pod.dial(LOOPBACKS[family], APPLICATION, uid=0, gid=PROXY_ID) == "application"
    pair.capture(backend, mode="TPROXY", include_inbound_ports=f"{APPLICATION}", include_outbound_ranges="")
    for own in pod.addresses.values():
        assert await peer.dial(own, APPLICATION) == f"proxy in {own}:{APPLICATION}"
        assert await peer.dial(own, EXCLUDED) == "excluded"
    pod.close()
    pod.listen(APPLICATION, "application")
    for own in pod.addresses.values():  # not past a proxy that is not there
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(peer.dial(own, APPLICATION), 0.3)
    pair.capture(backend, mode="TPROXY", exclude_interfaces="eth0")
    assert await peer.dial(pod.addresses[4], APPLICATION) == "application"


@both
async def test_who_connects_anew_does_not_get_past_the_proxy(pair: Pair, backend: system.Backend) -> None:
    """The kernel knows the connection before, from the same port, for longer than the proxy's end of it lasts."""
    pair.capture(backend, mode="TPROXY")
    own, port = pair.pod.addresses[4], 45678
    within = ("ip", "netns", "exec", pair.pod.namespace.name)
    pair.pod.namespace.write_sysctl("tcp_fin_timeout", 1)
    with pair.peer.namespace.inside(socket.socket) as ended:
        ended.bind(("", port))
        ended.connect((own, APPLICATION))
        assert b"".join(iter(lambda: ended.recv(200), b"")).decode() == f"proxy in {own}:{APPLICATION}"
        await eventually(lambda: run(*within, "ss", "-Htan", f"dport = :{port}"), lambda found: not found, steady=0)
        ended.setsockopt(socket.IPPROTO_TCP, _TCP_REPAIR, 1)  # ends without a word
    assert await pair.peer.dial(own, APPLICATION, source_port=port) == f"proxy in {own}:{APPLICATION}"


@both
async def test_what_comes_from_a_guest_is_outbound(pair: Pair, backend: system.Backend) -> None:
    for mode in ("REDIRECT", "TPROXY"):
        pair.capture(backend, mode=mode, reroute_interfaces="eth0")
        for own in pair.pod.addresses.values():
            assert await pair.peer.dial(own, 80) == f"proxy out {own}:80"


@both
async def test_again_is_the_same_and_cleanup_leaves_what_is_not_ours(pair: Pair, backend: system.Backend) -> None:
    netns = ("ip", "netns", "exec", pair.pod.namespace.name)
    if backend == "iptables":
        await run(*netns, "iptables", "-t", "nat", "-A", "OUTPUT", "-p", "udp", "--dport", "53", "-j", "RETURN")
        listing: tuple[str, ...] = (*netns, "iptables-save")
    else:
        await run(*netns, "nft", "add", "table", "ip", "others")
        listing = (*netns, "nft", "list", "ruleset")

    async def state() -> list[str]:
        routing = [await run(*netns, "ip", version, "rule", "list") for version in ("-4", "-6")]
        found = [line for text in (await run(*listing), *routing) for line in text.splitlines()]
        return [line for line in found if not line.startswith(("#", ":", "*mangle", "COMMIT"))]

    before = await state()
    await pair.command("--backend", backend)
    once = await state()
    await pair.command("--backend", backend)
    assert await state() == once != before
    pair.capture(backend, mode="TPROXY")
    transparent = await state()
    pair.capture(backend, mode="TPROXY")
    assert await state() == transparent != once
    pair.capture(backend)
    assert await state() == once
    pair.capture(backend, mode="TPROXY")
    await pair.command("--backend", backend, "--cleanup")
    assert await state() == before
    await pair.command("--backend", backend, "--cleanup")
    assert await pair.pod.dial(pair.peer.addresses[4], 80) == "peer"


@both
async def test_a_dry_run_says_what_would_be_done_and_does_nothing(pair: Pair, backend: system.Backend) -> None:
    text = await pair.command("--backend", backend, "--dry-run")
    assert ("ip6tables-restore" if backend == "iptables" else "table ip6 dragoman {") in text
    assert text.count("15006") >= 2
    assert await pair.pod.dial(pair.peer.addresses[4], 80) == "peer"


async def test_verification_tells_whether_there_is_capture(pair: Pair) -> None:
    pair.pod.close()  # before the proxy listens
    user = ("setpriv", f"--reuid={PROXY_ID}", f"--regid={PROXY_ID}", "--clear-groups")
    netns = ("ip", "netns", "exec", pair.pod.namespace.name, *user, sys.executable, "-c")
    program = (
        "from dragoman.capture import Capture\nfrom dragoman.capture.verification import verify\nverify(Capture())\n"
    )
    with pytest.raises(CommandError, match="IPv4 is not captured"):
        await run(*netns, program)
    await pair.command("--include-outbound-ranges=10.99.0.0/16")
    await run(*netns, program)
    # As the proxy is with TPROXY: root with one capability, of whose connections only `mangle` has rules.
    root = ("setpriv", f"--regid={PROXY_ID}", "--clear-groups", "--bounding-set=-all,+net_admin", "--inh-caps=-all")
    transparently = ("ip", "netns", "exec", pair.pod.namespace.name, *root, sys.executable, "-c")
    program = program.replace("Capture()", "Capture('TPROXY')")
    with pytest.raises(CommandError, match="IPv4 is not captured"):
        await run(*transparently, program)
    pair.capture("auto", mode="TPROXY")
    await run(*transparently, program)


async def test_what_cannot_be_meant_is_refused() -> None:
    for arguments, words in (
        (("--mode", "NONE"), "neither REDIRECT nor TPROXY"),
        (("--exclude-inbound-ports", "80,http"), "'http' is no number"),
        (("--include-outbound-ranges", "10.0.0.0/33"), "include-outbound-ranges"),
        (("--exclude-interfaces", 'eth0";flush'), "is no network interface"),
    ):
        with pytest.raises(CommandError, match=words):
            await run(DRAGOMAN, "capture", "--dry-run", *arguments)  # what is refused no more must not be done here


# --- the CNI plugin ---------------------------------------------------------------------------------------------------


@pytest.fixture
def pods() -> dict[str, Any]:
    """What the API server knows: spec by namespace/name."""
    return {}


@pytest.fixture
def kubernetes(pods: dict[str, Any], tmp_path: Path) -> Iterator[dict[str, str]]:
    """A server with TLS and tokens that answers for pods as Kubernetes does; the plugin's settings for it."""

    class Api(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            parts = self.path.split("/")
            spec = pods.get(f"{parts[4]}/{parts[6]}")
            status = 401 if self.headers["Authorization"] != "Bearer of-the-node" else 200 if spec is not None else 404
            self.send_response(status)
            self.end_headers()
            self.wfile.write(json.dumps({"spec": spec}).encode())

        def log_message(self, *_: object) -> None:
            pass

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(_certificate(tmp_path))
    (tmp_path / "token").write_text("of-the-node\n")
    server = HTTPServer(("127.0.0.1", 0), Api)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    url = f"https://localhost:{server.server_address[1]}"
    yield {"server": url, "ca_file": str(tmp_path / "roots.pem"), "token_file": str(tmp_path / "token")}
    server.shutdown()
    thread.join()
    server.server_close()


def _certificate(directory: Path) -> Path:
    now, key = datetime.now(UTC), ec.generate_private_key(ec.SECP256R1())
    root = new_root("cluster.local", now=now)
    (directory / "roots.pem").write_bytes(root.roots_pem)
    file = directory / "server.pem"
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    file.write_bytes(private + pem([root.sign(key.public_key(), dns_names=["localhost"], now=now)]))
    return file


Call = Callable[..., Any]


@pytest.fixture
def call(kubernetes: dict[str, str]) -> Call:
    """The plugin as a container runtime calls it; its exit code and output."""

    async def plugin(command: str, namespace: Namespace, pod: str = "shop/web", **more: Any) -> tuple[int, Any]:
        space, name = pod.split("/")
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "dragoman.capture.cni"),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            env={
                "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
                "CNI_COMMAND": command,
                "CNI_CONTAINERID": "abc",
                "CNI_IFNAME": "eth0",
                "CNI_PATH": "/opt/cni/bin",
                "CNI_NETNS": str(namespace.path),
                "CNI_ARGS": f"IgnoreUnknown=1;K8S_POD_NAMESPACE={space};K8S_POD_NAME={name}",
            },
            cwd=Path(__file__).parents[1],
        )
        configuration = {
            "cniVersion": "1.0.0",
            "name": "k8s-pod-network",
            "type": "dragoman-cni",
            "kubernetes": kubernetes,
            "prevResult": {"cniVersion": "1.0.0", "ips": [{"address": "10.244.0.2/32"}]},
        }
        output, _ = await process.communicate(json.dumps({**configuration, **more}).encode())
        return await process.wait(), json.loads(output) if output else None

    return plugin


WITH_CAPTURE = {
    "initContainers": [{"name": "istio-validation", "args": ["--verify", "--exclude-inbound-ports=15020"]}],
    "containers": [{"name": "web"}],
}


async def test_the_node_captures_for_pods_that_may_not(pair: Pair, pods: dict[str, Any], call: Call) -> None:
    pods["shop/web"] = WITH_CAPTURE
    code, result = await call("ADD", pair.pod.namespace)
    assert (code, result) == (0, {"cniVersion": "1.0.0", "ips": [{"address": "10.244.0.2/32"}]})
    for own in pair.pod.addresses.values():
        assert await pair.peer.dial(own, APPLICATION) == f"proxy in {own}:{APPLICATION}"
        assert await pair.peer.dial(own, STATUS) == "status"
    transparently = {"name": "istio-validation", "args": ["--verify", "--mode=TPROXY"]}
    pods["shop/web"] = WITH_CAPTURE | {"initContainers": [transparently]}
    assert (await call("ADD", pair.pod.namespace))[0] == 0
    assert "fwmark 0x539 lookup 133" in await run("ip", "-n", pair.pod.namespace.name, "rule")
    assert await pair.peer.dial(pair.pod.addresses[4], APPLICATION) == f"proxy in {pair.pod.addresses[4]}:{APPLICATION}"
    assert await call("CHECK", pair.pod.namespace) == (0, None)
    assert await call("DEL", pair.pod.namespace) == (0, None)


async def test_pods_without_a_sidecar_are_left_alone(pair: Pair, pods: dict[str, Any], call: Call) -> None:
    pods["shop/web"] = {"containers": [{"name": "web"}]}
    pods["shop/host"] = {**WITH_CAPTURE, "hostNetwork": True}
    pods["kube-system/dns"] = WITH_CAPTURE
    for pod in pods:
        code, _ = await call("ADD", pair.pod.namespace, pod, exclude_namespaces=["kube-system"])
        assert code == 0
    assert await pair.peer.dial(pair.pod.addresses[4], APPLICATION) == "application"


async def test_failures_are_cnis_and_keep_the_pod_from_starting(pair: Pair, pods: dict[str, Any], call: Call) -> None:
    code, answer = await call("ADD", pair.pod.namespace)  # the API server does not know it
    assert (code, answer["code"], answer["cniVersion"]) == (1, 11, "1.0.0")
    assert "shop/web" in answer["msg"]
    pods["shop/web"] = {"initContainers": [{"name": "istio-validation", "args": ["--exclude-inbound-ports=x"]}]}
    code, answer = await call("ADD", pair.pod.namespace)
    assert (code, answer["code"]) == (1, 7)
    pods["shop/web"] = WITH_CAPTURE
    code, answer = await call("ADD", Namespace("dragoman-nowhere", ""))
    assert (code, answer["code"]) == (1, 100)
    code, answer = await call("ADD", pair.pod.namespace, prevResult=None)
    assert (code, answer["code"]) == (1, 7)
    code, answer = await call("ADD", pair.pod.namespace, cniVersion="0.1.0")
    assert (code, answer["code"]) == (1, 1)
    code, answer = await call("VERSION", pair.pod.namespace)
    assert code == 0
    assert "1.0.0" in answer["supportedVersions"]

"""`dragoman serve` on its TLS port, as attackers and honest proxies meet it."""

import asyncio
import contextlib
import random
import resource
import socket
import ssl
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import grpc
import pytest
import pytest_asyncio
from envoy_data_plane.envoy.config.core.v3 import Node
from envoy_data_plane.envoy.service.discovery.v3 import (
    DeltaDiscoveryRequest,
    DeltaDiscoveryResponse,
    DiscoveryRequest,
)
from envoy_data_plane.google.rpc import Status

from dragoman.cli.state import root_file
from dragoman.codec import CLUSTER, LISTENER, SECRET, decode, encode
from tests.cli.cli_runs import Serving, run, serving
from tests.debug.running_plane import CART, MESH, WEB

_ADS = "/envoy.service.discovery.v3.AggregatedDiscoveryService/"


class Secure:
    """A running server, and what its honest clients know."""

    def __init__(self, running: Serving, port: int, http_port: int, state: Path) -> None:
        self.running = running
        self.port = port
        self.http_port = http_port
        self.state = state
        self.root = root_file(state).read_bytes()

    def token(self, pod: str = "web-1.shop", account: str = "web", *options: str) -> str:
        result = run("token", pod, "--service-account", account, "--state-dir", self.state, *options)
        assert result.exit_code == 0, result.output
        return result.stdout.strip()

    @asynccontextmanager
    async def call(self, token: str, method: str = "DeltaAggregatedResources") -> AsyncIterator[Any]:
        options = [("grpc.use_local_subchannel_pool", 1), ("grpc.ssl_target_name_override", "localhost")]
        credentials = grpc.ssl_channel_credentials(self.root)
        async with grpc.aio.secure_channel(f"127.0.0.1:{self.port}", credentials, options=options) as channel:
            call = channel.stream_stream(f"{_ADS}{method}")(metadata=(("authorization", f"Bearer {token}"),))
            try:
                yield call
            finally:
                call.cancel()

    async def served(self, token: str, node: str = WEB) -> float:
        """Connect, get a key; how long it took, in seconds."""
        started = time.perf_counter()
        async with asyncio.timeout(60), self.call(token) as call:
            await call.write(request(node))
            (secret,) = decode(DeltaDiscoveryResponse, await call.read()).resources
            assert b"PRIVATE KEY" in secret.resource.value
        return time.perf_counter() - started

    async def metric(self, name: str) -> float:
        async with (
            aiohttp.ClientSession() as session,
            session.get(f"http://127.0.0.1:{self.http_port}/metrics") as response,
        ):
            lines = (await response.text()).splitlines()
        return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(name))


def request(node: str = WEB, type_url: str = SECRET, *names: str) -> bytes:
    return encode(
        DeltaDiscoveryRequest(
            node=Node(id=node), type_url=type_url, resource_names_subscribe=list(names or ("default",))
        )
    )


@asynccontextmanager
async def secure(tmp_path: Path, *options: str) -> AsyncIterator[Secure]:
    folder, state = tmp_path / "mesh", tmp_path / "state"
    folder.mkdir()
    (folder / "mesh.yaml").write_text(MESH)
    async with serving("--config", folder, "--state-dir", state, *options, state=tmp_path) as running:
        port = await running.secure_port()
        yield Secure(running, port, await running.http_port(), state)
        assert await running.end() == 0
    assert not any("Traceback" in line for line in running.told + running.logged)
    assert not any("PRIVATE KEY" in line for line in running.told + running.logged)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def attacked(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Secure]:
    """One server that outlives all attacks."""
    async with secure(tmp_path_factory.mktemp("attacked")) as server:
        yield server


async def test_tokens_open_the_port_and_nothing_else_does(tmp_path: Path) -> None:
    async with secure(tmp_path, "--xds-address", f"unix://{tmp_path}/xds.sock") as server:
        line = await server.running.hear("serving proxies at (.*)")
        assert line[1] == f"unix://{tmp_path}/xds.sock, 127.0.0.1:{server.port} (TLS)", (
            "plaintext where it is asked for"
        )
        good = server.token()
        await server.served(good)
        for token, node, code in (
            ("", WEB, grpc.StatusCode.UNAUTHENTICATED),
            (server.token("web-1.shop", "web", "--audience", "vault"), WEB, grpc.StatusCode.UNAUTHENTICATED),
            (good, CART, grpc.StatusCode.PERMISSION_DENIED),
            (server.token("cart-1.shop", "web"), CART, grpc.StatusCode.PERMISSION_DENIED),
        ):
            async with server.call(token) as call:
                with contextlib.suppress(grpc.aio.AioRpcError, asyncio.InvalidStateError):
                    await call.write(request(node))
                assert await call.code() is code
        await server.served(server.token("cart-1.shop", "cart"), CART)
        assert await server.metric("dragoman_callers_refused_total") == 2
        assert await server.metric('dragoman_xds_refused_total{code="PERMISSION_DENIED"}') == 2
    assert good not in "".join(server.running.logged + server.running.told)


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (["--secure-address", "nonsense"], "is not HOST:PORT"),
        (["--jwt-rule", '{"issuer": "http://issuer.example"}'], "https"),
        (["--trusted-gateway-cidr", "10.0.0.0/33"], "--trusted-gateway-cidr"),
    ],
)
def test_wrong_usage(options: list[str], complaint: str) -> None:
    result = run("serve", "--config", "/", *options)
    assert result.exit_code == 2
    assert complaint in result.output


@pytest.fixture
def many_files() -> Iterator[int]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    yield hard
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


async def test_ten_thousand_connections_do_not_stop_an_honest_proxy(tmp_path: Path, many_files: int) -> None:
    """Some silent, some in the middle of a handshake, some after it: as many as this machine's limits let us open."""
    async with secure(tmp_path) as server:
        token = server.token()
        alone = await server.served(token)
        before = await server.metric("process_resident_memory_bytes")
        context = ssl.create_default_context(cadata=server.root.decode())
        crowd: list[socket.socket | asyncio.StreamWriter] = []
        loop = asyncio.get_running_loop()
        async with server.call(token) as held:
            await held.write(request())
            assert isinstance(await held.read(), bytes)

            async def one(number: int) -> None:
                kind = number % 10
                with contextlib.suppress(OSError):
                    if kind == 0:
                        _, writer = await asyncio.open_connection(
                            "127.0.0.1", server.port, ssl=context, server_hostname="localhost"
                        )
                        crowd.append(writer)
                        writer.write(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
                        return
                    connection = socket.socket()
                    crowd.append(connection)
                    connection.setblocking(False)
                    await loop.sock_connect(connection, ("127.0.0.1", server.port))
                    if kind < 5:
                        connection.send(b"\x16\x03\x01\x02")

            total = min(10_000, many_files - 1_000)
            for start in range(0, total, 500):
                await asyncio.gather(*(one(number) for number in range(start, min(start + 500, total))))
            under_siege = await server.served(token)
            after = await server.metric("process_resident_memory_bytes")
            await held.write(request(WEB, CLUSTER, "*"))
            assert isinstance(await asyncio.wait_for(held.read(), 60), bytes)
        refused = await server.metric("dragoman_tls_connections_refused_total")
        print(f"{len(crowd)} connections; alone {alone:.3f} s, besieged {under_siege:.3f} s; {refused:.0f} refused")  # noqa: T201
        for each in crowd:
            if isinstance(each, socket.socket):
                each.close()
            else:
                each.transport.abort()
        assert len(crowd) > 0.9 * total
        assert under_siege < 15, "before those who prove nothing are cut"
        assert refused > total / 2
        assert after - before < 200 << 20


def seeds(method: str) -> list[bytes]:
    """Requests that are right, in the variant of a method."""
    odd = Status(code=-1, message="\x00" * 50)
    if method.startswith("Stream"):
        me = Node(id=WEB)
        return [
            encode(DiscoveryRequest(node=me, type_url=SECRET, resource_names=["default"])),
            encode(DiscoveryRequest(node=me, type_url=LISTENER)),
            encode(DiscoveryRequest(node=Node(id="x" * 5_000), type_url=LISTENER)),
            encode(DiscoveryRequest(node=me, type_url="type.googleapis.com/no.such.Type", resource_names=["", "*"])),
            encode(DiscoveryRequest(node=me, type_url=CLUSTER, version_info="9", response_nonce="9", error_detail=odd)),
        ]
    return [
        request(),
        request(WEB, LISTENER, "*"),
        request("x" * 5_000),
        request(WEB, "type.googleapis.com/no.such.Type"),
        encode(
            DeltaDiscoveryRequest(
                node=Node(id=WEB),
                type_url=CLUSTER,
                resource_names_unsubscribe=["*", "", "nobody"],
                initial_resource_versions={"a": "b", "": ""},
                response_nonce="9" * 100,
                error_detail=odd,
            )
        ),
    ]


def unexpected(rng: random.Random, method: str) -> bytes:
    """A request that is well formed, and that no client would send."""
    words = ["", "*", "default", "ROOTCA", "nobody", "outbound|80||x", "\u2028", "n" * 300]
    some = [rng.choice(words) for _ in range(rng.randrange(6))]
    shared: dict[str, Any] = {
        "node": Node(id=WEB) if rng.randrange(2) else None,
        "type_url": rng.choice([SECRET, CLUSTER, LISTENER, "", "type.googleapis.com/no.such.Type"]),
        "response_nonce": rng.choice(["", "1", "2", "-1"]),
        "error_detail": Status(code=rng.randrange(-3, 20), message=rng.choice(words)) if rng.randrange(2) else None,
    }
    if method.startswith("Stream"):
        return encode(DiscoveryRequest(**shared, resource_names=some, version_info=rng.choice(words)))
    gone = [rng.choice(words) for _ in range(rng.randrange(6))]
    held = {name: rng.choice(words) for name in gone}
    return encode(
        DeltaDiscoveryRequest(
            **shared,
            resource_names_subscribe=some,
            resource_names_unsubscribe=gone,
            initial_resource_versions=held,
        )
    )


def mutations(rng: random.Random, right: list[bytes], count: int) -> Iterator[bytes]:
    """Requests that are nearly right, and bytes that are nothing."""
    for _ in range(count):
        data = bytearray(rng.choice(right))
        match rng.randrange(4):
            case 0:
                data = bytearray(rng.randbytes(rng.randrange(200)))
            case 1:
                for _ in range(rng.randrange(1, 6)):
                    data[rng.randrange(len(data))] = rng.randrange(256)
            case 2:
                del data[rng.randrange(len(data)) :]
            case _:
                at = rng.randrange(len(data))
                data[at:at] = rng.randbytes(rng.randrange(1, 40))
        yield bytes(data)


@pytest.mark.parametrize("method", ["DeltaAggregatedResources", "StreamAggregatedResources"])
@pytest.mark.asyncio(loop_scope="module")
async def test_malformed_requests_hurt_nobody_else(attacked: Secure, method: str) -> None:
    rng = random.Random(method)  # noqa: S311 - a test repeats itself
    server = attacked
    token = server.token()
    async with server.call(token) as held:
        await held.write(request())
        assert isinstance(await held.read(), bytes)
        right = seeds(method)
        odd = [unexpected(rng, method) for _ in range(100)]
        for data in [*mutations(rng, right, 100), *odd]:
            async with server.call(token, method) as call:
                with contextlib.suppress(grpc.aio.AioRpcError, asyncio.InvalidStateError):
                    if rng.randrange(2):
                        await call.write(right[0])
                    await call.write(data)
                    await call.done_writing()
                    async with asyncio.timeout(60):
                        while isinstance(await call.read(), bytes):
                            pass
                assert await call.code() is not grpc.StatusCode.INTERNAL, await call.details()
        await held.write(request(WEB, CLUSTER, "*"))
        assert isinstance(await asyncio.wait_for(held.read(), 60), bytes)
    await server.served(token)


@pytest.mark.asyncio(loop_scope="module")
async def test_bytes_that_are_no_http2_hurt_nobody_else(attacked: Secure) -> None:
    rng = random.Random("frames")  # noqa: S311 - a test repeats itself
    preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes([0, 0, 0, 4, 0, 0, 0, 0, 0])
    server = attacked
    token = server.token()
    context = ssl.create_default_context(cadata=server.root.decode())
    context.set_alpn_protocols(["h2"])
    for _ in range(150):
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", server.port, ssl=context, server_hostname="localhost"
        )
        frames = b"".join(
            len(body).to_bytes(3, "big")
            + bytes([rng.randrange(12), rng.randrange(256)])
            + rng.choice([0, 1, 3, 2**31 - 1]).to_bytes(4, "big")
            + body
            for body in (rng.randbytes(rng.randrange(30)) for _ in range(rng.randrange(1, 8)))
        )
        with contextlib.suppress(OSError):
            writer.write((preface if rng.randrange(4) else b"") + frames)
            await writer.drain()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(reader.read(1 << 16), 0.05)
        writer.transport.abort()
    assert await server.served(token) < 15

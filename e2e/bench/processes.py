"""The two processes of a measurement: the server under test, and the clients."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
import random
import shutil
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

from envoy_data_plane.envoy.config.core.v3 import BuildVersion, Extension, Node
from envoy_data_plane.envoy.type.v3 import SemanticVersion

from dragoman.codec import encode
from e2e.bench.mesh import Size

ROOT = Path(__file__).parents[2]
_CLIENTS = Path(__file__).with_name("clients.c")
_LINE = 1 << 28
_ENVOY_EXTENSIONS = 800
_PATIENCE = 300.0
_BACKOFF = (0.5, 1.0)
"""Seconds after which a client comes back whose stream ended, as Envoy does (Envoy: GrpcStream, jittered backoff)."""


class BenchError(RuntimeError):
    """Something that is measured broke; the text says what, and what to do."""


class Ack(NamedTuple):
    """A response that a client read and ACKed; `at` is in nanoseconds of CLOCK_MONOTONIC."""

    client: int
    at: int
    type: str
    nonce: str
    size: int


def build_clients(folder: Path) -> Path:
    """Compile the clients into `folder`; the program."""
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        raise BenchError("no C compiler: install one (Debian: apt install gcc libc6-dev), or name it `cc` on PATH")
    program = folder / "clients"
    built = subprocess.run(
        [compiler, "-std=gnu11", "-O2", "-Wall", "-Wextra", "-o", str(program), str(_CLIENTS)],
        capture_output=True,
        text=True,
        check=False,
    )
    if built.returncode:
        raise BenchError(f"{compiler} cannot build {_CLIENTS.name} (are the headers of libc there?):\n{built.stderr}")
    return program


class _Child:
    """A process that is asked by lines and answers by lines, and ends when its standard input does."""

    def __init__(self, process: asyncio.subprocess.Process, log: Path) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self._process, self._log = process, log
        self._stdin, self._stdout = process.stdin, process.stdout

    def write(self, line: str) -> None:
        self._stdin.write(line.encode() + b"\n")

    async def read(self) -> str:
        line = await self._stdout.readline()
        if not line:
            tail = "\n".join(self._log.read_text(errors="replace").splitlines()[-20:])
            raise BenchError(f"a process of the benchmark ended ({await self._process.wait()})\n{tail}")
        return line.decode()


@asynccontextmanager
async def _child(log: Path, *command: str) -> AsyncIterator[_Child]:
    with log.open("ab") as errors:
        process = await asyncio.create_subprocess_exec(
            *command,
            cwd=ROOT,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=errors,
            limit=_LINE,
        )
    try:
        yield _Child(process, log)
    finally:
        if process.stdin is not None:
            process.stdin.close()
        try:
            await asyncio.wait_for(process.wait(), 5)
        except TimeoutError:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()


class ServerProcess:
    """The control plane in a process of its own."""

    def __init__(self, child: _Child, started: dict[str, Any]) -> None:
        self._child = child
        self.port: int = started["port"]
        self.started = started

    async def ask(self, command: str, **arguments: Any) -> Any:
        """Have a method of `server.Server` called; its answer."""
        self._child.write(json.dumps({"command": command, **arguments}))
        return json.loads(await self._child.read())


class Fleet:
    """The clients. What they tell is collected as it comes."""

    def __init__(self, child: _Child) -> None:
        self._child = child
        self.acks: list[Ack] = []
        self.ready: dict[int, int] = {}
        """Client → when it had everything that it subscribed to."""
        self.reconnects = 0
        self._news = asyncio.Event()

    def open(self, first: int, end: int) -> None:
        """Connect the clients `first` to `end - 1` at once."""
        self._child.write(f"open {first} {end}")

    def close(self, first: int, end: int) -> None:
        """Hang up."""
        for client in range(first, end):
            self.ready.pop(client, None)
        self._child.write(f"close {first} {end}")

    def forget(self) -> None:
        """Forget the ACKs so far."""
        self.acks.clear()

    async def listen(self) -> None:
        """Collect for ever."""
        while True:
            what, client, at, *rest = (await self._child.read()).split()
            if what == "ack":
                self.acks.append(Ack(int(client), int(at), rest[0], rest[1], int(rest[2])))
            elif what == "ready":
                self.ready[int(client)] = int(at)
            elif rest != ["closed"]:
                self._come_back(int(client))
            self._news.set()

    def _come_back(self, client: int) -> None:
        self.ready.pop(client, None)
        self.reconnects += 1
        asyncio.get_running_loop().call_later(random.uniform(*_BACKOFF), self.open, client, client + 1)  # noqa: S311

    async def until(self, condition: Callable[[], bool], what: str, seconds: float = _PATIENCE) -> None:
        """Wait until the clients have told enough."""
        try:
            async with asyncio.timeout(seconds):
                while not condition():
                    self._news.clear()
                    await self._news.wait()
        except TimeoutError:
            raise BenchError(f"waited {seconds:.0f} s for {what}") from None


@asynccontextmanager
async def server(size: Size, module: str = "server") -> AsyncIterator[ServerProcess]:
    """Start the server under test; entering returns when it has loaded the mesh. `module` may be another server that
    is spoken to in the same way."""
    with tempfile.TemporaryDirectory() as name:
        async with _child(Path(name) / "server.log", sys.executable, "-m", f"e2e.bench.{module}") as child:
            child.write(json.dumps(dataclasses.asdict(size)))
            yield ServerProcess(child, json.loads(await child.read()))


@asynccontextmanager
async def file_server(folder: Path) -> AsyncIterator[ServerProcess]:
    """Start a control plane that follows a folder."""
    async with _child(folder.parent / "server.log", sys.executable, "-m", "e2e.bench.file_server") as child:
        child.write(json.dumps({"folder": str(folder)}))
        yield ServerProcess(child, json.loads(await child.read()))


async def alone(module: str, size: Size) -> dict[str, float]:
    """Have a process of its own (`e2e.bench.<module>`) measure a mesh; its numbers."""
    with tempfile.TemporaryDirectory() as name:
        async with _child(Path(name) / f"{module}.log", sys.executable, "-m", f"e2e.bench.{module}") as child:
            child.write(json.dumps(dataclasses.asdict(size)))
            found: dict[str, float] = json.loads(await child.read())
            return found


class Measured:
    """A process that measures, and is told by lines of JSON what."""

    def __init__(self, child: _Child) -> None:
        self._child = child

    async def exchange(self, said: Any) -> Any:
        """Its answer to a line."""
        self._child.write(json.dumps(said))
        return json.loads(await self._child.read())


@asynccontextmanager
async def child(module: str) -> AsyncIterator[Measured]:
    """The process `e2e.bench.<module>`."""
    with tempfile.TemporaryDirectory() as name:
        async with _child(Path(name) / f"{module}.log", sys.executable, "-m", f"e2e.bench.{module}") as started:
            yield Measured(started)


class TlsClients:
    """Clients that speak TLS, in some processes."""

    def __init__(self, children: list[_Child]) -> None:
        self._children = children

    async def ask(self, command: str) -> list[Any]:
        """Have all processes do something at the same time; their answers."""
        for child in self._children:
            child.write(json.dumps({"command": command}))
        return [json.loads(await child.read()) for child in self._children]


@asynccontextmanager
async def tls_clients(port: int, roots: str, parts: list[tuple[list[str], list[str]]]) -> AsyncIterator[TlsClients]:
    """Start a process for each part, which is the node ids and the tokens of its clients; none is connected."""
    async with contextlib.AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        children = []
        for number, (nodes, tokens) in enumerate(parts):
            log = folder / f"clients-{number}.log"
            told = folder / f"clients-{number}.json"
            told.write_text(json.dumps({"port": port, "roots": roots, "nodes": nodes, "tokens": tokens}))
            command = (sys.executable, "-m", "e2e.bench.tls_clients", str(told))
            children.append(await stack.enter_async_context(_child(log, *command)))
        yield TlsClients(children)


@asynccontextmanager
async def fleet(program: Path, port: int, nodes: Iterable[str]) -> AsyncIterator[Fleet]:
    """Start a client for each node id, none of them connected."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "nodes").write_text("".join(f"{node}\n" for node in nodes))
        (folder / "properties").write_bytes(encode(_envoy()))
        arguments = ("127.0.0.1", str(port), str(folder / "nodes"), str(folder / "properties"))
        async with _child(folder / "clients.log", str(program), *arguments) as child:
            clients = Fleet(child)
            listening = asyncio.create_task(clients.listen())
            try:
                yield clients
            finally:
                listening.cancel()
                await asyncio.gather(listening, return_exceptions=True)


def _envoy() -> Node:
    """What an Envoy says of itself beside its id: as long as what Envoy 1.40 says (60 KB)."""
    return Node(
        user_agent_name="envoy",
        user_agent_build_version=BuildVersion(version=SemanticVersion(major_number=1, minor_number=40)),
        extensions=own_extensions(),
    )


def own_extensions() -> list[Extension]:
    """As many as an Envoy says that it has."""
    return [
        Extension(name=f"envoy.filters.http.number_{i:04}", category="envoy.filters.http", type_urls=[f"type.{i}"])
        for i in range(_ENVOY_EXTENSIONS)
    ]

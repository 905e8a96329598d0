"""The demo as a whole: brings everything up, and leaves nothing behind."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Coroutine, Mapping
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from ca.caller import PodBinding
from ca.root_store import load_or_create
from dragoman.callers.json_web_token import JsonWebToken
from dragoman.callers.token_issuer import AUDIENCE, ISSUER, TokenIssuer
from dragoman.debug.server import DebugServer
from dragoman.demo.addresses import Block, free_ports, reserve
from dragoman.demo.files import MeshFolder, placed, shipped
from dragoman.demo.programs import Program
from dragoman.demo.workloads import Workload, workloads
from dragoman.runtime import ControlPlane
from dragoman.runtime.serving_certificate import ServingCertificate
from dragoman.sidecar import (
    Bootstrap,
    EnvoyProcess,
    SocketAddress,
    StaticAddresses,
    Tls,
    Token,
    argv,
    find_envoy,
    render,
    token_secret,
)
from dragoman.sidecar import ControlPlane as ControlPlaneAddress
from dragoman.sources.files import FileSource

LOG_FILE: Final = "dragoman.log"
"""Where in its state folder the control plane logs."""

DRAIN_SECONDS: Final = 3
"""How long connections that were open before a change may go on under the old listener. Istio's 45 s would make a
visitor wait."""

_HTTP_PROXY, _ADMIN, _LIFECYCLE, _READINESS, _PROMETHEUS = 15080, 15000, 15020, 15021, 15090
_LIVE_SECONDS = 30
_TOKEN_LIFETIME = timedelta(days=30)


class Demo:
    """The running demo. An async context manager: entering returns when the mesh serves, leaving ends all of it.

    `state` is an empty folder, whose removal is the caller's: YAML, certificates and logs go there.
    Must be entered in the main thread: the processes it starts end with the thread that forked them.
    """

    def __init__(self, state: Path) -> None:
        self.state = state
        self.log_file = state / LOG_FILE
        self._stack = AsyncExitStack()
        self._tasks: list[asyncio.Task[str]] = []
        self.envoys: dict[str, EnvoyProcess] = {}
        """`pod.namespace` → its Envoy."""
        self.programs: list[Program] = []

    async def __aenter__(self) -> Self:
        try:
            await self._start()
        except BaseException:
            await self._stack.aclose()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stack.aclose()

    async def _start(self) -> None:
        started = time.monotonic()
        binary = find_envoy()
        self.block = self._reserve()
        self._lay_out()
        await self._start_programs()
        await self._start_control_plane()
        await self._start_envoys(binary)
        self.start_seconds = time.monotonic() - started

    def _reserve(self) -> Block:
        block = reserve()
        self._stack.callback(block.close)
        return block

    def _lay_out(self) -> None:
        """Decide on addresses and ports, and write the YAML for them."""
        texts = shipped("mesh")
        written = workloads(texts.values())
        programs = {int(w.command[-1].rpartition(":")[2]) for w in written if w.command}
        wanted = (
            *dict.fromkeys(w.port for w in written),
            *sorted(programs),
            *(_HTTP_PROXY, _ADMIN, _LIFECYCLE, _READINESS, _PROMETHEUS),
        )
        addresses = [self.block.address(int(w.address.rpartition(".")[2])) for w in written]
        self.ports: Mapping[int, int] = free_ports(addresses, wanted)
        self.folder = _folder(self.state / "mesh")
        self.ideas = _folder(self.state / "ideas")
        for name, text in shipped("ideas").items():
            self.ideas.write(name, placed(text, self.block.prefix, self.ports))
        texts = {name: placed(text, self.block.prefix, self.ports) for name, text in texts.items()}
        for name, text in texts.items():
            self.folder.write(name, text)
        self.workloads = workloads(texts.values())
        gateway = next(w for w in self.workloads if w.gateway)
        self.gateway_url = f"http://{gateway.address}:{gateway.port}"

    async def _start_programs(self) -> None:
        for workload in self.workloads:
            if workload.command:
                program = Program(workload, self.state / workload.proxy_id)
                self._stack.push_async_callback(program.stop)
                await program.start()
                self.programs.append(program)

    async def _start_control_plane(self) -> None:
        authority = load_or_create(self.state / "ca", "cluster.local", now=datetime.now(UTC))
        self.tokens = TokenIssuer.load_or_create(self.state / "tokens")
        keys = self.tokens.keys()
        self.control_plane = ControlPlane(
            FileSource(self.folder.path),
            authority,
            authenticators=lambda trust: [JsonWebToken(ISSUER, (AUDIENCE,), keys, trust.own, name="token")],
        )
        debug = DebugServer(self.control_plane)
        self._stack.push_async_callback(debug.stop)
        own = self.block.address(1)
        self.debug_url = f"http://{own}:{await debug.start(own, 0)}"
        await self.control_plane.load()
        certificate = ServingCertificate(lambda: authority, lambda: authority.roots)
        self.xds_port = await self.control_plane.server.listen_securely(own, 0, certificate.context)
        (self.state / "root-cert.pem").write_bytes(authority.roots_pem)
        self._stack.push_async_callback(self.control_plane.server.stop, 0.1)
        await self.control_plane.start()
        self._background(self._run_control_plane())

    async def broken(self) -> str:
        """Wait until something that should run for ever has ended; what it was, and its last words."""
        done, _ = await asyncio.wait(self._tasks, return_when=asyncio.FIRST_COMPLETED)
        task = done.pop()
        if error := task.exception():
            raise error
        return task.result()

    def _background(self, work: Coroutine[None, None, str]) -> None:
        task = asyncio.create_task(work)
        self._tasks.append(task)
        self._stack.push_async_callback(_cancelled, task)

    async def _run_control_plane(self) -> str:
        await self.control_plane.run()
        return "the control plane ended"

    async def _start_envoys(self, binary: Path) -> None:
        for workload in self.workloads:
            envoy = self._envoy(workload, binary)
            self._stack.push_async_callback(envoy.stop)
            await envoy.start()
            self.envoys[workload.proxy_id] = envoy
        await asyncio.gather(
            *(envoy.wait_live(_LIVE_SECONDS) for envoy in self.envoys.values()),
            *(program.wait_listening() for program in self.programs),
        )
        for proxy, envoy in self.envoys.items():
            self._background(_end_of_envoy(proxy, envoy))
        for program in self.programs:
            self._background(_end_of_program(program))

    def _envoy(self, workload: Workload, binary: Path) -> EnvoyProcess:
        addresses = self.static_addresses(workload)
        bootstrap = Bootstrap(
            workload.node(self.ports[_HTTP_PROXY]),
            ControlPlaneAddress(SocketAddress(self.block.address(1), self.xds_port), *self._proof(workload)),
            addresses,
        )
        return EnvoyProcess(
            lambda config: argv(binary, config, drain_seconds=DRAIN_SECONDS, concurrency=1, reject_unknown_fields=True),
            render(bootstrap),
            self.state / workload.proxy_id,
            addresses.admin,
        )

    def _proof(self, workload: Workload) -> tuple[Tls, Token]:
        """How an Envoy knows the control plane, and the control plane the Envoy: what a kubelet would mount."""
        folder = self.state / workload.proxy_id / "secrets"
        folder.mkdir(mode=0o700, parents=True)
        token = Token(f"{folder}/token", f"{folder}/token.json")
        issued = self.tokens.issue(
            PodBinding(workload.namespace, workload.pod),
            workload.service_account,
            now=datetime.now(UTC),
            lifetime=_TOKEN_LIFETIME,
        )
        Path(token.token_file).write_text(issued)
        Path(f"{folder}/token.json").write_text(json.dumps(token_secret(token)))
        return Tls(f"{self.state}/root-cert.pem"), token

    @property
    def metrics_port(self) -> int:
        """Where each Envoy shows its metrics, on its own address."""
        return self.ports[_PROMETHEUS]

    def static_addresses(self, workload: Workload) -> StaticAddresses:
        """Where a workload's Envoy has its own listeners."""
        return StaticAddresses.on(
            workload.address,
            admin=self.ports[_ADMIN],
            readiness=self.ports[_READINESS],
            prometheus=self.ports[_PROMETHEUS],
            lifecycle=self.ports[_LIFECYCLE],
        )


def _folder(path: Path) -> MeshFolder:
    path.mkdir()
    return MeshFolder(path)


async def _end_of_envoy(proxy: str, envoy: EnvoyProcess) -> str:
    code = await envoy.wait()
    return f"the Envoy of {proxy} ended with {code}\n{envoy.log_tail()}"


async def _end_of_program(program: Program) -> str:
    code = await program.wait()
    return f"the program of {program.workload.pod} ended with {code}\n{program.log_tail()}"


async def _cancelled(task: asyncio.Task[str]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)

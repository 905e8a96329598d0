"""`envoy_10`: real Envoys, a folder of YAML, and how long an edit takes to the last ACK."""

from __future__ import annotations

import asyncio
import tempfile
import time
from contextlib import AsyncExitStack
from pathlib import Path

from dragoman.demo.addresses import free_ports, reserve
from dragoman.mesh.proxy_id import ProxyId, ProxyType
from dragoman.sidecar import (
    Bootstrap,
    ControlPlane,
    EnvoyProcess,
    Node,
    SocketAddress,
    StaticAddresses,
    argv,
    find_envoy,
    render,
)
from e2e.bench import mesh
from e2e.bench.measure import median, percentile
from e2e.bench.processes import BenchError, ServerProcess, file_server

_ENVOYS = 10
_SERVICES = 200
_SETTLE_SECONDS = 0.15
_PORTS = {"http_proxy": 15080, "admin": 15000, "readiness": 15021, "prometheus": 15090, "lifecycle": 15020, "app": 8080}


async def measure(changes: int) -> dict[str, float]:
    """The metrics of the row."""
    async with AsyncExitStack() as stack:
        state = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        block = reserve()
        stack.callback(block.close)
        addresses = [block.address(2 + i) for i in range(_ENVOYS)]
        found = free_ports(addresses, _PORTS.values())
        ports = {name: found[port] for name, port in _PORTS.items()}
        folder = state / "mesh"
        folder.mkdir()
        for name, text in mesh.small(_SERVICES, addresses, ports["http_proxy"]).items():
            (folder / name).write_bytes(text)
        server = await stack.enter_async_context(file_server(folder))
        for number, address in enumerate(addresses):
            await stack.enter_async_context(_envoy(number, address, ports, server.port, state))
        await _settled(server)
        endpoint = await _edits(server, folder / "endpoint.yaml", [mesh.endpoints(0, 1), mesh.endpoints(0, 2)], changes)
        route = await _edits(
            server, folder / "route.yaml", [mesh.virtual_service(0, 10), mesh.virtual_service(0, 20)], changes
        )
        statistics = await server.ask("statistics")
        lag = statistics.pop("lag")
        return {
            "endpoint_last_ack_p50_ms": endpoint[0],
            "endpoint_pump_p50_ms": endpoint[1],
            "endpoint_ratio": endpoint[0] / endpoint[1],
            "route_last_ack_p50_ms": route[0],
            "route_pump_p50_ms": route[1],
            "route_ratio": route[0] / route[1],
            "ratio": max(endpoint[0] / endpoint[1], route[0] / route[1]),
            "loop_lag_p99_ms": percentile(lag, 0.99),
            "loop_lag_max_ms": max(lag),
            **statistics,
        }


def _envoy(number: int, address: str, ports: dict[str, int], xds_port: int, state: Path) -> EnvoyProcess:
    own = StaticAddresses.on(
        address,
        admin=ports["admin"],
        readiness=ports["readiness"],
        prometheus=ports["prometheus"],
        lifecycle=ports["lifecycle"],
    )
    node = Node(
        ProxyId(ProxyType.SIDECAR, address, f"client-0-{number}", "ns-0", "ns-0.svc.cluster.local"),
        service_account="account-0",
        interception_mode="NONE",
        http_proxy_port=ports["http_proxy"],
    )
    binary = find_envoy()
    return EnvoyProcess(
        lambda config: argv(binary, config, concurrency=1, drain_seconds=1),
        render(Bootstrap(node, ControlPlane(SocketAddress("127.0.0.1", xds_port)), own)),
        state / f"envoy-{number}",
        own.admin,
    )


async def _settled(server: ServerProcess) -> None:
    for _ in range(300):
        state = await server.ask("in_sync")
        if state["streams"] == _ENVOYS and not state["late"]:
            return
        await asyncio.sleep(0.2)
    raise BenchError(f"Envoys are not in sync: {state}")


async def _edits(server: ServerProcess, file: Path, texts: list[bytes], changes: int) -> tuple[float, float]:
    """Milliseconds from an edit, and from the pump's first write, to the last ACK: medians."""
    ours, pumped = [], []
    for number in range(-4, changes):
        which = number % 2
        await server.ask("listen")
        at = _write(file, texts[which])
        # Looking at once would take the processor from what is looked at.
        await asyncio.sleep(_SETTLE_SECONDS)
        ours.append((await _last(server, str(which)) - at) / 1e6)
    for number in range(-4, changes):
        sent = await server.ask("pump", name=str(number % 2))
        await asyncio.sleep(_SETTLE_SECONDS)
        pumped.append((await _last(server) - sent["at"]) / 1e6)
    return median(ours[4:]), median(pumped[4:])


def _write(file: Path, text: bytes) -> int:
    """Write a file; when it was closed."""
    file.write_bytes(text)
    return time.monotonic_ns()


async def _last(server: ServerProcess, keep: str | None = None) -> int:
    for _ in range(100):
        acks: list[int] = (await server.ask("heard", keep=keep))["acks"]
        if len(acks) >= _ENVOYS:
            return max(acks)
        await asyncio.sleep(_SETTLE_SECONDS)
    raise BenchError(f"{len(acks)} of {_ENVOYS} Envoys have ACKed")

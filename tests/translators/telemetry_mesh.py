"""A control plane, a client's and a server's sidecar on loopback addresses, and the application behind the server."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from typing import Any

from aiohttp import ClientSession, web
from envoy_data_plane.envoy.config.core.v3 import Address
from envoy_data_plane.envoy.config.core.v3 import SocketAddress as EnvoySocketAddress
from envoy_data_plane.envoy.config.listener.v3 import FilterChain, Listener
from prometheus_client.parser import text_string_to_metric_families

from ca.root_store import load_or_create
from crds.meshconfig import MeshConfig
from dragoman.codec import encode, to_json
from dragoman.mesh.proxy_id import ProxyId, ProxyType
from dragoman.runtime import ControlPlane
from dragoman.sidecar import (
    Bootstrap,
    EnvoyProcess,
    Node,
    SocketAddress,
    StaticAddresses,
    argv,
    find_envoy,
    render,
)
from dragoman.sidecar import (
    ControlPlane as ControlPlaneAddress,
)
from dragoman.sources.files import FileSource
from translators import telemetry
from translators.names import outbound_cluster
from translators.tcp_proxies import tcp_proxy

_NUMBERS = count(1)

HTTP, TCP, PROXY, TCP_CLIENT = 8080, 9000, 15080, 15081
HOST = "server.shop.svc.cluster.local"


@dataclass(frozen=True, slots=True)
class Sample:
    name: str
    labels: Mapping[str, str]
    value: float


class TelemetryMesh:
    """`client` and `server` are the addresses of the two pods."""

    def __init__(self, client: str, server: str) -> None:
        self.client = client
        self.server = server
        self.sessions: ClientSession

    async def get(self, url: str, **options: Any) -> int:
        """The status of a request through the client's sidecar."""
        async with self.sessions.get(url, proxy=f"http://{self.client}:{PROXY}", **options) as answer:
            await answer.read()
            return answer.status

    async def get_directly(self) -> int:
        """The status of a request from outside the mesh, in plaintext."""
        async with self.sessions.get(f"http://{self.server}:{HTTP}/plain") as answer:
            await answer.read()
            return answer.status

    async def metrics(self, address: str) -> list[Sample]:
        """Istio's metrics as Prometheus scrapes them."""
        async with self.sessions.get(f"http://{address}:15090/stats/prometheus") as answer:
            text = await answer.text()
        return [
            Sample(sample.name, sample.labels, sample.value)
            for family in text_string_to_metric_families(text)
            for sample in family.samples
            if sample.name.startswith("istio_")
        ]

    async def until_counted(self, address: str, name: str, *, at_least: float = 0, **labels: str) -> Sample:
        """The one series of a metric with `labels`, when it has got to a value: logs are written after the answer."""
        async with asyncio.timeout(60):
            while True:
                listed = [s for s in await self.metrics(address) if s.name == name and s.value >= at_least]
                found = [s for s in listed if labels.items() <= s.labels.items()]
                if found:
                    (sample,) = found
                    return sample
                await asyncio.sleep(0.02)


def _yaml(client: str, server: str, mesh_config: Mapping[str, Any]) -> str:
    def pod(name: str, ip: str, workload: str, labels: Mapping[str, str]) -> dict[str, Any]:
        owner = {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": f"{workload}-77", "controller": True}
        marks = {"security.istio.io/tlsMode": "istio", "pod-template-hash": "77"}
        return {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {
                "name": name,
                "namespace": "shop",
                "labels": {**labels, **marks},
                "ownerReferences": [owner],
            },
            "spec": {"serviceAccountName": workload.partition("-")[0], "containers": [{"name": "app"}]},
            "status": {"podIP": ip, "phase": "Running"},
        }

    documents = [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop"}},
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": "server", "namespace": "shop"},
            "spec": {
                "clusterIP": "10.96.0.10",
                "selector": {"app": "server"},
                "ports": [{"name": "http", "port": HTTP}, {"name": "tcp", "port": TCP}],
            },
        },
        # A workload's name may hold dots and so may a version; labels are the pods' own.
        pod("client-1", client, "client-v1.x", CLIENT_LABELS),
        pod("server-1", server, "server-v2", SERVER_LABELS),
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": "istio", "namespace": "istio-system"},
            "data": {
                "mesh": json.dumps(
                    {"proxyHttpPort": PROXY, "defaultConfig": {"interceptionMode": "NONE"}, **mesh_config}
                )
            },
        },
    ]
    return "\n---\n".join(json.dumps(document) for document in documents)


CLIENT_LABELS = {"app": "Client_App", "version": "1.2.3"}
SERVER_LABELS = {"app": "server", "version": "v2", "service.istio.io/canonical-name": "shop.server"}


def _tcp_listener(address: str) -> dict[str, Any]:
    """What interception would give the client for the TCP port: its listener needs a captured connection."""
    cluster = outbound_cluster(TCP, "", HOST)
    traffic = telemetry.Traffic.OUTBOUND
    last = tcp_proxy(cluster, [(cluster, 1)], telemetry.tcp_access_logs(MeshConfig(), traffic))
    listener = Listener(
        name="tcp",
        address=Address(socket_address=EnvoySocketAddress(address=address, port_value=TCP_CLIENT)),
        filter_chains=[FilterChain(filters=[*telemetry.network_filters(traffic), last])],
    )
    return to_json(Listener, encode(listener))


@asynccontextmanager
async def telemetry_mesh(tmp_path: Path, **mesh_config: Any) -> AsyncIterator[TelemetryMesh]:
    """Both sidecars live, with `mesh_config` merged into MeshConfig."""
    process = os.getpid()
    number = next(_NUMBERS) * 2
    client, server = (f"127.{64 + (process >> 8) % 128}.{process & 255}.{number + i}" for i in range(2))
    folder = tmp_path / "config"
    folder.mkdir()
    (folder / "mesh.yaml").write_text(_yaml(client, server, mesh_config))
    mesh = TelemetryMesh(client, server)
    async with AsyncExitStack() as stack:
        await _application(stack)
        control_plane = ControlPlane(
            FileSource(folder), load_or_create(tmp_path / "ca", "cluster.local", now=datetime.now(UTC))
        )
        reports = (await control_plane.load()).reports
        assert not reports, reports
        port = control_plane.server.listen("127.0.0.1:0")
        await control_plane.server.start()
        stack.push_async_callback(control_plane.server.stop, 0.1)
        running = asyncio.create_task(control_plane.run())
        stack.callback(running.cancel)
        for name, ip, workload, labels in (
            ("client-1", client, "client-v1.x", CLIENT_LABELS),
            ("server-1", server, "server-v2", SERVER_LABELS),
        ):
            node = Node(
                ProxyId(ProxyType.SIDECAR, ip, name, "shop", "shop.svc.cluster.local"),
                workload=workload,
                labels=labels,
                interception_mode="NONE",
                http_proxy_port=PROXY,
            )
            addresses = StaticAddresses.on(ip)
            address = ControlPlaneAddress(SocketAddress("127.0.0.1", port))
            bootstrap = render(Bootstrap(node, address, addresses))
            if name == "client-1":
                bootstrap["staticResources"]["listeners"].append(_tcp_listener(ip))
            envoy = EnvoyProcess(
                lambda config: argv(find_envoy(), config, reject_unknown_fields=True, concurrency=1),
                bootstrap,
                tmp_path / name,
                addresses.admin,
            )
            await envoy.start()
            stack.push_async_callback(envoy.stop)
            await envoy.wait_live(60)
        mesh.sessions = await stack.enter_async_context(ClientSession())
        await _warm(mesh)
        yield mesh


async def _warm(mesh: TelemetryMesh) -> None:
    """An Envoy is live before listeners of a later answer are."""
    async with asyncio.timeout(60):
        for address, port in ((mesh.client, PROXY), (mesh.client, TCP_CLIENT), (mesh.server, HTTP), (mesh.server, TCP)):
            while True:
                try:
                    _, writer = await asyncio.open_connection(address, port)
                except OSError:
                    await asyncio.sleep(0.02)
                else:
                    writer.close()
                    await writer.wait_closed()
                    break


async def _application(stack: AsyncExitStack) -> None:
    async def answer(request: web.Request) -> web.Response:
        if request.path == "/grpc":
            return web.Response(content_type="application/grpc", headers={"grpc-status": "0"})
        return web.Response(status=418 if request.path == "/teapot" else 200, text="hello")

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(4096):
            writer.write(data * 2)
        writer.close()

    application = web.Application()
    application.router.add_route("*", "/{path:.*}", answer)
    runner = web.AppRunner(application)
    await runner.setup()
    stack.push_async_callback(runner.cleanup)
    await web.TCPSite(runner, "127.0.0.1", HTTP).start()
    server = await asyncio.start_server(echo, "127.0.0.1", TCP)
    stack.callback(server.close)

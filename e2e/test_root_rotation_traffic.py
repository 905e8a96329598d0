"""The root of the CA is replaced while requests go on, each over a connection, hence a handshake, of its own."""

import asyncio
import contextlib
import json
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from cryptography import x509

from e2e.harness import EchoApp, Mesh
from e2e.harness.control_plane import ControlPlane
from e2e.harness.sidecars import sidecars

pytestmark = [pytest.mark.netns, pytest.mark.envoy]

SETTINGS = """
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: default, namespace: istio-system}
spec: {mtls: {mode: STRICT}}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: server, namespace: default}
spec:
  host: server
  trafficPolicy: {connectionPool: {http: {maxRequestsPerConnection: 1}}}
"""


@contextlib.asynccontextmanager
async def short_lived() -> AsyncIterator[Mesh]:
    """A mesh whose certificates live long enough to be seen and short enough to see the end of the last one."""
    async with (
        Mesh.running() as mesh,
        ControlPlane(
            mesh.network.node,
            mesh.configuration.folder,
            mesh.directory,
            ("--certificate-lifetime", "16s", "--ca-overlap", "2s"),
        ) as control_plane,
    ):
        mesh.control_plane = control_plane
        mesh.sidecars = sidecars(control_plane.socket)
        yield mesh


async def ca(mesh: Mesh, *command: str) -> str:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-c", "from dragoman.cli.main import main; main()", "ca", *command),
        *("--state-dir", Path(mesh.directory) / "state"),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    output, errors = await process.communicate()
    assert process.returncode == 0, errors.decode()
    return output.decode()


async def roots(mesh: Mesh) -> set[x509.Certificate]:
    return set(x509.load_pem_x509_certificates((await ca(mesh, "root")).encode()))


async def test_no_request_fails_while_the_root_is_replaced() -> None:
    async with short_lived() as mesh:
        await mesh.service("server", {"http": 8080})
        mesh.configuration.apply(SETTINGS)
        async with (
            mesh.pod("server", app=EchoApp(http=(8080,)), sidecar=True),
            mesh.pod("client", sidecar=True) as client,
            mesh.pod("other", sidecar=True) as other,
        ):
            await mesh.settled()
            before = await roots(mesh)
            url = "http://server:8080/"
            async with client.traffic(url) as traffic, other.traffic(url) as others:
                status = json.loads(await ca(mesh, "rotate", "--wait", "-o", "json"))
                after = await roots(mesh)
            for seen in (traffic, others):
                assert not seen.errors
                assert set(seen.statuses) == {200}
                assert len(seen.outcomes) > 100
            assert status["phase"] == "steady"
            assert [root["role"] for root in status["roots"]] == ["signs"]
            assert before.isdisjoint(after)
            assert len(after) == 1
            assert (await client.http(url)).status == 200

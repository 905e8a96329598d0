"""A pod that keeps its own key talks with one whose key comes over the stream, while its certificate is renewed."""

import asyncio
import contextlib
import json
import os
import sys
from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509

from ca.caller import PodBinding
from dragoman.callers.token_issuer import TokenIssuer
from dragoman.cli.state import root_file, token_folder
from dragoman.mesh.key_folder import KEY_FOLDER
from e2e.harness import EchoApp, Mesh, processes
from e2e.harness.capture import PROXY_ID
from e2e.harness.control_plane import DRAGOMAN, ControlPlane
from e2e.harness.manifests import PodSpec
from e2e.harness.pods import Pod
from e2e.harness.processes import Process
from e2e.harness.sidecars import sidecars

pytestmark = [pytest.mark.netns, pytest.mark.envoy]

PORT = 15012
LIFETIME = timedelta(seconds=10)
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
async def secured() -> AsyncIterator[Mesh]:
    async with (
        Mesh.running() as mesh,
        ControlPlane(
            mesh.network.node,
            mesh.configuration.folder,
            mesh.directory,
            ("--secure-address", f"127.0.0.1:{PORT}"),
        ) as control_plane,
    ):
        mesh.control_plane = control_plane
        mesh.sidecars = sidecars(control_plane.socket)
        yield mesh


@contextlib.asynccontextmanager
async def agent(mesh: Mesh, pod: str, account: str, folder: Path) -> AsyncIterator[Process]:
    """The agent of a pod, as its Envoy's user, with the files that Kubernetes would mount; entered when it has a
    certificate."""
    state = mesh.directory / "state"
    mounted = mesh.directory / f"{pod}-mounted"
    for each in (mounted, folder):
        each.mkdir()
        os.chown(each, PROXY_ID, PROXY_ID)
    (mounted / "root-cert.pem").write_bytes(root_file(state).read_bytes())
    token = TokenIssuer.load_or_create(token_folder(state)).issue(
        PodBinding("default", pod), account, now=datetime.now(UTC), lifetime=timedelta(hours=1)
    )
    (mounted / "token").write_text(token)
    process = await processes.start(
        mesh.network.node.name,
        *(sys.executable, *DRAGOMAN, "agent", "--server", f"127.0.0.1:{PORT}", "--folder", folder),
        *("--root-file", mounted / "root-cert.pem", "--token-file", mounted / "token"),
        *("--lifetime", f"{LIFETIME.seconds}s"),
        name=f"agent of {pod}",
        log=mesh.directory / f"{pod}.agent.log",
        uid=PROXY_ID,
    )
    try:
        async with asyncio.timeout(30):
            while not (folder / "key.pem").exists():
                process.check()
                await asyncio.sleep(0.02)
        yield process
    finally:
        await process.stop()


def serial_in(folder: Path) -> int:
    return x509.load_pem_x509_certificate((folder / "cert-chain.pem").read_bytes()).serial_number


async def serial_of(pod: Pod) -> int:
    """Of the only certificate that an Envoy shows."""
    listed = (await pod.envoy.admin("/certs")).json["certificates"]
    (serial,) = {int(leaf["serial_number"], 16) for entry in listed for leaf in entry.get("cert_chain", ())}
    return serial


async def serial_as_in(folder: Path, pod: Pod) -> int:
    """Wait until an Envoy shows the certificate that is in a folder, where it may just have been renewed."""
    async with asyncio.timeout(40):
        while (serial := await serial_of(pod)) != serial_in(folder):  # noqa: ASYNC110 - the state of another process
            await asyncio.sleep(0.1)
    return serial


async def serial_other_than(pod: Pod, before: int) -> int:
    async with asyncio.timeout(40):
        while (serial := await serial_of(pod)) == before:  # noqa: ASYNC110 - the state of another process
            await asyncio.sleep(0.1)
    return serial


def memory(process: Process) -> int:
    """Resident kilobytes."""
    lines = Path(f"/proc/{process.pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS:"))


async def test_a_key_that_stays_in_the_pod() -> None:
    async with secured() as mesh:
        assert mesh.control_plane is not None
        await mesh.service("server", {"http": 8080})
        mesh.configuration.apply(SETTINGS)
        folder = mesh.directory / "keys"

        def kept(spec: PodSpec) -> Mapping[str, Any]:
            bootstrap: dict[str, Any] = json.loads(json.dumps(mesh.sidecars(spec)))  # type: ignore[misc]
            bootstrap["node"]["metadata"][KEY_FOLDER] = str(folder)
            return bootstrap

        async with (
            agent(mesh, "server-v1-1", "server", folder) as keeper,
            mesh.pod("server", app=EchoApp(http=(8080,)), sidecar=kept) as server,
            mesh.pod("client", sidecar=True) as client,
        ):
            await mesh.settled()
            async with client.traffic("http://server:8080/") as traffic:
                first = await serial_as_in(folder, server)
                second = await serial_other_than(server, first)
                await serial_other_than(server, second)
            assert not traffic.errors
            assert set(traffic.statuses) == {200}
            answer = await client.http("http://server:8080/")
            assert "spiffe://cluster.local/ns/default/sa/client" in answer.echo.headers["x-forwarded-client-cert"]
            # The control plane made one key: that of the client.
            assert await mesh.control_plane.metric("dragoman_ca_certificates_delivered_total") == 1
            assert (folder / "key.pem").stat().st_mode & 0o777 == 0o600
            assert memory(keeper) < 16_000

"""The product's bootstrap in a captured pod, with an xDS server that has nothing to give."""

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field

import pytest
import pytest_asyncio

from e2e.harness import Mesh, Pod
from e2e.harness.sidecars import allow_envoys, sidecars
from xds import View, XdsServer
from xds.request import Node
from xds.session import Peer, Refused, Session

pytestmark = [pytest.mark.netns, pytest.mark.envoy, pytest.mark.asyncio(loop_scope="module")]


@dataclass
class EmptySession:
    """Nothing, for everyone."""

    proxy_id: str
    views: tuple[View, ...] = (View("empty"),)
    on_views_changed: Callable[[], None] | None = None
    on_refused: Callable[[Refused], None] | None = None
    expires_at: float | None = None

    def close(self) -> None:
        """Nothing is held."""


@dataclass
class Captured:
    """Two pods, and who has come to the xDS server."""

    mesh: Mesh
    peers: list[tuple[Node, Peer]] = field(default_factory=list)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def captured() -> AsyncIterator[Captured]:
    async with Mesh.running() as mesh:
        seen = Captured(mesh)

        async def connect(node: Node, peer: Peer) -> Session:
            seen.peers.append((node, peer))
            return EmptySession(node.id)

        socket = mesh.directory / "xds.sock"
        server = XdsServer(connect)
        server.listen(f"unix:{socket}")
        await server.start()
        socket.chmod(0o600)
        allow_envoys(socket)
        mesh.sidecars = sidecars(socket)
        try:
            yield seen
        finally:
            await server.stop(0)


async def test_a_sidecar_reaches_the_control_plane_from_its_namespace(captured: Captured) -> None:
    async with captured.mesh.pod("web", namespace="shop", sidecar=True) as pod:
        node, peer = captured.peers[-1]
        assert node.id == f"sidecar~{pod.address}~web-v1-1.shop~shop.svc.cluster.local"
        assert peer.local, "keys go only to a peer whom nobody can overhear"


async def test_readiness_and_metrics_are_told_to_those_outside_the_pod(captured: Captured) -> None:
    async with captured.mesh.pod("told", sidecar=True) as pod, captured.mesh.pod("kubelet") as kubelet:
        assert await status(kubelet, pod, 15021, "/healthz/ready") == 200
        assert await status(kubelet, pod, 15090, "/stats/prometheus") == 200
        with pytest.raises(ConnectionError):
            await status(kubelet, pod, 15000, "/ready")


async def status(client: Pod, server: Pod, port: int, path: str) -> int:
    """The status of an answer at a pod's own address."""
    return (await client.http(f"http://{server.address}:{port}{path}")).status

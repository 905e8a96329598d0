"""A cluster whose control plane is `dragoman serve`."""

import contextlib
from collections.abc import AsyncIterator

from e2e.harness.control_plane import ControlPlane
from e2e.harness.mesh import Mesh
from e2e.harness.sidecars import sidecars


@contextlib.asynccontextmanager
async def served_mesh(*arguments: str) -> AsyncIterator[Mesh]:
    """An empty cluster with a control plane that watches its folder; `arguments` are further words for it."""
    async with (
        Mesh.running() as mesh,
        ControlPlane(mesh.network.node, mesh.configuration.folder, mesh.directory, arguments) as control_plane,
    ):
        mesh.control_plane = control_plane
        mesh.sidecars = sidecars(control_plane.socket)
        yield mesh

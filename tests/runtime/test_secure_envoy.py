"""A real Envoy proves who it is: with a token that is replaced, under a root that is."""

import itertools
import json
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest

from ca.authority import Authority, new_root
from dragoman.mesh.proxy_id import ProxyId
from dragoman.sidecar import (
    Bootstrap,
    ControlPlane,
    EnvoyProcess,
    Node,
    SocketAddress,
    StaticAddresses,
    Tls,
    Token,
    argv,
    find_envoy,
    render,
    root_secret,
    token_secret,
)
from tests.runtime.secure_plane import SecurePlane, pod, secure_plane
from tests.support.until import until
from xds.transport import cut

pytestmark = pytest.mark.envoy

_numbers = itertools.count(1)


class Mounted:
    """Files as Kubernetes mounts them: replaced by the rename of a link."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._versions = itertools.count(1)
        folder.mkdir()

    def put(self, **files: str) -> None:
        version = self.folder / f"..{next(self._versions)}"
        version.mkdir()
        for name, content in files.items():
            (version / name).write_text(content)
            link = self.folder / name
            if not link.is_symlink():
                link.symlink_to(f"..data/{name}")
        staged = self.folder / "..staged"
        staged.symlink_to(version.name)
        staged.replace(self.folder / "..data")


@asynccontextmanager
async def envoy(host: str, control_plane: ControlPlane, folder: Path) -> AsyncIterator[EnvoyProcess]:
    addresses = StaticAddresses.on(host)
    node = Node(
        ProxyId.parse(f"sidecar~{host}~web-1.shop~shop.svc.cluster.local"),
        service_account="web",
        interception_mode="NONE",
    )
    async with EnvoyProcess(
        lambda config: argv(find_envoy(), config, concurrency=1, reject_unknown_fields=True),
        render(Bootstrap(node, control_plane, addresses)),
        folder / f"envoy-{host}",
        addresses.admin,
    ) as process:
        yield process


@asynccontextmanager
async def meshed(folder: Path) -> AsyncIterator[tuple[SecurePlane, str]]:
    process = os.getpid()
    host = f"127.{64 + (process >> 8) % 128}.{process & 255}.{next(_numbers)}"
    served = folder / "mesh"
    served.mkdir()
    async with secure_plane(served, pod("web-1", "web", host)) as mesh:
        yield mesh, host


@pytest.mark.parametrize("way", ["credential_injector", "google_grpc"])
async def test_the_next_stream_brings_the_newer_token(tmp_path: Path, way: str) -> None:
    async with meshed(tmp_path) as (mesh, host):
        secrets = Mounted(tmp_path / "secrets")
        secrets.put(token=mesh.token(seconds=600), root=mesh.root.roots_pem.decode())
        token, tls = Token(f"{secrets.folder}/token"), Tls(f"{secrets.folder}/root")
        if way == "credential_injector":
            token = Token(token.token_file, str(tmp_path / "token.json"))
            tls = Tls(tls.root_file, secret_file=str(tmp_path / "root.json"))
            (tmp_path / "token.json").write_text(json.dumps(token_secret(token)))
            (tmp_path / "root.json").write_text(json.dumps(root_secret(tls)))
        control_plane = ControlPlane(SocketAddress("127.0.0.1", mesh.port), tls, token)
        async with envoy(host, control_plane, tmp_path) as process:
            await process.wait_live()
            assert mesh.counted("dragoman_callers_authenticated_total", by="token") == 1
            (first,) = mesh.plane.sessions
            end_of_first = first.expires_at
            assert end_of_first is not None
            secrets.put(token=mesh.token(seconds=3600), root=mesh.root.roots_pem.decode())

            def newer_came() -> bool:
                """Streams under the first token end, until Envoy has seen that there is another."""
                if any((session.expires_at or 0.0) > end_of_first + 1800 for session in mesh.plane.sessions):
                    return True
                for status in mesh.plane.server.connections():
                    cut(status.address)
                return False

            await until(newer_came)
            await until(lambda: mesh.plane.server.streams == 1)
            (status,) = mesh.plane.server.connections()
            assert status.proxy == "web-1.shop"
            assert mesh.counted("dragoman_callers_refused_total", by="token") == 0


async def test_a_new_root_is_read_from_its_file(tmp_path: Path) -> None:
    async with meshed(tmp_path) as (mesh, host):
        secrets = Mounted(tmp_path / "secrets")

        def put(*roots: Authority) -> None:
            bundle = "".join(root.roots_pem.decode() for root in roots)
            secrets.put(token=mesh.token(), root=bundle)

        old, new = mesh.root, new_root("cluster.local", now=datetime.now(UTC))
        put(old)
        token = Token(f"{secrets.folder}/token", str(tmp_path / "token.json"))
        tls = Tls(f"{secrets.folder}/root", secret_file=str(tmp_path / "root.json"))
        (tmp_path / "token.json").write_text(json.dumps(token_secret(token)))
        (tmp_path / "root.json").write_text(json.dumps(root_secret(tls)))
        control_plane = ControlPlane(SocketAddress("127.0.0.1", mesh.port), tls, token)
        async with envoy(host, control_plane, tmp_path) as process:
            await process.wait_live()
            put(old, new)
            mesh.plane.identities.use(new)
            # Streams of an open connection would not look at the new certificate.
            (status,) = mesh.plane.server.connections()
            assert cut(status.address)
            await until(lambda: mesh.counted("dragoman_callers_authenticated_total", by="token") >= 2)
            # And whoever does not have the new root file is told nothing: it does not even get to its token.
            put(old)
            await until(lambda: mesh.plane.server.streams == 1)
            (status,) = mesh.plane.server.connections()
            assert cut(status.address)
            await until(lambda: mesh.plane.server.refused_connections["handshake"] > 0)

"""A proxy that keeps its own key gets the names of files: no key is made for it."""

import asyncio
import itertools
import json
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import grpc
import pytest
from envoy_data_plane.envoy.extensions.transport_sockets.tls.v3 import Secret
from envoy_data_plane.envoy.service.discovery.v3 import DeltaDiscoveryRequest

from ca.authority import new_root
from dragoman.agent import request
from dragoman.agent.settings import Settings
from dragoman.codec import SECRET, decode, encode
from dragoman.mesh.key_folder import KEY_FOLDER
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
)
from tests.runtime.secure_plane import SERVER_NAME, Answer, pod, secure_plane
from tests.support.until import until

_numbers = itertools.count(1)
FOLDER = "/var/run/keys"
SERVICE = """
apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop}
spec: {clusterIP: 10.96.0.1, selector: {app: web}, ports: [{name: http, port: 8080}]}
---"""


async def received(answer: Answer, count: int) -> list[Any]:
    """The next so many resources, ACKed."""
    found: list[Any] = []
    while len(found) < count:
        response = await answer.response()
        found += response.resources
        await answer.call.write(encode(DeltaDiscoveryRequest(type_url=SECRET, response_nonce=response.nonce)))
    return found


async def test_files_are_named_and_no_key_is_made(tmp_path: Path) -> None:
    async with (
        secure_plane(tmp_path) as mesh,
        mesh.stream(mesh.token(), metadata={KEY_FOLDER: FOLDER + "/"}, names=("default", "ROOTCA")) as answer,
    ):
        resources = await received(answer, 2)
        secrets = {each.name: decode(Secret, each.resource.value) for each in resources}
        own = secrets["default"].tls_certificate  # type: ignore[attr-defined]
        assert own.private_key.filename == f"{FOLDER}/key.pem"
        assert own.certificate_chain.filename == f"{FOLDER}/cert-chain.pem"
        assert own.watched_directory.path == FOLDER
        trusted = secrets["ROOTCA"].validation_context.trusted_ca.inline_bytes  # type: ignore[attr-defined]
        assert trusted == mesh.root.roots_pem
        assert b"PRIVATE KEY" not in b"".join(each.resource.value for each in resources)
        assert mesh.plane.identities.identities() == ()
        assert mesh.counted("dragoman_ca_certificates_delivered_total") == 0
        # Trust still comes from the control plane, so that a root can be replaced in steps.
        mesh.plane.identities.also_trust(new_root("cluster.local", now=datetime.now(UTC)).roots)
        (changed,) = await received(answer, 1)
        assert changed.name == "ROOTCA"
    await until(lambda: not mesh.plane.identities._kept)


async def test_a_pod_of_the_same_identity_without_the_wish_gets_its_key_as_ever(tmp_path: Path) -> None:
    async with (
        secure_plane(tmp_path) as mesh,
        mesh.stream(mesh.token(), metadata={KEY_FOLDER: FOLDER}) as one,
        mesh.stream(mesh.token()) as other,
    ):
        assert b"PRIVATE KEY" not in (await one.response()).resources[0].resource.value
        assert b"PRIVATE KEY" in (await other.response()).resources[0].resource.value


@pytest.mark.parametrize("folder", ["relative", "", "/with\nlines", "/" + "x" * 5000])
async def test_what_is_no_folder_is_refused_rather_than_answered_with_a_key(tmp_path: Path, folder: str) -> None:
    async with secure_plane(tmp_path) as mesh, mesh.stream(mesh.token(), metadata={KEY_FOLDER: folder}) as answer:
        code, details = await answer.end()
        assert code is grpc.StatusCode.INVALID_ARGUMENT
        assert KEY_FOLDER in details


@pytest.mark.envoy
async def test_an_envoy_that_came_before_its_files_takes_them_when_they_come(tmp_path: Path) -> None:
    process_id = os.getpid()
    host = f"127.{64 + (process_id >> 8) % 128}.{process_id & 255}.{200 + next(_numbers)}"
    served, folder = tmp_path / "mesh", tmp_path / "keys"
    served.mkdir()
    folder.mkdir()
    listens = (
        pod("web-1", "web", host)
        .replace("labels: {", "labels: {security.istio.io/tlsMode: istio, ")
        .replace(
            "spec: {serviceAccountName: web}",
            "spec: {serviceAccountName: web, containers: [{name: app, ports: [{name: http, containerPort: 8080}]}]}",
        )
        .replace("metadata: {", "metadata: {annotations: {sidecar.istio.io/interceptionMode: NONE}, ")
    )
    listens += SERVICE
    async with secure_plane(served, listens) as mesh:
        for name, content in {"token": mesh.token(), "root": mesh.root.roots_pem.decode()}.items():
            (tmp_path / name).write_text(content)
        addresses = StaticAddresses.on(host)
        node = Node(
            ProxyId.parse(f"sidecar~{host}~web-1.shop~shop.svc.cluster.local"),
            service_account="web",
            interception_mode="NONE",
            key_folder=str(folder),
        )
        control_plane = ControlPlane(
            SocketAddress("127.0.0.1", mesh.port), Tls(str(tmp_path / "root")), Token(str(tmp_path / "token"))
        )

        def rejected() -> bool:
            return any(kind.last_error for stream in mesh.plane.server.connections() for kind in stream.types)

        async with EnvoyProcess(
            lambda config: argv(find_envoy(), config, concurrency=1, reject_unknown_fields=True),
            render(Bootstrap(node, control_plane, addresses)),
            tmp_path / "envoy",
            addresses.admin,
        ) as envoy:
            await until(rejected)
            assert json.loads(await envoy.admin.get("/certs"))["certificates"] == []
            told = Settings(
                f"127.0.0.1:{mesh.port}",
                SERVER_NAME,
                str(tmp_path / "root"),
                str(tmp_path / "token"),
                str(folder),
            )
            await asyncio.to_thread(request.obtain, told)
            async with asyncio.timeout(60):
                while not json.loads(await envoy.admin.get("/certs"))["certificates"]:  # noqa: ASYNC110 - Envoy's own
                    await asyncio.sleep(0.05)

"""Ports of pods, through a real API server."""

import asyncio
from pathlib import Path

import pytest

from dragoman.kube.cluster import Cluster
from dragoman.kube.errors import ApiError
from dragoman.kube.port_forward import forwarded
from dragoman.kube.resource import ApiResource
from dragoman.kube.resources import SELF_SUBJECT_ACCESS_REVIEWS
from tests.support.api_server import ApiServer
from tests.support.stream_kubelet import stream_kubelet

pytestmark = pytest.mark.real_api


async def test_bytes_of_several_connections_go_there_and_back(cluster: Cluster, namespace: str, tmp_path: Path) -> None:
    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write((await reader.readline()).upper())
        await writer.drain()
        while data := await reader.read(1 << 16):
            writer.write(data)
        writer.close()

    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    async with server, stream_kubelet(cluster, tmp_path, f"node-{namespace}") as kubelet:
        await kubelet.pod(namespace, "p", ports={8080: server.sockets[0].getsockname()[1]})
        async with forwarded(cluster, namespace, "p", 8080) as forward:
            assert await asyncio.gather(*(_talk(forward.port, 300_000) for _ in range(3))) == [300_000] * 3
    assert kubelet.connections == 4  # one to see whether it may


async def _talk(port: int, size: int) -> int:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"hello\n" + b"x" * size)
    assert await reader.readline() == b"HELLO\n"
    received = len(await reader.readexactly(size))
    writer.close()
    await writer.wait_closed()
    return received


async def test_a_port_where_nobody_listens_ends_the_connection_and_says_so(
    cluster: Cluster, namespace: str, tmp_path: Path
) -> None:
    async with stream_kubelet(cluster, tmp_path, f"node-{namespace}") as kubelet:
        await kubelet.pod(namespace, "p")
        async with forwarded(cluster, namespace, "p", 15014) as forward:
            reader, writer = await asyncio.open_connection("127.0.0.1", forward.port)
            assert await reader.read() == b""
            writer.close()
            await writer.wait_closed()
            assert forward.problem is not None
            assert "15014" in str(forward.problem)
            assert "connection refused" in str(forward.problem)


async def test_the_api_servers_refusal_comes_before_anything_listens(
    api_server: ApiServer, cluster: Cluster, namespace: str, tmp_path: Path
) -> None:
    async with stream_kubelet(cluster, tmp_path, f"node-{namespace}") as kubelet:
        await kubelet.pod(namespace, "p")
        async with await Cluster.connect(api_server.user("nobody")) as nobody:
            with pytest.raises(ApiError) as refused:
                async with forwarded(nobody, namespace, "p", 80):
                    pass
    assert refused.value.forbidden
    with pytest.raises(ApiError) as unknown:
        async with forwarded(cluster, namespace, "other", 80):
            pass
    assert unknown.value.not_found


@pytest.mark.parametrize(("verbs", "enough"), [(["get"], False), (["get", "create"], True)])
async def test_the_rights_that_the_documentation_names(
    api_server: ApiServer, cluster: Cluster, namespace: str, tmp_path: Path, verbs: list[str], enough: bool
) -> None:
    user = f"user-{namespace}"
    rights = ApiResource("rbac.authorization.k8s.io", "v1", "roles", "Role")
    bindings = ApiResource("rbac.authorization.k8s.io", "v1", "rolebindings", "RoleBinding")
    metadata = {"name": "forward", "namespace": namespace}
    rules = [{"apiGroups": [""], "resources": ["pods/portforward"], "verbs": verbs}]
    group = rights.group
    await cluster.create(
        rights, {"apiVersion": rights.api_version, "kind": "Role", "metadata": metadata, "rules": rules}
    )
    await cluster.create(
        bindings,
        {
            "apiVersion": bindings.api_version,
            "kind": "RoleBinding",
            "metadata": metadata,
            "roleRef": {"apiGroup": group, "kind": "Role", "name": "forward"},
            "subjects": [{"apiGroup": group, "kind": "User", "name": user}],
        },
    )
    async with (
        stream_kubelet(cluster, tmp_path, f"node-{namespace}") as kubelet,
        await Cluster.connect(api_server.user(user)) as limited,
    ):
        await kubelet.pod(namespace, "p")

        await _has(limited, namespace, verbs)
        if enough:
            async with forwarded(limited, namespace, "p", 80):
                pass
        else:
            with pytest.raises(ApiError) as refused:
                async with forwarded(limited, namespace, "p", 80):
                    pass
            assert refused.value.forbidden


async def _has(user: Cluster, namespace: str, verbs: list[str]) -> None:
    """Wait until the API server knows of a user's rights, which takes a moment."""
    place = {"namespace": namespace, "resource": "pods", "subresource": "portforward"}
    async with asyncio.timeout(60):
        for verb in verbs:
            review = {"spec": {"resourceAttributes": place | {"verb": verb}}}
            while not (await user.create(SELF_SUBJECT_ACCESS_REVIEWS, review))["status"]["allowed"]:  # noqa: ASYNC110
                await asyncio.sleep(0.05)

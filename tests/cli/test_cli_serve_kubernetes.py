"""`dragoman serve --kubernetes` against a real API server."""

import asyncio
import base64
import json
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import grpc
import pytest
from envoy_data_plane.envoy.config.core.v3 import Node
from envoy_data_plane.envoy.service.discovery.v3 import DeltaDiscoveryRequest, DeltaDiscoveryResponse

from ca.authority_files import parse
from dragoman.codec import SECRET, decode, encode
from dragoman.kube import Cluster
from dragoman.kube.resources import PODS, SECRETS, SERVICE_ACCOUNTS, SERVICES
from tests.cli.cli_runs import Serving, run, serving
from tests.debug.debug_proxy import proxy_at
from tests.support.api_server import ApiServer

pytestmark = pytest.mark.real_api

_ADS = "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources"


@asynccontextmanager
async def serving_cluster(api_server: ApiServer, namespace: str, tmp_path: Path, *more: str) -> AsyncIterator[Serving]:
    """With everything of its own in a namespace."""
    options = ("--kubernetes", "--kubeconfig", api_server.kubeconfig, "--namespace", namespace)
    addresses = ("--webhook-address", "127.0.0.1:0")
    async with serving(*options, *addresses, *more, state=tmp_path) as running:
        yield running
    assert not any("Traceback" in line for line in running.told + running.logged)
    assert not any("PRIVATE KEY" in line for line in running.told + running.logged)


async def pod(cluster: Cluster, namespace: str, name: str, address: str) -> dict[str, Any]:
    container = {"name": "app", "image": "none"}
    made = await cluster.create(PODS, {"metadata": {"name": name}, "spec": {"containers": [container]}}, namespace)
    status = {"status": {"podIP": address, "podIPs": [{"ip": address}], "phase": "Running"}}
    await cluster.patch(PODS, name, status, namespace, subresource="status")
    return made


async def token(cluster: Cluster, bound: dict[str, Any]) -> str:
    meta = bound["metadata"]
    reference = {"apiVersion": "v1", "kind": "Pod", "name": meta["name"], "uid": meta["uid"]}
    request = {
        "apiVersion": "authentication.k8s.io/v1",
        "kind": "TokenRequest",
        "spec": {"audiences": ["istio-ca"], "boundObjectRef": reference},
    }
    path = SERVICE_ACCOUNTS.path(meta["namespace"], "default", "token")
    return str(json.loads(await cluster.request("POST", path, body=request))["status"]["token"])


def node(name: str, namespace: str, address: str) -> str:
    return f"sidecar~{address}~{name}.{namespace}~{namespace}.svc.cluster.local"


async def key(port: int, roots: bytes, bearer: str, node_id: str) -> bytes:
    """The SDS secret that a proxy with a token gets. Raises `grpc.aio.AioRpcError`."""
    options = [("grpc.use_local_subchannel_pool", 1), ("grpc.ssl_target_name_override", "localhost")]
    credentials = grpc.ssl_channel_credentials(roots)
    async with asyncio.timeout(60), grpc.aio.secure_channel(f"127.0.0.1:{port}", credentials, options) as channel:
        call = channel.stream_stream(_ADS)(metadata=(("authorization", f"Bearer {bearer}"),))
        asked = DeltaDiscoveryRequest(node=Node(id=node_id), type_url=SECRET, resource_names_subscribe=["default"])
        await call.write(encode(asked))
        answer = await call.read()
        if answer is grpc.aio.EOF:
            raise AssertionError(f"ended with {await call.code()}: {await call.details()}")
        (secret,) = decode(DeltaDiscoveryResponse, answer).resources
        value: bytes = secret.resource.value
        return value


async def files_in(cluster: Cluster, namespace: str) -> dict[str, bytes]:
    secret = await cluster.get(SECRETS, "istio-ca-secret", namespace)
    return {name: base64.b64decode(value) for name, value in secret["data"].items()}


async def roots_in(cluster: Cluster, namespace: str) -> bytes:
    return (await files_in(cluster, namespace))["root-cert.pem"]


async def test_pods_of_the_cluster_are_served_by_their_tokens(
    api_server: ApiServer, cluster: Cluster, namespace: str, tmp_path: Path
) -> None:
    web, other = await pod(cluster, namespace, "web", "10.9.0.1"), await pod(cluster, namespace, "other", "10.9.0.2")
    async with serving_cluster(api_server, namespace, tmp_path) as running:
        port = await running.secure_port()
        roots = await roots_in(cluster, namespace)
        mine = await token(cluster, web)
        assert b"PRIVATE KEY" in await key(port, roots, mine, node("web", namespace, "10.9.0.1"))
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await key(port, roots, mine, node("other", namespace, "10.9.0.2"))
        assert refused.value.code() is grpc.StatusCode.PERMISSION_DENIED
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await key(port, roots, mine[:-6] + "AAAAAA", node("web", namespace, "10.9.0.1"))
        assert refused.value.code() is grpc.StatusCode.UNAUTHENTICATED
        assert b"PRIVATE KEY" in await key(
            port, roots, await token(cluster, other), node("other", namespace, "10.9.0.2")
        )
        assert await running.end() == 0


async def test_what_happens_in_the_cluster_reaches_proxies_and_metrics(
    api_server: ApiServer, cluster: Cluster, namespace: str, tmp_path: Path
) -> None:
    await pod(cluster, namespace, "web", "10.9.0.1")
    async with serving_cluster(api_server, namespace, tmp_path) as running:
        plain = await running.xds_port()
        async with proxy_at(plain, node("web", namespace, "10.9.0.1")) as proxy:
            ports = [{"name": "http", "port": 80}]
            await cluster.create(SERVICES, {"metadata": {"name": "new"}, "spec": {"ports": ports}}, namespace)
            wanted = f"outbound|80||new.{namespace}.svc.cluster.local"
            async with asyncio.timeout(60):
                while not any(wanted in held for held in proxy.held.values()):  # noqa: ASYNC110 - another process's
                    await asyncio.sleep(0.02)
        url = f"http://127.0.0.1:{await running.http_port()}/metrics"
        async with aiohttp.ClientSession() as session, session.get(url) as response:
            metrics = await response.text()
        assert 'dragoman_kubernetes_objects{resource="namespaces"}' in metrics
        assert 'dragoman_kubernetes_lists_total{resource="pods"} 1.0' in metrics
        assert 'dragoman_kubernetes_denied{resource="pods"} 0.0' in metrics
        assert await running.end() == 0


async def test_it_is_who_the_service_of_its_namespace_says(
    api_server: ApiServer, cluster: Cluster, namespace: str, tmp_path: Path
) -> None:
    async with serving_cluster(api_server, namespace, tmp_path, "--revision", "blue") as running:
        port = await running.secure_port()
        trusted = ssl.create_default_context(cadata=(await roots_in(cluster, namespace)).decode())

        def shake_hands() -> None:
            with (
                socket.create_connection(("127.0.0.1", port)) as plain,
                trusted.wrap_socket(plain, server_hostname=f"istiod-blue.{namespace}.svc"),
            ):
                pass

        await asyncio.to_thread(shake_hands)
        assert await running.end() == 0


async def test_it_waits_for_an_api_server_that_is_not_there_yet(
    api_server: ApiServer, namespace: str, tmp_path: Path
) -> None:
    await api_server.stop_server()
    async with AsyncExitStack() as stack:
        stack.push_async_callback(api_server.start_server)
        async with serving_cluster(api_server, namespace, tmp_path) as running:
            await running.hear("waiting for the API server")
            # To stop, none is needed.
            assert await running.end() == 0
        async with serving_cluster(api_server, namespace, tmp_path) as running:
            await running.hear("waiting for the API server")
            await stack.aclose()
            await running.hear("serving proxies")
            assert await running.end() == 0


async def test_no_configuration_of_a_cluster_is_an_error_that_says_where_it_was_looked_for(tmp_path: Path) -> None:
    config = tmp_path / "config"
    config.write_text("apiVersion: v1\nkind: Config\nclusters: []\n")
    async with serving("--kubernetes", "--kubeconfig", config, state=tmp_path) as running:
        await running.hear(r"no cluster: .*")
        assert await running.ended() == 1


async def test_replicas_rotate_their_ca_together(
    api_server: ApiServer, cluster: Cluster, namespace: str, tmp_path: Path
) -> None:
    def ca(*arguments: str) -> dict[str, Any]:
        where = ("--kubeconfig", api_server.kubeconfig, "-i", namespace, "-o", "json")
        result = run("ca", *arguments, *where)
        assert result.exit_code == 0, result.output
        found: dict[str, Any] = json.loads(result.stdout)
        return found

    fast = ("--certificate-lifetime", "2s", "--ca-overlap", "1s")
    async with (
        serving_cluster(api_server, namespace, tmp_path / "a", *fast) as one,
        serving_cluster(api_server, namespace, tmp_path / "b", *fast) as other,
    ):
        for running in (one, other):
            await running.hear("serving proxies", 150)
        before = await asyncio.to_thread(ca, "status")
        assert before["phase"] == "steady"
        after = await asyncio.to_thread(ca, "rotate", "--wait")
        assert after["phase"] == "steady"
        assert len(after["controlPlanes"]) == 2
        assert [root["role"] for root in after["roots"]] == ["signs"]
        assert after["roots"] != before["roots"]
        assert (
            parse(await files_in(cluster, namespace), "Secret").not_after.isoformat() == after["roots"][0]["notAfter"]
        )
        for running in (one, other):
            assert await running.end() == 0

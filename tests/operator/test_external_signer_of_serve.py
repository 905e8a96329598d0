"""`dragoman serve --kubernetes --external-signer` with the chart's rights: proxies get certificates from the signer."""

from __future__ import annotations

import asyncio
import secrets
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest
from cryptography import x509
from envoy_data_plane.envoy.config.core.v3 import Node
from envoy_data_plane.envoy.service.discovery.v3 import DeltaDiscoveryRequest, DeltaDiscoveryResponse

from ca.authority import new_root, pem
from dragoman.charts import Chart, Release
from dragoman.cli.callers import root_file
from dragoman.codec import SECRET, decode, encode
from dragoman.kube import Cluster
from dragoman.kube.resource import ApiResource
from dragoman.kube.resources import PODS, SECRETS
from tests.cli.cli_runs import Serving, serving
from tests.operator.request_signer import a_signer
from tests.support.api_server import ApiServer
from tests.support.custom_resources import install_once
from tests.support.until import until

pytestmark = pytest.mark.real_api

CHARTS = Path(__file__).parents[2] / "deploy" / "charts"
NO_CHECK_TIME = 0x200000
"""X509_V_FLAG_NO_CHECK_TIME, which Python has no name for."""
DELTA = "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources"
RBAC = {
    kind: ApiResource("rbac.authorization.k8s.io", "v1", f"{kind.lower()}s", kind, namespaced="Cluster" not in kind)
    for kind in ("ClusterRole", "ClusterRoleBinding", "Role", "RoleBinding")
}


@asynccontextmanager
async def rights(cluster: Cluster, namespace: str, signer: str) -> AsyncIterator[str]:
    """The chart's, of a control plane with this signer; yields the name of its account."""
    values = {"revision": f"r{secrets.token_hex(3)}", "pilot": {"externalSigner": signer}}
    rendered = [each.document for each in Chart(CHARTS / "control-plane").render(values, Release("rel", namespace))]
    made = [each for each in rendered if each["kind"] in RBAC]
    (account,) = (each["metadata"]["name"] for each in rendered if each["kind"] == "ServiceAccount")
    for document in made:
        await cluster.create(RBAC[document["kind"]], document)
    try:
        yield f"system:serviceaccount:{namespace}:{account}"
    finally:
        for document in made:
            await cluster.delete(RBAC[document["kind"]], document["metadata"]["name"], namespace)


@asynccontextmanager
async def secrets_of(running: Serving, name: str, namespace: str) -> AsyncIterator[Any]:
    """The next key and chain of a pod's proxy, whenever it is called: PEM."""
    node = f"sidecar~10.1.0.1~{name}.{namespace}~{namespace}.svc.cluster.local"
    async with grpc.aio.insecure_channel(f"127.0.0.1:{await running.xds_port()}") as channel:
        call = channel.stream_stream(DELTA)()
        await call.write(
            encode(DeltaDiscoveryRequest(node=Node(id=node), type_url=SECRET, resource_names_subscribe=["default"]))
        )

        async def following() -> tuple[bytes, bytes]:
            async with asyncio.timeout(60):
                response = decode(DeltaDiscoveryResponse, await call.read())
            await call.write(encode(DeltaDiscoveryRequest(type_url=SECRET, response_nonce=response.nonce)))
            tls = decode(SECRET, response.resources[0].resource.value).tls_certificate
            return tls.private_key.inline_bytes, tls.certificate_chain.inline_bytes

        try:
            yield following
        finally:
            call.cancel()


async def a_pod(cluster: Cluster, namespace: str, name: str) -> None:
    spec = {"containers": [{"name": "app", "image": "app"}], "nodeName": "none"}
    metadata = {"name": name, "namespace": namespace}
    await cluster.create(PODS, {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec})
    address = {"status": {"phase": "Running", "podIP": "10.1.0.1", "podIPs": [{"ip": "10.1.0.1"}]}}
    await cluster.patch(PODS, name, address, namespace, subresource="status")


async def lasting(following: Callable[[], Awaitable[tuple[bytes, bytes]]]) -> tuple[bytes, bytes]:
    """The first that follows and is not over in seconds: there may have been more of those meanwhile."""
    while True:
        found = await following()
        if x509.load_pem_x509_certificate(found[1]).not_valid_after_utc > datetime.now(UTC) + timedelta(minutes=5):
            return found


async def handshake(one: tuple[bytes, bytes], other: tuple[bytes, bytes], roots: bytes, folder: Path) -> None:
    """Mutual TLS between two that verify each other, if not in time; raises ssl.SSLError."""
    contexts = []
    for number, (key, chain) in enumerate((one, other)):
        (file := folder / f"{number}.pem").write_bytes(chain + key)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER if number else ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_REQUIRED
        context.verify_flags |= NO_CHECK_TIME
        context.load_verify_locations(cadata=roots.decode())
        context.load_cert_chain(file)
        contexts.append(context)

    async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"hello")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(greet, "127.0.0.1", 0, ssl=contexts[1])
    async with server:
        port = server.sockets[0].getsockname()[1]
        reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=contexts[0])
        assert await reader.read() == b"hello"
        writer.close()
        await writer.wait_closed()


async def openssl_verifies(chain: bytes, roots: bytes, folder: Path, *more: str) -> None:
    leaf, *others = x509.load_pem_x509_certificates(chain)
    for name, content in (("leaf", pem([leaf])), ("others", pem(others)), ("roots", roots)):
        (folder / f"{name}.pem").write_bytes(content)
    for purpose in ("sslclient", "sslserver"):
        line = ("openssl", "verify", "-purpose", purpose, "-CAfile", "roots.pem", "-untrusted", "others.pem", *more)
        process = await asyncio.create_subprocess_exec(*line, "leaf.pem", cwd=folder, stdout=asyncio.subprocess.PIPE)
        await process.communicate()
        assert process.returncode == 0


async def test_proxies_get_certificates_that_verify_each_other_and_are_renewed_after_an_outage(
    cluster: Cluster, namespace: str, api_server: ApiServer, tmp_path: Path
) -> None:
    await install_once(cluster)
    for name in ("web-1", "web-2"):
        await a_pod(cluster, namespace, name)
    async with a_signer(cluster) as signer, rights(cluster, namespace, signer.name) as account:
        roots = signer.root.roots_pem
        (file := tmp_path / "signer-roots.pem").write_bytes(roots)
        # Half of it is left when it is due.
        signer.life = timedelta(seconds=6)
        kubeconfig = api_server.user(account, ["system:serviceaccounts", "system:authenticated"])
        arguments = ("--kubernetes", "--kubeconfig", kubeconfig, "--namespace", namespace)
        arguments = (*arguments, "--external-signer", signer.name, "--signer-roots", file)
        async with serving(*arguments, "--webhook-address", "none", state=tmp_path) as running:
            async with secrets_of(running, "web-1", namespace) as one, secrets_of(running, "web-2", namespace) as two:
                first, second = await asyncio.gather(one(), two())
                # Of seconds, which may have passed.
                await openssl_verifies(first[1], roots, tmp_path, "-no_check_time")
                await handshake(first, second, roots, tmp_path)
                signer.answering.clear()
                asked = len(signer.seen)
                await until(lambda: len(signer.seen) > asked)
                signer.life = None
                signer.answering.set()
                renewed = await lasting(one)
                assert renewed != first
                await lasting(two)
                await openssl_verifies(renewed[1], roots, tmp_path)
                leaf = x509.load_pem_x509_certificate(renewed[1])
                names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
                assert [name.value for name in names] == [f"spiffe://cluster.local/ns/{namespace}/sa/default"]
            assert await running.end() == 0
        assert not await signer.left()
        own = await cluster.get(SECRETS, "istio-ca-secret", namespace)
        assert own["data"], "the control plane's own certificate is of its own CA"


async def test_a_signer_that_denies_is_told_to_the_proxy_and_its_roots_are_followed(
    cluster: Cluster, namespace: str, api_server: ApiServer, tmp_path: Path
) -> None:
    await install_once(cluster)
    await a_pod(cluster, namespace, "web-1")
    async with a_signer(cluster) as signer:
        signer.refuses = "Failed"
        (file := tmp_path / "signer-roots.pem").write_bytes(signer.root.roots_pem)
        arguments = ("--kubernetes", "--kubeconfig", api_server.kubeconfig, "--namespace", namespace)
        arguments = (*arguments, "--external-signer", signer.name, "--signer-roots", file)
        async with (
            serving(*arguments, "--webhook-address", "none", state=tmp_path) as running,
            secrets_of(running, "web-1", namespace) as following,
        ):
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await following()
            assert refused.value.code() is grpc.StatusCode.UNAVAILABLE
            assert "no certificate for this proxy: the request to signer" in (refused.value.details() or "")
            assert "Policy: not on a Sunday" in (refused.value.details() or "")
            file.write_bytes(signer.root.roots_pem + (further := new_root("further", now=datetime.now(UTC))).roots_pem)
            await until(lambda: further.roots_pem in root_file(tmp_path / "dragoman").read_bytes())

"""A control plane with a TLS port, and callers of every kind."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import grpc
from cryptography.hazmat.primitives.asymmetric import ec
from envoy_data_plane.envoy.config.core.v3 import Node
from envoy_data_plane.envoy.service.discovery.v3 import DeltaDiscoveryRequest, DeltaDiscoveryResponse

from ca.authority import Authority, key_pem, new_root, pem
from ca.caller import PodBinding
from ca.identity import SpiffeId
from dragoman.callers.client_certificate import ClientCertificate
from dragoman.callers.json_web_token import JsonWebToken
from dragoman.callers.token_issuer import ISSUER, TokenIssuer
from dragoman.codec import SECRET, decode, encode, struct
from dragoman.runtime import ControlPlane
from dragoman.runtime.external_signing import ExternalSigning
from dragoman.runtime.serving_certificate import ServingCertificate
from dragoman.sources.files import FileSource
from xds import Limits, TlsLimits

SERVER_NAME = "istiod.istio-system.svc"
DELTA = "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources"


def pod(name: str, account: str, address: str, namespace: str = "shop", uid: str = "") -> str:
    return f"""
apiVersion: v1
kind: Pod
metadata: {{name: {name}, namespace: {namespace}, uid: "{uid}", labels: {{app: {account}}}}}
spec: {{serviceAccountName: {account}}}
status: {{podIP: {address}}}
---"""


MESH = pod("web-1", "web", "10.1.0.1", uid="u-1") + pod("cart-1", "cart", "10.1.0.2")
AGENTS = """
apiVersion: v1
kind: Pod
metadata: {name: ztunnel-1, namespace: istio-system, uid: u-z}
spec: {serviceAccountName: ztunnel, nodeName: node-1}
---
apiVersion: v1
kind: Pod
metadata: {name: near, namespace: shop}
spec: {serviceAccountName: near, nodeName: node-1}
---
apiVersion: v1
kind: Pod
metadata: {name: far, namespace: shop}
spec: {serviceAccountName: far, nodeName: node-2}
"""
"""An agent of a node, a pod on its node and one on another."""


def node_id(name: str = "web-1", address: str = "10.1.0.1", namespace: str = "shop") -> str:
    return f"sidecar~{address}~{name}.{namespace}~{namespace}.svc.cluster.local"


class Answer:
    """How a stream was answered: what it got, or the status that ended it."""

    def __init__(self, call: Any) -> None:
        self.call = call

    async def response(self) -> Any:
        """The next response; raises grpc.aio.AioRpcError or asserts on the end of the stream."""
        async with asyncio.timeout(60):
            data = await self.call.read()
        assert isinstance(data, bytes), "the stream has ended"
        return decode(DeltaDiscoveryResponse, data)

    async def accept(self, response: Any) -> None:
        """ACK a response, without which the next one does not come."""
        request = DeltaDiscoveryRequest(type_url=response.type_url, response_nonce=response.nonce)
        await self.call.write(encode(request))

    async def end(self) -> tuple[grpc.StatusCode, str]:
        """Read until the stream ends."""
        async with asyncio.timeout(60):
            try:
                while isinstance(await self.call.read(), bytes):
                    pass
            except grpc.aio.AioRpcError as error:
                return error.code(), error.details() or ""
            return await self.call.code(), await self.call.details()


class SecurePlane:
    """`folder` may be written to; `port` speaks TLS."""

    def __init__(
        self,
        folder: Path,
        limits: Limits,
        signing: ExternalSigning | None = None,
        node_accounts: frozenset[tuple[str, str]] = frozenset(),
    ) -> None:
        self.folder = folder
        self.root: Authority = new_root("cluster.local", now=datetime.now(UTC))
        self.tokens = TokenIssuer(ec.generate_private_key(ec.SECP256R1()))
        keys = self.tokens.keys()
        self.plane = ControlPlane(
            FileSource(folder),
            self.root,
            limits=limits,
            signing=signing,
            trusted_node_accounts=node_accounts,
            authenticators=lambda trust: [
                ClientCertificate(trust.all),
                JsonWebToken(ISSUER, ("istio-ca",), keys, trust.own, name="token"),
            ],
        )
        self.certificate = ServingCertificate(lambda: self.plane.authority, lambda: self.plane.identities.roots)
        self.port = 0
        self.last_serial = 0
        """Of the last client certificate."""

    def token(
        self,
        name: str = "web-1",
        account: str = "web",
        namespace: str = "shop",
        *,
        uid: str = "",
        audience: str = "istio-ca",
        seconds: float = 3600,
    ) -> str:
        binding = PodBinding(namespace, name, uid)
        lifetime = timedelta(seconds=seconds)
        return self.tokens.issue(binding, account, audience=audience, now=datetime.now(UTC), lifetime=lifetime)

    def credentials(
        self, *ids: SpiffeId, by: Authority | None = None, seconds: float = 3600
    ) -> grpc.ChannelCredentials:
        """TLS with a client certificate for these ids, or without any."""
        roots = self.plane.authority.roots_pem
        if not ids:
            return grpc.ssl_channel_credentials(roots)
        key = ec.generate_private_key(ec.SECP256R1())
        issued = (by or self.plane.authority).sign(
            key.public_key(), spiffe_ids=ids, now=datetime.now(UTC), lifetime=timedelta(seconds=seconds)
        )
        self.last_serial = issued.serial_number
        return grpc.ssl_channel_credentials(roots, key_pem(key), pem([issued]))

    def context(self) -> ssl.SSLContext:
        """For TLS without gRPC."""
        context = ssl.create_default_context(cadata=self.plane.authority.roots_pem.decode())
        context.set_alpn_protocols(["h2"])
        return context

    @asynccontextmanager
    async def stream(
        self,
        token: str | None = None,
        node: str | None = None,
        *,
        credentials: grpc.ChannelCredentials | None = None,
        metadata: dict[str, str] | None = None,
        type_url: str = SECRET,
        names: tuple[str, ...] = ("default",),
    ) -> AsyncIterator[Answer]:
        """Ask for secrets, with a token or a certificate."""
        headers = () if token is None else (("authorization", f"Bearer {token}"),)
        async with grpc.aio.secure_channel(
            f"127.0.0.1:{self.port}",
            credentials or self.credentials(),
            options=[("grpc.use_local_subchannel_pool", 1), ("grpc.ssl_target_name_override", SERVER_NAME)],
        ) as channel:
            call = channel.stream_stream(DELTA)(metadata=headers)
            first = DeltaDiscoveryRequest(
                node=Node(id=node or node_id(), metadata=struct(metadata or {})),
                type_url=type_url,
                resource_names_subscribe=list(names),
            )
            # It may have been refused already: `Answer` tells.
            with suppress(grpc.aio.AioRpcError, asyncio.InvalidStateError):
                await call.write(encode(first))
            try:
                yield Answer(call)
            finally:
                call.cancel()

    def counted(self, name: str, **labels: str) -> float:
        return self.plane.registry.get_sample_value(name, labels) or 0.0


@asynccontextmanager
async def secure_plane(
    folder: Path,
    text: str = MESH,
    *,
    signing: ExternalSigning | None = None,
    node_accounts: frozenset[tuple[str, str]] = frozenset(),
    **strangers: Any,
) -> AsyncIterator[SecurePlane]:
    """A control plane that serves a folder with this text in it, over TLS."""
    (folder / "mesh.yaml").write_text(text)
    running = SecurePlane(folder, Limits(strangers=TlsLimits(**strangers)), signing, node_accounts)
    await running.plane.load()
    running.port = await running.plane.server.listen_securely("127.0.0.1", 0, running.certificate.context)
    await running.plane.start()
    task = asyncio.create_task(running.plane.run())
    try:
        yield running
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await running.plane.server.stop(0)

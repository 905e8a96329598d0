"""Streams over TLS: who is let in, as whom, and for how long."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import grpc
import pytest

from ca.authority import new_root
from ca.identity import SpiffeId
from tests.runtime.secure_plane import DELTA, MESH, SecurePlane, node_id, pod, secure_plane
from tests.support.revocations import revocations
from tests.support.until import until

WEB = SpiffeId("cluster.local", "shop", "web")
DENIED = grpc.StatusCode.PERMISSION_DENIED
UNKNOWN = grpc.StatusCode.UNAUTHENTICATED


@pytest.fixture
async def mesh(tmp_path: Path) -> AsyncIterator[SecurePlane]:
    async with secure_plane(tmp_path) as running:
        yield running


async def test_a_token_of_the_pod_gets_its_key(mesh: SecurePlane) -> None:
    async with mesh.stream(mesh.token(uid="u-1")) as stream:
        (secret,) = (await stream.response()).resources
        assert secret.name == "default"
        assert b"PRIVATE KEY" in secret.resource.value
    assert mesh.counted("dragoman_callers_authenticated_total", by="token") == 1


async def test_so_does_a_client_certificate_of_its_account(mesh: SecurePlane) -> None:
    async with mesh.stream(credentials=mesh.credentials(WEB)) as stream:
        (secret,) = (await stream.response()).resources
        assert b"PRIVATE KEY" in secret.resource.value


@pytest.mark.parametrize(
    ("node", "metadata", "why"),
    [
        (node_id("cart-1", "10.1.0.2"), {}, "token of pod web-1.shop"),
        (node_id("web-1", namespace="bank"), {}, "namespace 'bank'"),
        (node_id(), {"NAMESPACE": "bank"}, "namespace 'bank'"),
        (node_id(), {"SERVICE_ACCOUNT": "cart"}, "service account 'cart'"),
    ],
)
async def test_forged_nodes_are_refused_and_others_go_on(
    mesh: SecurePlane, node: str, metadata: dict[str, str], why: str
) -> None:
    async with mesh.stream(mesh.token()) as good:
        await good.response()
        async with mesh.stream(mesh.token(), node, metadata=metadata) as forged:
            code, details = await forged.end()
        assert code is DENIED
        assert why in details
        assert "give the proxy" in details
        async with mesh.stream(mesh.token()) as another:
            await another.response()
        assert mesh.plane.server.streams >= 1


async def test_an_account_is_not_another_pods(mesh: SecurePlane) -> None:
    """A certificate names no pod, so the pod that the node id names must run as its account."""
    async with mesh.stream(node=node_id("cart-1", "10.1.0.2"), credentials=mesh.credentials(WEB)) as forged:
        code, details = await forged.end()
    assert code is DENIED
    assert "runs as service account 'cart'" in details


async def test_a_token_of_an_earlier_pod_of_the_name(mesh: SecurePlane) -> None:
    async with mesh.stream(mesh.token(uid="u-0")) as stream:
        code, details = await stream.end()
    assert code is DENIED
    assert "earlier pod" in details


async def test_a_token_that_names_another_account_than_the_pod_has(mesh: SecurePlane) -> None:
    async with mesh.stream(mesh.token(account="cart")) as stream:
        assert (await stream.end())[0] is DENIED


@pytest.mark.parametrize(
    ("token", "why"),
    [
        (lambda mesh: None, "no credentials"),
        (lambda mesh: mesh.token(audience="vault"), "another audience"),
        (lambda mesh: mesh.token(seconds=-60), "expired"),
        (lambda mesh: "x.y.z", "no JSON Web Token"),
        (lambda mesh: "x" * 20_000, "larger than"),
        (lambda mesh: mesh.token()[:-8] + "AAAAAAAA", "no key of the issuer"),
    ],
)
async def test_callers_that_prove_nothing(mesh: SecurePlane, token, why: str) -> None:
    async with mesh.stream(token(mesh)) as stream:
        code, details = await stream.end()
    # gRPC itself refuses headers beyond its own limit.
    assert code is UNKNOWN or (why == "larger than" and code is grpc.StatusCode.RESOURCE_EXHAUSTED)
    assert why in details or code is not UNKNOWN
    assert mesh.plane.sessions.__len__() == 0


@pytest.mark.parametrize("kind", ["another root", "another root, of an alias", "another trust domain"])
async def test_certificates_of_others(mesh: SecurePlane, kind: str) -> None:
    if kind.startswith("another root"):
        stranger = new_root("cluster.local", now=datetime.now(UTC))
        if "alias" in kind:
            mesh.plane.identities.also_trust((), {"old.example": stranger.roots}, ("cluster.local", "old.example"))
        credentials = mesh.credentials(WEB, by=stranger)
    else:
        credentials = mesh.credentials(SpiffeId("evil.example", "shop", "web"))
    async with mesh.stream(credentials=credentials) as stream:
        code, details = await stream.end()
    if kind.startswith("another root"):
        assert code is grpc.StatusCode.UNAVAILABLE  # the handshake fails
        await until(lambda: mesh.plane.server.refused_connections["certificate"] > 0)
    else:
        assert code is UNKNOWN
        assert "not this mesh's" in details


async def test_a_stream_ends_when_its_token_does(mesh: SecurePlane) -> None:
    """With OK, so that the client comes again with the newer one. The leeway is that of clocks."""
    for seconds in (-27, -20, 0):  # of 30 s of leeway: a busy machine may need more than 3 of them to begin
        async with mesh.stream(mesh.token(seconds=seconds)) as stream:
            try:
                await stream.response()
            except grpc.aio.AioRpcError:
                continue
            assert await stream.end() == (grpc.StatusCode.OK, "")
            return
    pytest.fail("no stream began while its token was good")


async def test_a_stream_ends_when_its_pod_goes(mesh: SecurePlane) -> None:
    async with (
        mesh.stream(mesh.token(uid="u-1")) as stream,
        mesh.stream(mesh.token("cart-1", "cart"), node_id("cart-1", "10.1.0.2")) as other,
    ):
        await stream.response()
        await other.response()
        (mesh.folder / "mesh.yaml").write_text(pod("cart-1", "cart", "10.1.0.2"))
        code, details = await stream.end()
        assert code is grpc.StatusCode.NOT_FOUND
        assert "no pod shop/web-1" in details
        await until(lambda: mesh.plane.server.streams == 1)
    async with mesh.stream(mesh.token(uid="u-1")) as again:
        assert (await again.end())[0] is grpc.StatusCode.NOT_FOUND


async def test_a_stream_ends_when_another_pod_gets_the_name(mesh: SecurePlane) -> None:
    async with mesh.stream(mesh.token(uid="u-1")) as stream:
        await stream.response()
        (mesh.folder / "mesh.yaml").write_text(MESH.replace("u-1", "u-2"))
        assert (await stream.end())[0] is DENIED


async def test_certificates_on_request_are_for_known_callers(mesh: SecurePlane) -> None:
    """The certificate service is behind the same door."""
    async with grpc.aio.secure_channel(
        f"127.0.0.1:{mesh.port}",
        mesh.credentials(),
        options=[("grpc.ssl_target_name_override", "istiod.istio-system.svc")],
    ) as channel:
        create = channel.unary_unary("/istio.v1.auth.IstioCertificateService/CreateCertificate")
        with pytest.raises(grpc.aio.AioRpcError) as refusal:
            await create(b"")
        assert refusal.value.code() is UNKNOWN
        with pytest.raises(grpc.aio.AioRpcError) as malformed:
            await create(b"", metadata=(("authorization", f"Bearer {mesh.token()}"),))
        assert malformed.value.code() is not UNKNOWN


async def test_many_streams_at_once_are_all_served(mesh: SecurePlane) -> None:
    async def one() -> None:
        async with mesh.stream(mesh.token()) as stream:
            assert (await stream.response()).resources

    await asyncio.gather(*(one() for _ in range(50)))


async def test_the_socket_behind_tls_is_no_way_around_it(mesh: SecurePlane) -> None:
    """Another process of this user may open it, and is nobody there."""
    inside = mesh.plane.server._secure.socket
    async with grpc.aio.insecure_channel(f"unix:{inside}") as channel:
        call = channel.stream_stream(DELTA)()
        assert await call.code() is UNKNOWN
    assert len(mesh.plane.sessions) == 0


async def test_a_revoked_certificate_is_nobody_from_the_next_call_on(mesh: SecurePlane) -> None:
    credentials = mesh.credentials(WEB)
    async with mesh.stream(credentials=credentials) as stream:
        await stream.response()
    for serial in (1, mesh.last_serial):
        mesh.plane.identities.revoke([revocations(mesh.plane.authority, serial)])
        async with mesh.stream(credentials=credentials) as stream:
            if serial == 1:
                await stream.response()
            else:
                code, details = await stream.end()
                assert (code, details) == (UNKNOWN, "the client certificate is revoked")

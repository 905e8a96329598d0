"""The CA's state followed by a control plane with a proxy: its ACK is what a new root waits for."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from envoy_data_plane.envoy.service.discovery.v3 import DeltaDiscoveryRequest
from envoy_data_plane.google.rpc import Status
from structlog.testing import capture_logs

from ca.authority import Authority, new_root
from ca.keeper import Keeper
from ca.plugged_in import Given
from ca.rotation import Phase, Rotation
from ca.store import FileStore, StoreError, update
from dragoman.codec import SECRET, decode, encode
from dragoman.runtime import root_rotation
from dragoman.runtime.root_rotation import RootRotation
from tests.runtime.secure_plane import Answer, SecurePlane, secure_plane

WAITING = "proxy web-1.shop of control plane one"


class Following:
    """A control plane that follows `store`."""

    def __init__(self, mesh: SecurePlane, store: FileStore) -> None:
        self.mesh = mesh
        self.store = store
        self.keeper = Keeper(store, "one", overlap=timedelta())
        plane = mesh.plane
        self.rotation = RootRotation(self.keeper, plane.identities, plane.sessions, plane.server.progress)

    async def change(self, change: Callable[[Rotation | None], Rotation]) -> Rotation:
        return (await update(self.store, change))[0]

    async def until(self, condition: Callable[[Rotation], bool]) -> None:
        async with asyncio.timeout(60):
            while not condition(self.keeper.state):  # noqa: ASYNC110 - the state tells nobody
                await asyncio.sleep(0.01)

    def waits_for(self, state: Rotation) -> tuple[str, ...]:
        return state.waits_for(datetime.now(UTC))


@pytest.fixture
async def following(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Following]:
    monkeypatch.setattr(root_rotation, "_POLL_SECONDS", 0.02)
    async with secure_plane(tmp_path) as mesh:
        following = Following(mesh, FileStore(tmp_path / "state" / "authority.json"))
        await following.keeper.open(lambda: mesh.root, datetime.now(UTC))
        task = asyncio.create_task(following.rotation.run())
        yield following
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert (await following.change(lambda state: state)).reports == {}, "nobody is to wait for one that has stopped"


@asynccontextmanager
async def proxy(mesh: SecurePlane) -> AsyncIterator[Answer]:
    """One that has accepted the bundle there is."""
    async with mesh.stream(mesh.token(), names=("ROOTCA",)) as stream:
        await answer(stream, (await stream.response()).nonce)
        yield stream


async def answer(stream: Answer, nonce: str, error: str = "") -> None:
    detail = Status(code=3, message=error) if error else None
    await stream.call.write(encode(DeltaDiscoveryRequest(type_url=SECRET, response_nonce=nonce, error_detail=detail)))


def bundle(response: object) -> list[x509.Certificate]:
    (resource,) = response.resources  # type: ignore[attr-defined]
    secret = decode(SECRET, resource.resource.value)
    return x509.load_pem_x509_certificates(secret.validation_context.trusted_ca.inline_bytes)


async def test_a_new_root_signs_when_the_proxy_has_confirmed_the_bundle(following: Following) -> None:
    mesh = following.mesh
    new = new_root("cluster.local", now=datetime.now(UTC))
    async with proxy(mesh) as stream:
        await following.change(lambda state: state.begin(new, datetime.now(UTC)))
        response = await stream.response()
        assert bundle(response) == [mesh.root.certificate, new.certificate]
        await following.until(lambda state: following.waits_for(state) == (WAITING,))
        assert mesh.plane.authority.certificate == mesh.root.certificate
        await answer(stream, response.nonce)
        await following.until(lambda state: state.phase is Phase.retiring)
        assert mesh.plane.authority.certificate == new.certificate


async def test_a_proxy_that_rejects_the_bundle_keeps_the_new_root_from_signing(following: Following) -> None:
    mesh = following.mesh
    new = new_root("cluster.local", now=datetime.now(UTC))
    async with proxy(mesh) as stream:
        await following.change(lambda state: state.begin(new, datetime.now(UTC)))
        await answer(stream, (await stream.response()).nonce, error="Failed to load trusted CA certificates")
        await following.until(lambda state: following.waits_for(state) == (WAITING,))
        for _ in range(5):
            await asyncio.sleep(0.05)
            assert mesh.plane.authority.certificate == mesh.root.certificate
        await following.change(lambda state: state.hurry())
        await following.until(lambda state: state.phase is Phase.retiring)


async def test_while_the_state_cannot_be_read_what_was_known_is_in_force_and_told_once(following: Following) -> None:
    document, _ = await following.store.read()
    assert document is not None
    damaged = following.store.path.with_name("damaged")
    with capture_logs() as logs:
        async with asyncio.timeout(60):
            while not any(entry["log_level"] == "error" for entry in logs):
                # Again and again: the control plane may just be writing what it read before.
                damaged.write_bytes(b"{}")
                damaged.chmod(0o600)
                damaged.rename(following.store.path)
                await asyncio.sleep(0.01)
        await asyncio.sleep(0.2)
    told = [entry for entry in logs if entry["log_level"] == "error"]
    assert [entry["event"] for entry in told] == ["state of the CA not followed, what was known last is in force"]
    assert following.mesh.plane.authority.certificate == following.mesh.root.certificate
    following.store.path.write_bytes(document)


class GivenOnce:
    """A CA of the operator's own, told of as those in folders and Secrets are: once."""

    def __init__(self, authority: Authority) -> None:
        self.given: Given | None = Given(authority)

    def changed(self) -> Given | None:
        given, self.given = self.given, None
        return given


async def test_what_was_given_while_the_state_could_not_be_written_is_not_forgotten(
    following: Following, monkeypatch: pytest.MonkeyPatch
) -> None:
    refused = asyncio.Event()
    offer = following.keeper.offer

    async def away(authority: Authority, now: datetime) -> None:
        refused.set()
        raise StoreError("away")

    monkeypatch.setattr(following.keeper, "offer", away)
    new = new_root("given", now=datetime.now(UTC))
    following.rotation._plugged_in = GivenOnce(new)
    async with asyncio.timeout(60):
        await refused.wait()
    monkeypatch.setattr(following.keeper, "offer", offer)
    await following.until(lambda state: new.certificate in state.roots)

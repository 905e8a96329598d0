"""The CA in Secrets of a real API server."""

import asyncio
import base64
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from ca import rotation_document
from ca.authority import Authority, key_pem, new_root, pem
from ca.authority_files import RootStoreError, files_of, parse
from ca.keeper import Keeper
from ca.plugged_in import Given
from ca.rotation import Rotation
from ca.store import ConflictError, StoreError
from dragoman.cli.ca_state import open_ca_of_cluster
from dragoman.kube import Cluster
from dragoman.kube.resources import SECRETS
from dragoman.operator.ca_secret import CA_SECRET, DOCUMENT, PluggedInSecret, SecretStore
from tests.support.api_server import ApiServer

pytestmark = pytest.mark.real_api
NOW = datetime.now(UTC)


def secret(name: str, files: dict[str, bytes], kind: str = "istio.io/ca-root") -> dict[str, Any]:
    data = {key: base64.b64encode(value).decode() for key, value in files.items()}
    return {"apiVersion": "v1", "kind": "Secret", "type": kind, "metadata": {"name": name}, "data": data}


async def files(cluster: Cluster, namespace: str, name: str = CA_SECRET) -> dict[str, bytes]:
    data = (await cluster.get(SECRETS, name, namespace))["data"]
    return {key: base64.b64decode(value) for key, value in data.items()}


def document(authority: Any) -> bytes:
    return rotation_document.dump(Rotation(authority, since=NOW))


async def test_of_replicas_that_start_at_once_one_makes_the_root(cluster: Cluster, namespace: str) -> None:
    opened = await asyncio.gather(*(open_ca_of_cluster(cluster, namespace, None, f"r{i}") for i in range(4)))
    assert len({each.keeper.authority.certificate for each in opened}) == 1
    kept = await files(cluster, namespace)
    assert parse(kept, "Secret").certificate == opened[0].keeper.authority.certificate


async def test_the_root_of_an_istio_that_was_there_is_taken_over(cluster: Cluster, namespace: str) -> None:
    theirs = new_root("cluster.local", now=NOW)
    made = secret(CA_SECRET, {**files_of(theirs), "other": b"kept"})
    made["metadata"]["labels"] = {"kept": "too"}
    await cluster.create(SECRETS, made, namespace)
    opened = await open_ca_of_cluster(cluster, namespace, None, "r")
    assert opened.keeper.authority.certificate == theirs.certificate
    kept = await files(cluster, namespace)
    assert kept["other"] == b"kept"
    assert rotation_document.load(kept[DOCUMENT]).active.certificate == theirs.certificate
    assert (await cluster.get(SECRETS, CA_SECRET, namespace))["metadata"]["labels"] == {"kept": "too"}
    # And by the next replica, which finds the state.
    again = await open_ca_of_cluster(cluster, namespace, None, "s")
    assert again.keeper.authority.certificate == theirs.certificate


def as_istio_makes_it(root: Authority, first: Authority | None = None) -> dict[str, bytes]:
    """A self-signed root in a Secret (Istio: security/pkg/pki/ca, BuildSecret), and after a rotation of the `first`."""
    empty = {"cert-chain.pem": b"", "key.pem": b""}
    certificate, key = pem([root.certificate]), key_pem(root.key)
    return empty | {"ca-cert.pem": certificate, "ca-key.pem": key, "root-cert.pem": pem((first or root).roots)}


@pytest.mark.parametrize("name", [CA_SECRET, "cacerts"])
async def test_what_istio_leaves_empty_or_stale_is_no_hindrance(cluster: Cluster, namespace: str, name: str) -> None:
    first = new_root("cluster.local", now=NOW)
    rotated = new_root("cluster.local", now=NOW + timedelta(minutes=1), key=first.key)
    made = as_istio_makes_it(rotated, first) | ({"istio-generated": b""} if name == "cacerts" else {})
    await cluster.create(SECRETS, secret(name, made), namespace)
    authority = (await open_ca_of_cluster(cluster, namespace, None, "r")).keeper.authority
    assert (authority.certificate, authority.roots) == (rotated.certificate, (rotated.certificate,))


async def test_an_istio_that_rotates_beside_us_is_followed(cluster: Cluster, namespace: str) -> None:
    first = new_root("cluster.local", now=NOW)
    await cluster.create(SECRETS, secret(CA_SECRET, as_istio_makes_it(first)), namespace)
    opened = await open_ca_of_cluster(cluster, namespace, None, "r", overlap=timedelta(minutes=4))
    keeper, store = opened.keeper, opened.plugged_in
    assert store is not None

    async def turn(at: timedelta = timedelta()) -> Given | None:
        await keeper.turn(lambda authority: None, lambda bundle, now: (), NOW + at)
        return store.changed()

    assert await turn() is None
    rotated = new_root("cluster.local", now=NOW + timedelta(minutes=1), key=first.key)
    data = {"ca-cert.pem": pem([rotated.certificate]), "ca-key.pem": key_pem(rotated.key)}
    await cluster.patch(SECRETS, CA_SECRET, {"data": secret("", data)["data"]}, namespace)
    given = await turn()
    assert given is not None
    assert given.authority.certificate == rotated.certificate
    assert await turn() is not None, "it is told until it is in the state"
    await keeper.offer(given.authority, NOW)
    assert await turn() is None
    await keeper.offer(new_root("ours", now=NOW), NOW)
    assert await turn() == given, "Istio signs with it"
    await keeper.offer(given.authority, NOW)
    # It is trusted before it signs; meanwhile Istio, which signs with it, is not set back.
    assert keeper.authority.certificate == first.certificate
    assert rotated.certificate in keeper.authority.roots
    assert (await files(cluster, namespace))["ca-cert.pem"] == data["ca-cert.pem"]
    assert await turn(timedelta(minutes=5)) is None
    assert keeper.authority.certificate == rotated.certificate
    kept = await files(cluster, namespace)
    assert (kept["ca-cert.pem"], kept["root-cert.pem"]) == (data["ca-cert.pem"], data["ca-cert.pem"])
    # What is no CA is told once, and our next write replaces it.
    await cluster.patch(SECRETS, CA_SECRET, {"data": {"ca-cert.pem": "eA=="}}, namespace)
    with pytest.raises(RootStoreError, match=r"ca-cert\.pem holds no PEM"):
        await turn(timedelta(minutes=5))
    assert await turn(timedelta(minutes=7)) is None
    assert (await files(cluster, namespace))["ca-cert.pem"] == data["ca-cert.pem"]


async def test_who_writes_second_has_to_read_again(cluster: Cluster, namespace: str) -> None:
    one, other = SecretStore(cluster, namespace), SecretStore(cluster, namespace)
    first = document(new_root("cluster.local", now=NOW))
    assert await one.read() == (None, "")
    assert await other.read() == (None, "")
    version = await one.replace(first, "")
    with pytest.raises(ConflictError):
        await other.replace(document(new_root("cluster.local", now=NOW)), "")
    assert await other.read() == (first, version)
    second = document(new_root("cluster.local", now=NOW))
    assert await other.replace(second, version) != version
    with pytest.raises(ConflictError):
        await one.replace(first, version)
    assert (await one.read())[0] == second


async def test_a_rotation_shows_in_istios_keys_too(cluster: Cluster, namespace: str) -> None:
    opened = await open_ca_of_cluster(cluster, namespace, None, "r", overlap=timedelta())
    new = new_root("cluster.local", now=NOW)
    await opened.keeper.offer(new, NOW)
    before = parse(await files(cluster, namespace), "Secret")
    assert before.certificate != new.certificate
    assert new.certificate in opened.keeper.state.roots
    await opened.keeper.turn(lambda authority: None, lambda bundle, now: (), NOW + timedelta(minutes=5))
    assert parse(await files(cluster, namespace), "Secret").certificate == new.certificate


async def test_what_cannot_be_read_is_said_without_what_is_in_it(
    api_server: ApiServer, cluster: Cluster, namespace: str
) -> None:
    async with await Cluster.connect(api_server.user("nobody")) as nobody:
        with pytest.raises(StoreError, match=rf"cannot read Secret {namespace}/istio-ca-secret: .*forbidden"):
            await SecretStore(nobody, namespace).read()
    await cluster.create(SECRETS, secret(CA_SECRET, {DOCUMENT: b"rubbish"}), namespace)
    with pytest.raises(ValueError, match="damaged") as caught:
        await Keeper(SecretStore(cluster, namespace), "r").open(lambda: new_root("cluster.local", now=NOW), NOW)
    assert "rubbish" not in str(caught.value)


async def test_a_ca_of_the_operators_own_is_taken_and_followed(cluster: Cluster, namespace: str) -> None:
    first, second = new_root("one", now=NOW), new_root("two", now=NOW)
    given = PluggedInSecret(cluster, namespace)
    assert await given.read() is None
    made = await cluster.create(SECRETS, secret("cacerts", files_of(first), "Opaque"), namespace)
    opened = await open_ca_of_cluster(cluster, namespace, None, "r")
    assert opened.keeper.authority.certificate == first.certificate
    assert opened.keeper.state.plugged_in
    assert isinstance(opened.plugged_in, PluggedInSecret)
    following = asyncio.create_task(opened.plugged_in.run())
    try:
        assert opened.plugged_in.changed() is None
        made["data"] = secret("cacerts", files_of(second))["data"]
        await cluster.replace(SECRETS, made | {"metadata": {"name": "cacerts", "namespace": namespace}})
        assert (await _changed(opened.plugged_in)).authority.certificate == second.certificate
        assert opened.plugged_in.changed() is None
        await cluster.patch(SECRETS, "cacerts", {"data": {"ca-key.pem": "eA=="}}, namespace)
        with pytest.raises(RootStoreError, match="no unencrypted PEM"):
            await _changed(opened.plugged_in)
        assert opened.plugged_in.changed() is None
        await cluster.delete(SECRETS, "cacerts", namespace)
        with pytest.raises(RootStoreError, match="is gone"):
            await _changed(opened.plugged_in)
    finally:
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)


async def _changed(given: PluggedInSecret) -> Any:
    async with asyncio.timeout(60):
        while True:
            if (found := given.changed()) is not None:
                return found
            await asyncio.sleep(0.01)

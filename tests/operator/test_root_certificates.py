"""The mesh's roots in every namespace of a real API server."""

import asyncio
import random
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import pytest

from ca.authority import Authority, new_root
from ca.workload_certificates import WorkloadCertificates
from dragoman.kube import ApiError, Cluster
from dragoman.kube.resources import CONFIG_MAPS, NAMESPACES
from dragoman.operator.root_certificates import REVOCATIONS, ROOTS, RootCertificates
from dragoman.runtime.identities import Identities
from tests.support.api_server import ApiServer
from tests.support.revocations import revocations

pytestmark = pytest.mark.real_api

Found = dict[str, Any] | None


@pytest.fixture(autouse=True)
def _our_own(api_server: ApiServer) -> None:
    """These write into every namespace: nothing for a cluster that belongs to somebody else, which has no such name."""
    assert api_server.server


def _identities() -> Identities:
    return Identities(WorkloadCertificates(_root(), lambda: datetime.now(UTC), random.Random(1)))  # noqa: S311


def _root() -> Authority:
    return new_root("cluster.local", now=datetime.now(UTC))


@asynccontextmanager
async def spreading(cluster: Cluster, identities: Identities, settings: tuple[str, str]) -> AsyncIterator[None]:
    task = asyncio.create_task(RootCertificates(cluster, identities, settings).run())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    assert task.cancelled()


async def _find(cluster: Cluster, namespace: str, name: str = ROOTS[0]) -> Found:
    try:
        return await cluster.get(CONFIG_MAPS, name, namespace)
    except ApiError as error:
        if error.not_found:
            return None
        raise


async def _until(look: Callable[[], Awaitable[Found]], wanted: Callable[[Found], bool]) -> Found:
    async with asyncio.timeout(60):
        while True:
            if wanted(found := await look()):
                return found
            await asyncio.sleep(0.01)


async def _comes(cluster: Cluster, namespace: str, text: str, pair: tuple[str, str] = ROOTS) -> dict[str, Any]:
    """Wait until a namespace's ConfigMap says this."""
    name, key = pair
    found = await _until(
        lambda: _find(cluster, namespace, name), lambda found: found is not None and found["data"].get(key) == text
    )
    assert found is not None
    return found


async def _new_namespace(cluster: Cluster, **labels: str) -> str:
    name = f"test-{secrets.token_hex(4)}"
    document = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}
    await cluster.create(NAMESPACES, document)
    return name


def _text(identities: Identities) -> str:
    return identities.roots_pem.decode()


async def test_namespaces_old_and_new_get_the_roots_and_those_of_the_cluster_do_not(
    cluster: Cluster, namespace: str
) -> None:
    identities = _identities()
    async with spreading(cluster, identities, (namespace, "istio")):
        found = await _comes(cluster, namespace, _text(identities))
        assert found["metadata"]["labels"] == {"istio.io/config": "true"}
        new = await _new_namespace(cluster)
        await _comes(cluster, new, _text(identities))
        await _comes(cluster, "default", _text(identities))
        for excluded in ("kube-system", "kube-public", "kube-node-lease"):
            assert await _find(cluster, excluded) is None
        assert await _find(cluster, namespace, REVOCATIONS[0]) is None
        await cluster.delete(NAMESPACES, new)


async def test_what_is_edited_deleted_or_unlabelled_is_put_back(cluster: Cluster, namespace: str) -> None:
    identities = _identities()
    async with spreading(cluster, identities, (namespace, "istio")):
        await _comes(cluster, namespace, _text(identities))
        patch: Any = {"data": {ROOTS[1]: "forged", "other": "stays"}}
        await cluster.patch(CONFIG_MAPS, ROOTS[0], patch, namespace)
        assert (await _comes(cluster, namespace, _text(identities)))["data"]["other"] == "stays"
        patch = {"metadata": {"labels": None}}
        await cluster.patch(CONFIG_MAPS, ROOTS[0], patch, namespace)
        await _until(
            lambda: _find(cluster, namespace),
            lambda found: found is not None and found["metadata"].get("labels") == {"istio.io/config": "true"},
        )
        uid = (await _comes(cluster, namespace, _text(identities)))["metadata"]["uid"]
        await cluster.delete(CONFIG_MAPS, ROOTS[0], namespace)
        again = await _comes(cluster, namespace, _text(identities))
        assert again["metadata"]["uid"] != uid


async def test_another_bundle_goes_everywhere_and_what_is_right_is_not_written_again(
    cluster: Cluster, namespace: str
) -> None:
    identities = _identities()
    async with spreading(cluster, identities, (namespace, "istio")):
        first = await _comes(cluster, namespace, _text(identities))
        identities.also_trust([_root().certificate])
        second = await _comes(cluster, namespace, _text(identities))
        assert second["data"][ROOTS[1]].count("BEGIN CERTIFICATE") == 2
        assert second["metadata"]["resourceVersion"] != first["metadata"]["resourceVersion"]
    async with spreading(cluster, identities, (namespace, "istio")):
        # The new namespace's turn comes after all that there is has been looked at.
        other = await _new_namespace(cluster)
        await _comes(cluster, other, _text(identities))
        third = await _comes(cluster, namespace, _text(identities))
    assert third["metadata"]["resourceVersion"] == second["metadata"]["resourceVersion"]
    await cluster.delete(NAMESPACES, other)


async def test_revocation_lists_come_and_go(cluster: Cluster, namespace: str) -> None:
    identities = _identities()
    async with spreading(cluster, identities, (namespace, "istio")):
        await _comes(cluster, namespace, _text(identities))
        identities.revoke([revocations(identities.authority)])
        assert "BEGIN X509 CRL" in identities.crl_pem.decode()
        await _comes(cluster, namespace, identities.crl_pem.decode(), REVOCATIONS)
        identities.revoke([])
        await _until(lambda: _find(cluster, namespace, REVOCATIONS[0]), lambda found: found is None)


async def test_only_namespaces_of_the_mesh_get_them_as_its_settings_say(cluster: Cluster, namespace: str) -> None:
    identities = _identities()
    mark = secrets.token_hex(4)
    settings: dict[str, Any] = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "istio", "namespace": namespace},
        "data": {"mesh": f"discoverySelectors: [{{matchLabels: {{mesh: '{mark}'}}}}]"},
    }
    await cluster.create(CONFIG_MAPS, settings)
    async with spreading(cluster, identities, (namespace, "istio")):
        inside = await _new_namespace(cluster, mesh=mark)
        await _comes(cluster, inside, _text(identities))
        assert await _find(cluster, namespace) is None
        # A namespace that comes to be selected, and a setting that selects another.
        await cluster.patch(NAMESPACES, namespace, {"metadata": {"labels": {"mesh": mark}}})
        await _comes(cluster, namespace, _text(identities))
        outside = await _new_namespace(cluster, mesh="other")
        await cluster.patch(CONFIG_MAPS, "istio", {"data": {"mesh": "{}"}}, namespace)
        await _comes(cluster, outside, _text(identities))
    for name in (inside, outside):
        await cluster.delete(NAMESPACES, name)

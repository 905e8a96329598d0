"""The mesh's roots as a ClusterTrustBundle, where an API server has such objects."""

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

from ca.authority import new_root
from dragoman.kube import ApiError, Cluster
from dragoman.kube.resources import CLUSTER_TRUST_BUNDLES
from dragoman.operator.cluster_trust_bundle import NAME, PublishedTrustBundle
from tests.operator.installed_webhooks import new_identities
from tests.support.api_server import LocalApiServer, require_api_server
from tests.support.until import until

pytestmark = pytest.mark.real_api

BETA = ("--feature-gates=ClusterTrustBundle=true", "--runtime-config=certificates.k8s.io/v1beta1=true")


@pytest.fixture(scope="module")
def with_bundles() -> Iterator[LocalApiServer]:
    require_api_server()
    with LocalApiServer.running(arguments=BETA, controllers=False) as server:
        yield server


async def test_it_is_made_put_right_and_follows_the_roots(with_bundles: LocalApiServer) -> None:
    identities = new_identities()
    async with await Cluster.connect(with_bundles.kubeconfig) as cluster:

        async def right() -> bool:
            try:
                found = await cluster.get(CLUSTER_TRUST_BUNDLES, NAME)
            except ApiError as error:
                if not error.not_found:
                    raise
                return False
            assert found["spec"]["signerName"] == "istio.io/istiod-ca"
            return bool(found["spec"]["trustBundle"] == identities.roots_pem.decode())

        task = asyncio.create_task(PublishedTrustBundle(cluster, identities).run())
        await until(right)
        forged: Any = {"spec": {"trustBundle": new_identities().roots_pem.decode()}}
        await cluster.patch(CLUSTER_TRUST_BUNDLES, NAME, forged)
        await until(right)
        await cluster.delete(CLUSTER_TRUST_BUNDLES, NAME)
        await until(right)
        identities.also_trust([new_root("next", now=datetime.now(UTC)).certificate])
        await until(right)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_without_such_objects_there_is_nothing_to_do(cluster: Cluster) -> None:
    async with asyncio.timeout(60):
        await PublishedTrustBundle(cluster, new_identities()).run()

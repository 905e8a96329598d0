"""Our CustomResourceDefinitions on an API server, for tests that need objects of Istio's kinds there."""

import asyncio
from typing import Any

import pytest

from crds.manifests.definition import definitions
from dragoman.kube.cluster import Cluster
from dragoman.kube.errors import ApiError
from dragoman.kube.resource import ApiResource
from dragoman.kube.resources import CUSTOM_RESOURCE_DEFINITIONS

_SECONDS = 120.0


async def install(cluster: Cluster, documents: list[dict[str, Any]] | None = None) -> None:
    """Apply definitions, ours unless others are given, and wait until every version of them is served."""
    documents = definitions() if documents is None else documents
    for document in documents:
        await cluster.apply(CUSTOM_RESOURCE_DEFINITIONS, document, field_manager="tests")
    async with asyncio.timeout(_SECONDS):
        for document in documents:
            for version in document["spec"]["versions"]:
                await _served(cluster, document["spec"], version["name"])


async def _served(cluster: Cluster, spec: dict[str, Any], version: str) -> None:
    resource = ApiResource(spec["group"], version, spec["names"]["plural"], spec["names"]["kind"])
    while True:
        try:
            await cluster.list(resource, "default")
        except ApiError as error:
            if not error.not_found:
                raise
            await asyncio.sleep(0.05)
        else:
            return


_installed: set[str] = set()


async def install_once(cluster: Cluster) -> None:
    """Install ours, unless this process has done so before on that API server."""
    if cluster.server not in _installed:
        await install(cluster)
        _installed.add(cluster.server)


def forget(cluster: Cluster) -> None:
    """Some definition of that API server is no longer ours: whoever needs ours installs them again."""
    _installed.discard(cluster.server)


@pytest.fixture
async def custom_resources(cluster: Cluster) -> None:
    """Istio's kinds are served by the API server of this process; they stay there for the tests that follow."""
    await install_once(cluster)

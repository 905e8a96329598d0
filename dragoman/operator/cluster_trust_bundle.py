"""What workloads trust as one object of the cluster, which pods may mount without a ConfigMap in each namespace:
ClusterTrustBundle (Istio: pilot/pkg/bootstrap, ENABLE_CLUSTER_TRUST_BUNDLE_API), where the API server has such objects.
"""

from __future__ import annotations

import asyncio
from typing import Any, Final

import structlog

from crds.kubernetes.clustertrustbundle import ClusterTrustBundle
from dragoman.kube import ApiError, ApiResource, Cluster
from dragoman.operator.root_certificates import FIELD_MANAGER
from dragoman.operator.watched import Watched
from dragoman.operator.work_queue import WorkQueue
from dragoman.runtime.identities import Identities
from dragoman.sources.kubernetes.reflector import Name
from dragoman.sources.kubernetes.served import served

log = structlog.get_logger(__name__)

SIGNER: Final = "istio.io/istiod-ca"
NAME: Final = "istio.io:istiod-ca:root-cert"

_PAUSE: Final = 10.0
"""Seconds before an API server that did not answer is asked again what it has."""


class PublishedTrustBundle:
    """Keeps the object as `identities` say. For one replica at a time, as the ConfigMaps are."""

    def __init__(self, cluster: Cluster, identities: Identities) -> None:
        self._cluster = cluster
        self._identities = identities

    async def run(self) -> None:
        """Do it until cancelled; ends at once where there are no such objects."""
        resource = await self._served()
        if resource is None:
            return
        queue: WorkQueue[Name] = WorkQueue(lambda name: self._put_right(resource, held.get(name)), workers=1)
        held = Watched(resource, queue.add, name=NAME, read=_text)

        def doubt() -> None:
            queue.add(("", NAME))

        self._identities.on_roots_changed.append(doubt)
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(held.run(self._cluster, doubt))
                tasks.create_task(queue.run())
        finally:
            self._identities.on_roots_changed.remove(doubt)

    async def _served(self) -> ApiResource | None:
        while True:
            try:
                return (await served(self._cluster, [ClusterTrustBundle])).get(ClusterTrustBundle)
            except ApiError as error:
                log.info("no word whether there are ClusterTrustBundles", error=str(error), again_in=_PAUSE)
            await asyncio.sleep(_PAUSE)

    async def _put_right(self, resource: ApiResource, held: str | None) -> None:
        text = self._identities.roots_pem.decode()
        if held == text:
            return
        document = {
            "apiVersion": resource.api_version,
            "kind": resource.kind,
            "metadata": {"name": NAME},
            "spec": {"signerName": SIGNER, "trustBundle": text},
        }
        await self._cluster.apply(resource, document, field_manager=FIELD_MANAGER)
        log.info("trust bundle written", name=NAME)


def _text(document: dict[str, Any]) -> str:
    text: str = document["spec"].get("trustBundle", "")
    return text

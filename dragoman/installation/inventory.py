"""What has been applied for a revision, kept in the cluster: what is no longer rendered can be taken away later."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Final

from dragoman.installation.bundle import MANAGED_BY, MANAGER
from dragoman.installation.objects import RESOURCES, Document, Identity
from dragoman.kube import ApiError, Cluster
from dragoman.kube.resources import CONFIG_MAPS

_LABEL: Final = "dragoman/inventory"
_NAME: Final = "dragoman-inventory"
_KEY: Final = "objects.json"


@dataclass(frozen=True, slots=True)
class Inventory:
    """The objects of a revision in the namespace of its control plane.

    `made_namespace`: installing made that namespace, so that uninstalling may take it away.
    """

    namespace: str
    revision: str
    objects: frozenset[Identity] = frozenset()
    made_namespace: bool = False

    @property
    def name(self) -> str:
        """Of the ConfigMap that it is kept in."""
        return f"{_NAME}-{self.revision}"

    def document(self) -> Document:
        """That ConfigMap."""
        kept = {
            "objects": [list(each) for each in sorted(self.objects)],
            "madeNamespace": self.made_namespace,
        }
        return {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {
                "name": self.name,
                "namespace": self.namespace,
                "labels": {_LABEL: self.revision, MANAGED_BY: MANAGER},
            },
            "data": {_KEY: json.dumps(kept)},
        }

    def with_objects(self, objects: Iterable[Identity]) -> Inventory:
        """The same with other objects."""
        return replace(self, objects=frozenset(objects))


def inventory_of(document: Document) -> Inventory:
    """The inventory in a ConfigMap. Kinds that this version does not know are left alone."""
    metadata = document["metadata"]
    kept = json.loads(document["data"][_KEY])
    objects = frozenset(Identity(*each) for each in kept["objects"] if each[0] in RESOURCES)
    return Inventory(metadata["namespace"], metadata["labels"][_LABEL], objects, kept["madeNamespace"])


async def stored(cluster: Cluster, namespace: str, revision: str) -> Inventory | None:
    """The inventory of a revision, if it was installed by this command."""
    name = Inventory(namespace, revision).name
    try:
        return inventory_of(await cluster.get(CONFIG_MAPS, name, namespace))
    except ApiError as error:
        if error.not_found:
            return None
        raise


async def all_stored(cluster: Cluster, namespace: str | None = None) -> list[Inventory]:
    """The inventories of all revisions, of one namespace or of all."""
    return [inventory_of(each) for each in await cluster.list(CONFIG_MAPS, namespace, label_selector=_LABEL)]

"""Taking a revision away, and with the last one everything but the custom resource definitions and their objects."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterable
from dataclasses import replace
from typing import Final, NamedTuple

from dragoman.installation.bundle import MANAGED_BY, MANAGER
from dragoman.installation.installer import delete
from dragoman.installation.inventory import Inventory
from dragoman.installation.objects import Identity
from dragoman.kube import ApiError, ApiResource, Cluster
from dragoman.kube.resources import (
    CLUSTER_TRUST_BUNDLES,
    CONFIG_MAPS,
    DEPLOYMENTS,
    LEASES,
    NAMESPACES,
    PODS,
    SECRETS,
    SERVICE_ACCOUNTS,
    SERVICES,
)

Tell = Callable[[str], None]

_POLL_SECONDS: Final = 0.5
_STAY: Final = frozenset(("Namespace", "CustomResourceDefinition"))
_ROOTS: Final = ("istio-ca-root-cert", "istio-ca-crl")
_TRUST_BUNDLE: Final = "istio.io:istiod-ca:root-cert"
_OF_KUBERNETES: Final = frozenset(("default", "kube-root-ca.crt", *_ROOTS))
"""What every namespace has without anybody's doing."""


class Made(NamedTuple):
    """What a control plane makes while it runs, in its own namespace: of a kind what has a name that begins so."""

    resource: ApiResource
    prefix: str


MADE_AT_RUN_TIME: Final = (Made(SECRETS, "istio-ca-secret"), Made(LEASES, "dragoman-"))


async def uninstall(
    cluster: Cluster,
    gone: Collection[Inventory],
    staying: Collection[Inventory],
    tell: Tell,
    *,
    wait_seconds: float,
) -> None:
    """Delete what the inventories `gone` have and none of those `staying`. Raises ApiError.

    Webhooks go first, as pods are refused while nobody answers at one. With the last control plane of a namespace goes
    what it made there: its CA's key above all.
    """
    shared = frozenset().union(*(each.objects for each in staying))
    for inventory in gone:
        tell(f"revision {inventory.revision} in {inventory.namespace}")
        wanted = sorted(inventory.objects - shared, key=lambda each: -each.rank)
        await _deleted(cluster, (each for each in wanted if each.kind not in _STAY), tell)
        await _ended(cluster, inventory, tell, wait_seconds)
    others = await _others(cluster)
    for namespace in sorted({each.namespace for each in gone} - {each.namespace for each in staying}):
        if namespace in others:
            tell(f"  Secret {namespace}/istio-ca-secret stays: another control plane there may use it")
        else:
            await _made_at_run_time(cluster, namespace, tell)
    if not staying:
        if others:
            tell(f"  ConfigMaps of trust ({', '.join(_ROOTS)}) stay: another control plane has them too")
        else:
            await _roots(cluster, tell)
    await _labelled(cluster, gone, tell)
    for inventory in gone:
        await delete(cluster, Identity("ConfigMap", inventory.namespace, inventory.name))
        if inventory.made_namespace and inventory.namespace not in {each.namespace for each in staying}:
            await _namespace(cluster, inventory.namespace, tell, wait_seconds)


async def _labelled(cluster: Cluster, gone: Collection[Inventory], tell: Tell) -> None:
    """Tell of namespaces that still ask for sidecars of what is gone."""
    revisions = {each.revision for each in gone}
    for each in await cluster.list(NAMESPACES):
        labels = each["metadata"].get("labels") or {}
        asked = labels.get("istio.io/rev") or ("default" if labels.get("istio-injection") == "enabled" else None)
        if asked in revisions:
            tell(f"  namespace {each['metadata']['name']} still asks for sidecars of revision {asked}")


async def _deleted(cluster: Cluster, objects: Iterable[Identity], tell: Tell) -> None:
    for each in objects:
        if await delete(cluster, each):
            tell(f"  deleted {each}")


async def _ended(cluster: Cluster, inventory: Inventory, tell: Tell, wait_seconds: float) -> None:
    """Wait for the last replica to end: until then it puts back what it keeps."""
    selector = f"app=istiod,istio.io/rev={inventory.revision}"
    deadline = asyncio.get_running_loop().time() + wait_seconds
    told = 0
    while pods := await cluster.list(PODS, inventory.namespace, label_selector=selector):
        if len(pods) != told:
            told = len(pods)
            tell(f"  waiting for {told} pod{'' if told == 1 else 's'} to end")
        if asyncio.get_running_loop().time() > deadline:
            tell("  pods have not ended in time: what they keep may come back")
            return
        await asyncio.sleep(_POLL_SECONDS)


async def _others(cluster: Cluster) -> frozenset[str]:
    """The namespaces of control planes that others have installed."""
    found = await cluster.list(DEPLOYMENTS, label_selector=f"app=istiod,{MANAGED_BY}!={MANAGER}")
    return frozenset(each["metadata"]["namespace"] for each in found)


async def _made_at_run_time(cluster: Cluster, namespace: str, tell: Tell) -> None:
    for resource, prefix in MADE_AT_RUN_TIME:
        for each in await cluster.list(resource, namespace):
            name = each["metadata"]["name"]
            if name.startswith(prefix):
                await cluster.delete(resource, name, namespace)
                tell(f"  deleted {resource.kind} {namespace}/{name}")


async def _roots(cluster: Cluster, tell: Tell) -> None:
    found = 0
    for each in await cluster.list(CONFIG_MAPS, label_selector="istio.io/config=true"):
        metadata = each["metadata"]
        if metadata["name"] in _ROOTS:
            await cluster.delete(CONFIG_MAPS, metadata["name"], metadata["namespace"])
            found += 1
    if found:
        tell(f"  deleted {found} ConfigMaps of trust ({', '.join(_ROOTS)})")
    for version in ("v1", "v1beta1"):
        try:
            await cluster.delete(replace(CLUSTER_TRUST_BUNDLES, version=version), _TRUST_BUNDLE)
        except ApiError as error:
            # Not every cluster has the kind, or this version of it.
            if not error.not_found:
                raise


async def _namespace(cluster: Cluster, name: str, tell: Tell, wait_seconds: float) -> None:
    for resource in (PODS, SERVICES, SERVICE_ACCOUNTS, SECRETS, CONFIG_MAPS):
        others = [
            each["metadata"]["name"]
            for each in await cluster.list(resource, name)
            if each["metadata"]["name"] not in _OF_KUBERNETES and "deletionTimestamp" not in each["metadata"]
        ]
        if others:
            tell(f"  the namespace {name} stays: {resource.kind} {others[0]} and perhaps more are not ours")
            return
    await cluster.delete(NAMESPACES, name)
    deadline = asyncio.get_running_loop().time() + wait_seconds
    while await _is_there(cluster, NAMESPACES, name):
        if asyncio.get_running_loop().time() > deadline:
            tell(f"  Namespace {name} is still being deleted")
            return
        await asyncio.sleep(_POLL_SECONDS)
    tell(f"  deleted Namespace {name}")


async def _is_there(cluster: Cluster, resource: ApiResource, name: str) -> bool:
    try:
        await cluster.get(resource, name)
    except ApiError as error:
        if error.not_found:
            return False
        raise
    return True

"""Which kinds an API server serves, and at which version (Kubernetes: API concepts, discovery)."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from typing import Final

import msgspec

from crds.registry import Kind
from dragoman.kube import ApiError, ApiResource, Cluster


class _Version(msgspec.Struct):
    version: str


class _Group(msgspec.Struct):
    versions: list[_Version]


class _Resource(msgspec.Struct):
    name: str


class _Resources(msgspec.Struct):
    resources: list[_Resource]


_GROUPS: Final = msgspec.json.Decoder(_Group)
_RESOURCES: Final = msgspec.json.Decoder(_Resources)


async def served(cluster: Cluster, kinds: Iterable[Kind]) -> Mapping[Kind, ApiResource]:
    """Where each kind is served, at the newest version that we read; kinds that are not served are left out.

    Raises `ApiError`.
    """
    wanted = tuple(kinds)
    groups = sorted({kind.resource.group for kind in wanted if kind.resource.group})
    try:
        listed = await asyncio.gather(*(_of_group(cluster, group) for group in groups))
    except msgspec.MsgspecError as error:
        raise ApiError(0, "Unreadable", f"{cluster.server} does not say what it serves: {error}") from error
    plurals = {version: names for of_group in listed for version, names in of_group.items()}
    found = {}
    for kind in wanted:
        resource = kind.resource
        for version in resource.versions:
            if not resource.group or resource.plural in plurals.get((resource.group, version), ()):
                found[kind] = ApiResource(
                    resource.group, version, resource.plural, kind.__name__, namespaced=resource.namespaced
                )
                break
    return found


async def _of_group(cluster: Cluster, group: str) -> dict[tuple[str, str], frozenset[str]]:
    """The plurals that are served at each version of a group."""
    body = await _found(cluster, f"/apis/{group}")
    versions = [each.version for each in _GROUPS.decode(body).versions] if body is not None else []
    bodies = await asyncio.gather(*(_found(cluster, f"/apis/{group}/{version}") for version in versions))
    return {
        (group, version): frozenset(each.name for each in _RESOURCES.decode(body).resources)
        for version, body in zip(versions, bodies, strict=True)
        if body is not None
    }


async def _found(cluster: Cluster, path: str) -> bytes | None:
    try:
        return await cluster.request("GET", path)
    except ApiError as error:
        if error.not_found:
            return None
        raise

"""What shells offer for names: those of connected proxies, or of the cluster's pods and services.

Whoever presses the tab key waits for it, and sees no message: where nothing answers soon, nothing is offered.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from typing import TYPE_CHECKING, Any, Final

import typer

from dragoman.cli.debug_client import NoAnswerError, fetch
from dragoman.cli.inspect.where import DEBUG_ADDRESS, Where

if TYPE_CHECKING:
    from dragoman.kube.resource import ApiResource

_SECONDS: Final = 3.0
_METADATA_ONLY: Final = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"


def complete_proxy(ctx: typer.Context, incomplete: str) -> list[str]:
    """Names of proxies as `POD.NAMESPACE`; those in the namespace that was chosen as `POD`."""
    where = _where(ctx)
    if where is None:
        return []
    if where.address is None and where.cluster_is_configured:
        from dragoman.kube.resources import PODS

        names = _of_cluster(where, PODS)
    else:
        try:
            statuses = fetch(where.address or DEBUG_ADDRESS, "/debug/syncz", token=where.token)
        except NoAnswerError:
            return []
        names = [status["proxy"] for status in statuses]
    return [name for name in names if name.startswith(incomplete)]


def complete_service(ctx: typer.Context, incomplete: str) -> list[str]:
    """Names of services as `SERVICE.NAMESPACE`; those in the namespace that was chosen as `SERVICE`."""
    where = _where(ctx)
    if where is None:
        return []
    if where.address is None and where.cluster_is_configured:
        from dragoman.kube.resources import SERVICES

        names = _of_cluster(where, SERVICES)
    else:
        try:
            services = fetch(where.address or DEBUG_ADDRESS, "/debug/registryz", token=where.token)
        except NoAnswerError:
            return []
        names = [f"{each['Attributes']['Name']}.{each['Attributes']['Namespace']}" for each in services]
    return [name for name in names if name.startswith(incomplete)]


def _where(ctx: typer.Context) -> Where | None:
    """What the command line says so far; None if that cannot be."""
    given = {name: value for name, value in ctx.params.items() if name in Where.__slots__ and value is not None}
    try:
        return Where(**given)
    except typer.BadParameter:
        return None


def _of_cluster(where: Where, resource: ApiResource) -> list[str]:
    async def listed() -> list[str]:
        from dragoman.kube.cluster import Cluster

        async with asyncio.timeout(_SECONDS), await Cluster.connect(where.kubeconfig, where.context) as cluster:
            path = resource.path(where.namespace)
            found: dict[str, Any] = json.loads(await cluster.request("GET", path, headers={"Accept": _METADATA_ONLY}))
        metadata = [item["metadata"] for item in found["items"]]
        if where.namespace:
            return sorted(each["name"] for each in metadata)
        return sorted(f"{each['name']}.{each['namespace']}" for each in metadata)

    # Of all that can go wrong nothing is of use to a shell.
    with contextlib.suppress(Exception):
        return asyncio.run(listed())
    return []

"""What shells offer for names: those of connected proxies, or of the cluster's pods and services.

Whoever presses the tab key waits for it, and sees no message: where nothing answers soon, nothing is offered.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Callable
from typing import Any, Final

import typer

from dragoman.cli.debug_client import NoAnswerError, fetch
from dragoman.cli.inspect.where import DEBUG_ADDRESS, Where

_SECONDS: Final = 3.0
_METADATA_ONLY: Final = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"


def complete_proxy(ctx: typer.Context, incomplete: str) -> list[str]:
    """Names of proxies as `POD.NAMESPACE`; of those in the namespace that was chosen as `POD`. Without a
    cluster those of connected proxies, in one those of all pods."""
    return _complete(ctx, incomplete, "pods", "/debug/syncz", lambda status: str(status["proxy"]))


def complete_service(ctx: typer.Context, incomplete: str) -> list[str]:
    """Names of services as `SERVICE.NAMESPACE`; of those in the namespace that was chosen as `SERVICE`."""

    def name(service: Any) -> str:
        return f"{service['Attributes']['Name']}.{service['Attributes']['Namespace']}"

    return _complete(ctx, incomplete, "services", "/debug/registryz", name)


def _complete(ctx: typer.Context, incomplete: str, plural: str, page: str, name: Callable[[Any], str]) -> list[str]:
    where = _where(ctx)
    if where is None:
        return []
    if where.address is None and where.cluster_is_configured:
        names = _of_cluster(where, plural)
    else:
        try:
            names = sorted(map(name, fetch(where.address or DEBUG_ADDRESS, page, token=where.token)))
        except NoAnswerError:
            return []
    return [each for each in names if each.startswith(incomplete)]


def _where(ctx: typer.Context) -> Where | None:
    """What the command line says so far; None if that cannot be."""
    given = {name: value for name, value in ctx.params.items() if name in Where.__slots__ and value is not None}
    try:
        return Where(**given)
    except typer.BadParameter:
        return None


def _of_cluster(where: Where, plural: str) -> list[str]:
    async def listed() -> list[str]:
        from dragoman.kube.cluster import Cluster
        from dragoman.kube.resources import PODS, SERVICES

        resource = {each.plural: each for each in (PODS, SERVICES)}[plural]

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

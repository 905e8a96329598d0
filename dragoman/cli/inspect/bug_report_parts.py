"""What goes into a bug report: each part a path and its content, or why that could not be had, not redacted yet."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from dragoman.cli.addresses import HostPort
from dragoman.cli.debug_client import NoAnswerError, get
from dragoman.cli.inspect.config_sources import ADMIN_PORT
from dragoman.cli.inspect.replicas import Replica, Replicas

if TYPE_CHECKING:
    from dragoman.kube.cluster import Cluster

_WITH_PARAMETERS: Final = frozenset(("/debug/config_dump", "/debug/describe"))
_LISTS: Final = frozenset(("/", "/debug"))

_ADMIN_PAGES: Final = (
    "/config_dump?include_eds",
    "/clusters?format=json",
    "/server_info",
    "/stats",
    "/certs",
    "/listeners?format=json",
)

_LOG_BYTES: Final = 20_000_000
"""Of one container at most."""


class Part(NamedTuple):
    """A file of the archive: a text, or a document. `problem` is why there is none, for people."""

    path: str
    content: Any = ""
    problem: str = ""


async def of_replica(replica: Replica) -> AsyncIterator[Part]:
    """Every page of a replica that takes no parameters."""
    folder = f"control-plane/{replica.name.replace(':', '_')}"
    try:
        pages = [page["path"] for page in await replica.fetch("/debug/list")]
    except NoAnswerError as error:
        yield Part(folder, problem=str(error))
        return
    for path in pages:
        if path in _WITH_PARAMETERS or path in _LISTS:
            continue
        try:
            _, body = await replica.get(path)
        except NoAnswerError as error:
            yield Part(f"{folder}{path}", problem=str(error))
        else:
            yield Part(f"{folder}{path}", body.decode(errors="replace"))


async def of_proxy(found: Replicas, replica: Replica, proxy: str, lines: int) -> AsyncIterator[Part]:
    """What a proxy is served; in a cluster also what its Envoy says, its pod and its logs."""
    folder = f"proxies/{proxy}"
    for path in (f"/debug/config_dump?proxyID={proxy}", f"/debug/describe?pod={proxy}"):
        try:
            _, body = await replica.get(path)
        except NoAnswerError as error:
            yield Part(f"{folder}{path.partition('?')[0]}.json", problem=str(error))
        else:
            yield Part(f"{folder}{path.partition('?')[0]}.json", body.decode(errors="replace"))
    if found.cluster is None:
        return
    name, _, namespace = proxy.rpartition(".")
    async for part in _of_envoy(found.cluster, namespace, name, f"{folder}/envoy"):
        yield part
    async for part in of_pod(found.cluster, namespace, name, folder, lines):
        yield part


async def _of_envoy(cluster: Cluster, namespace: str, pod: str, folder: str) -> AsyncIterator[Part]:
    from dragoman.kube.errors import ApiError
    from dragoman.kube.port_forward import forwarded

    try:
        async with forwarded(cluster, namespace, pod, ADMIN_PORT) as forward:
            address = HostPort("127.0.0.1", forward.port)
            for path in _ADMIN_PAGES:
                file = f"{folder}{path.partition('?')[0]}"
                try:
                    _, body = await asyncio.to_thread(get, address, path)
                except NoAnswerError as error:
                    yield Part(file, problem=str(forward.problem or error))
                else:
                    yield Part(file, body.decode(errors="replace"))
    except ApiError as error:
        yield Part(folder, problem=str(error))


async def of_pod(cluster: Cluster, namespace: str, name: str, folder: str, lines: int) -> AsyncIterator[Part]:
    """A pod, and the logs of its containers: of those that have restarted also the ones before."""
    from dragoman.kube.errors import ApiError
    from dragoman.kube.resources import PODS

    try:
        pod = await cluster.get(PODS, name, namespace)
    except ApiError as error:
        yield Part(f"{folder}/pod.yaml", problem=str(error))
        return
    yield Part(f"{folder}/pod.yaml", _without_managed_fields(pod))
    path = PODS.path(namespace, name, "log")
    spec, status = pod["spec"], pod.get("status", {})
    restarts = {
        each["name"]: each.get("restartCount", 0)
        for each in (*status.get("initContainerStatuses", ()), *status.get("containerStatuses", ()))
    }
    for container in (*spec.get("initContainers", ()), *spec["containers"]):
        query = {"container": container["name"], "tailLines": str(lines), "limitBytes": str(_LOG_BYTES)}
        yield await _text(f"{folder}/{container['name']}.log", cluster.request("GET", path, query=query))
        if restarts.get(container["name"]):
            before = cluster.request("GET", path, query=query | {"previous": "true"})
            yield await _text(f"{folder}/{container['name']}.previous.log", before)


async def of_cluster(cluster: Cluster, namespace: str) -> AsyncIterator[Part]:
    """The cluster around the control plane: versions, its own objects and events, webhooks and CRDs. No Secrets."""
    from dragoman.kube import resources as kinds
    from dragoman.kube.errors import ApiError

    yield await _text("cluster/version.json", cluster.request("GET", "/version"))
    for resource, within in (
        (kinds.NODES, None),
        (kinds.NAMESPACES, None),
        (kinds.MUTATING_WEBHOOK_CONFIGURATIONS, None),
        (kinds.VALIDATING_WEBHOOK_CONFIGURATIONS, None),
        (kinds.DEPLOYMENTS, namespace),
        (kinds.DAEMON_SETS, namespace),
        (kinds.PODS, namespace),
        (kinds.SERVICES, namespace),
        (kinds.CONFIG_MAPS, namespace),
        (kinds.LEASES, namespace),
        (kinds.EVENTS, namespace),
    ):
        file = f"cluster/{resource.plural}.yaml"
        try:
            found = await cluster.list(resource, within)
        except ApiError as error:
            yield Part(file, problem=str(error))
        else:
            yield Part(file, [_without_managed_fields(each) for each in found])
    try:
        definitions = await cluster.list(kinds.CUSTOM_RESOURCE_DEFINITIONS)
    except ApiError as error:
        yield Part("cluster/customresourcedefinitions.yaml", problem=str(error))
    else:
        # Their schemas are the same everywhere, and large.
        yield Part("cluster/customresourcedefinitions.yaml", [_outline(each) for each in definitions])


def _outline(definition: dict[str, Any]) -> dict[str, Any]:
    metadata, spec = definition["metadata"], definition["spec"]
    return {
        "name": metadata["name"],
        "labels": metadata.get("labels", {}),
        "versions": [{"name": each["name"], "served": each["served"]} for each in spec["versions"]],
    }


def _without_managed_fields(document: dict[str, Any]) -> dict[str, Any]:
    metadata = {key: value for key, value in document["metadata"].items() if key != "managedFields"}
    return document | {"metadata": metadata}


async def _text(path: str, answer: Awaitable[bytes]) -> Part:
    from dragoman.kube.errors import ApiError

    try:
        return Part(path, (await answer).decode(errors="replace"))
    except ApiError as error:
        return Part(path, problem=str(error))

"""The replicas of a control plane: where they are, and how their debug pages are reached.

Each knows of its own proxies only, so that who wants to know of all asks all.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from dragoman.cli.addresses import HostPort
from dragoman.cli.debug_client import NoAnswerError, document, get, with_query
from dragoman.cli.inspect.where import DEBUG_ADDRESS, Where
from dragoman.cli.output import fail
from dragoman.cli.problems import tell
from dragoman.cli.progress import progress

if TYPE_CHECKING:
    from dragoman.kube.cluster import Cluster

CONTROL_PLANE_LABELS: Final = "app=istiod"
DEBUG_PORT: Final = 15014


@dataclass(frozen=True, slots=True)
class Replica:
    """One process of a control plane: in a cluster its name is that of its pod."""

    name: str
    get: Callable[[str], Awaitable[tuple[int, bytes]]]
    """Status and body of a path; raises `NoAnswerError`."""

    async def fetch(self, path: str, **query: str) -> Any:
        """The JSON of a page; raises `NoAnswerError`."""
        status, body = await self.get(with_query(path, query))
        return document(f"{self.name}{path}", status, body)


@dataclass(frozen=True, slots=True)
class Answer:
    """What a replica said."""

    replica: Replica
    document: Any


@dataclass(frozen=True, slots=True)
class Replicas:
    """Those that were found, at least one; `cluster` is theirs, None outside of any."""

    all: tuple[Replica, ...]
    cluster: Cluster | None
    namespace: str
    """What commands mean when they name none; "" for any."""

    async def ask(self, path: str, **query: str) -> list[Answer]:
        """What each says at a page. Who does not answer is told of; ends the command (exit code 1) if nobody does."""

        async def of(replica: Replica) -> Answer | NoAnswerError:
            try:
                return Answer(replica, await replica.fetch(path, **query))
            except NoAnswerError as error:
                return error

        with progress(f"asking {', '.join(replica.name for replica in self.all)}"):
            found = await asyncio.gather(*map(of, self.all))
        answers = [each for each in found if isinstance(each, Answer)]
        silent = [str(each) for each in found if isinstance(each, NoAnswerError)]
        if not answers:
            raise fail("; ".join(silent))
        for text in silent:
            tell(f"warning: not all replicas are in what follows: {text}")
        return answers


@contextlib.asynccontextmanager
async def replicas(where: Where) -> AsyncGenerator[Replicas, None]:
    """`reached`, which ends the command (exit code 1) where none is found."""
    async with contextlib.AsyncExitStack() as stack:
        try:
            found = await stack.enter_async_context(reached(where))
        except NoAnswerError as error:
            raise fail(str(error)) from None
        yield found


@contextlib.asynccontextmanager
async def reached(where: Where) -> AsyncGenerator[Replicas, None]:
    """The control plane that the command line means, reachable while in the context.

    Without any word of a cluster or an address it is that of kubectl's cluster; where that has none, it is the one on
    this machine, if there is one. Raises `NoAnswerError` where none is found.
    """
    if where.address is not None or not where.cluster_is_configured:
        yield _outside(where.address or DEBUG_ADDRESS, where)
        return
    async with contextlib.AsyncExitStack() as stack:
        try:
            found = await _of_cluster(where, stack)
        except NoAnswerError as error:
            here = _outside(DEBUG_ADDRESS, where)
            if where.cluster_is_meant or not await _answers(here.all[0]):
                raise NoAnswerError(f"{error}; for a control plane outside the cluster say --http-address") from None
            tell(f"{error}; this is the control plane at {DEBUG_ADDRESS}")
            found = here
        yield found


def _outside(address: HostPort, where: Where) -> Replicas:
    token = where.token

    async def ask(path: str) -> tuple[int, bytes]:
        return await asyncio.to_thread(get, address, path, token=token)

    return Replicas((Replica(str(address), ask),), None, where.namespace or "")


async def _answers(replica: Replica) -> bool:
    try:
        await replica.fetch("/version")
    except NoAnswerError:
        return False
    return True


async def _of_cluster(where: Where, stack: contextlib.AsyncExitStack) -> Replicas:
    # Here, as the import costs half a second, which asking an address need not pay.
    from dragoman.kube.cluster import Cluster
    from dragoman.kube.connection import ConnectionConfigError
    from dragoman.kube.errors import ApiError

    try:
        cluster = await stack.enter_async_context(await Cluster.connect(where.kubeconfig, where.context))
    except ConnectionConfigError as error:
        raise NoAnswerError(f"no cluster: {error}") from None
    try:
        with progress(f"looking for the control plane at {cluster.server}"):
            pods = await control_plane_pods(cluster, where)
            if not pods:
                labels = _selector(where)
                raise NoAnswerError(
                    f"no pod {labels} runs in namespace {where.istio_namespace} of {cluster.server} "
                    "(--istio-namespace, --context)"
                )
            found = await asyncio.gather(*(_reached(cluster, pod, where.token, stack) for pod in pods))
    except ApiError as error:
        raise NoAnswerError(f"the cluster does not answer: {error}") from None
    return Replicas(tuple(found), cluster, where.namespace or cluster.namespace)


async def control_plane_pods(cluster: Cluster, where: Where) -> list[dict[str, Any]]:
    """The pods of the control plane that run, by name. Raises `ApiError`."""
    from dragoman.kube.resources import PODS

    found = await cluster.list(PODS, where.istio_namespace, label_selector=_selector(where))
    return sorted(
        (
            pod
            for pod in found
            if pod.get("status", {}).get("phase") == "Running" and "deletionTimestamp" not in pod["metadata"]
        ),
        key=lambda pod: str(pod["metadata"]["name"]),
    )


def _selector(where: Where) -> str:
    return CONTROL_PLANE_LABELS + (f",istio.io/rev={where.revision}" if where.revision else "")


async def _reached(
    cluster: Cluster, pod: dict[str, Any], token: str | None, stack: contextlib.AsyncExitStack
) -> Replica:
    """A replica by a forwarded port, which its debug pages take for its own machine; where the caller has no right to
    that, by the API server's proxy, which needs the token of the pages."""
    from dragoman.kube.errors import ApiError
    from dragoman.kube.port_forward import forwarded

    name, namespace = pod["metadata"]["name"], pod["metadata"]["namespace"]
    try:
        forward = await stack.enter_async_context(forwarded(cluster, namespace, name, DEBUG_PORT))
    except ApiError as refused:
        return Replica(name, _by_proxy(cluster, namespace, name, token, refused))

    async def ask(path: str) -> tuple[int, bytes]:
        try:
            return await asyncio.to_thread(get, HostPort("127.0.0.1", forward.port), path, token=token)
        except NoAnswerError as error:
            raise NoAnswerError(f"{name}: {forward.problem or error}") from None

    return Replica(name, ask)


def _by_proxy(
    cluster: Cluster, namespace: str, name: str, token: str | None, refused: Exception
) -> Callable[[str], Awaitable[tuple[int, bytes]]]:
    from dragoman.debug.access import TOKEN_HEADER
    from dragoman.kube.errors import ApiError
    from dragoman.kube.resources import PODS

    async def ask(path: str) -> tuple[int, bytes]:
        try:
            proxied = PODS.path(namespace, f"{name}:{DEBUG_PORT}", "proxy") + path
            return 200, await cluster.request("GET", proxied, headers={TOKEN_HEADER: token} if token else {})
        except ApiError as error:
            raise NoAnswerError(
                f"{name}: its port {DEBUG_PORT} cannot be forwarded ({refused}), nor reached by the API server's proxy "
                f"({error}); the right to get and create pods/portforward in {namespace} is what is needed"
            ) from None

    return ask

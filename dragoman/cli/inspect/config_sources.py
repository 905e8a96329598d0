"""Where the configuration of a proxy is read: what a control plane serves, what Envoy itself has, or a file."""

from __future__ import annotations

import asyncio
import contextlib
import enum
import json
import sys
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from dragoman.cli.addresses import HostPort, host_port
from dragoman.cli.debug_client import NoAnswerError, document, get
from dragoman.cli.inspect.completion import complete_proxy
from dragoman.cli.inspect.config_dump import Dump, Resource, resource, resources
from dragoman.cli.inspect.proxies import find, named
from dragoman.cli.inspect.redaction import redacted
from dragoman.cli.inspect.replicas import Replicas, replicas
from dragoman.cli.inspect.where import Where
from dragoman.cli.output import fail
from dragoman.cli.progress import progress

if TYPE_CHECKING:
    from dragoman.kube.cluster import Cluster

ADMIN_PORT: Final = 15000


class Side(enum.StrEnum):
    """Who is asked."""

    control_plane = "control-plane"
    proxy = "proxy"


DumpFile = Annotated[
    Path | None,
    typer.Option("-f", "--file", help="A config dump of Envoy or of the control plane; - for standard input."),
]
AdminAddress = Annotated[
    str | None,
    typer.Option("--admin-address", metavar="HOST:PORT", help="Ask the Envoy whose admin interface this is."),
]
AdminPort = Annotated[
    int, typer.Option("--proxy-admin-port", metavar="PORT", help="Port of Envoy's admin interface in pods.")
]


@dataclass(frozen=True, slots=True)
class Envoy:
    """Where one Envoy's own dump is, by the command line. Each field is an option of the command."""

    file: DumpFile = None
    admin_address: AdminAddress = None
    admin_port: AdminPort = ADMIN_PORT

    def __post_init__(self) -> None:
        """What does not fit together is a usage error."""
        if self.file is not None and self.admin_address is not None:
            raise typer.BadParameter("--file and --admin-address say two things: say either")
        if self.admin_address is not None:
            host_port(self.admin_address)

    @property
    def is_named(self) -> bool:
        """Whether the command line says where, beside the port in pods."""
        return self.file is not None or self.admin_address is not None


@dataclass(frozen=True, slots=True)
class Source:
    """What the command line says of it. Each field is an option, or the argument, of the command."""

    proxy: Annotated[
        str,
        typer.Argument(
            help="POD[.NAMESPACE], its beginning if only one proxy fits, or deployment/NAME.",
            autocompletion=complete_proxy,
        ),
    ] = ""
    side: Annotated[Side, typer.Option("--from", help="Who is asked.")] = Side.control_plane
    file: DumpFile = None
    admin_address: AdminAddress = None
    admin_port: AdminPort = ADMIN_PORT

    def __post_init__(self) -> None:
        """What does not fit together is a usage error."""
        if self.file is None and self.admin_address is None and not self.proxy:
            raise typer.BadParameter("say which proxy: POD[.NAMESPACE], --file or --admin-address")
        if self.file is not None and (self.proxy or self.admin_address is not None):
            raise typer.BadParameter("--file is a dump of one proxy: say no other")
        if self.admin_address is not None:
            host_port(self.admin_address)


@dataclass(frozen=True, slots=True)
class ProxyConfig:
    """The configuration of one proxy. Secrets are blotted out."""

    read_from: str
    """For people."""
    dump: Dump
    hosts: tuple[Any, ...] | None = None
    """What Envoy says of the hosts of each cluster, where it was asked."""

    def resources(self, section: str) -> list[Resource]:
        """The resources of a section, by name; endpoints as Envoy sees them, where it was asked."""
        if section == "endpoints" and self.hosts is not None:
            return [resource(status) for status in sorted(self.hosts, key=lambda each: str(each["name"]))]
        return resources(self.dump, section)


async def read(source: Source, where: Where) -> ProxyConfig:
    """The configuration of the proxy that is meant. Ends the command (exit code 1) where it cannot be had."""
    try:
        if source.file is not None:
            return _of_file(source.file)
        if source.admin_address is not None:
            return await _of_envoy(host_port(source.admin_address), f"Envoy at {source.admin_address}")
        if source.side is Side.control_plane:
            return await _of_control_plane(source.proxy, where)
        async with admin_of(source.proxy, source.admin_port, where) as (name, address):
            return await _of_envoy(address, f"Envoy of {name}")
    except NoAnswerError as error:
        raise fail(str(error)) from None


def _of_file(file: Path) -> ProxyConfig:
    try:
        found = json.loads(sys.stdin.read() if str(file) == "-" else file.read_text())
    except (OSError, ValueError) as error:
        raise fail(f"{file} is no config dump: {error}") from None
    if not isinstance(found, dict) or not isinstance(found.get("configs"), list):
        raise fail(f"{file} is no config dump: it has no `configs`, as Envoy's /config_dump has")
    return ProxyConfig(str(file), redacted(found))


async def _of_control_plane(wanted: str, where: Where) -> ProxyConfig:
    async with replicas(where) as found:
        return await served_to(wanted, found)


async def served_to(wanted: str, found: Replicas) -> ProxyConfig:
    """What a control plane serves the proxy that a name means. Ends the command (exit code 1) where it says nothing."""
    name, replica = await find(found, wanted)
    try:
        dump = await replica.fetch("/debug/config_dump", proxyID=name)
    except NoAnswerError as error:
        raise fail(str(error)) from None
    return ProxyConfig(f"what {replica.name} serves {name}", redacted(dump))


async def _of_envoy(address: HostPort, called: str) -> ProxyConfig:
    with progress(f"asking {called}"):
        dump, clusters = await asyncio.gather(
            _admin_page(address, "/config_dump?include_eds"), _admin_page(address, "/clusters?format=json")
        )
    statuses = clusters.get("cluster_statuses", ())
    hosts = tuple(status for status in statuses if status.get("host_statuses"))
    return ProxyConfig(called, redacted(dump), hosts)


async def _admin_page(address: HostPort, path: str) -> Any:
    return document(f"{address}{path}", *await asyncio.to_thread(get, address, path))


@contextlib.asynccontextmanager
async def admin_of(
    wanted: str, port: int, where: Where, *, local_port: int = 0
) -> AsyncGenerator[tuple[str, HostPort], None]:
    """The name of a pod of the cluster, and where its Envoy's admin interface is reached while in the context.

    Ends the command (exit code 1) where there is no such pod, or no way to it.
    """
    if where.address is not None or not where.cluster_is_configured:
        raise fail("only in a cluster are proxies found by name: say --admin-address HOST:PORT")
    # Here, as the import costs half a second.
    from dragoman.kube.cluster import Cluster
    from dragoman.kube.connection import ConnectionConfigError
    from dragoman.kube.errors import ApiError
    from dragoman.kube.port_forward import forwarded

    try:
        async with await Cluster.connect(where.kubeconfig, where.context) as cluster:
            namespace, pod = await _pod(cluster, wanted, where.namespace or cluster.namespace)
            async with forwarded(cluster, namespace, pod, port, local_port=local_port) as forward:
                yield f"{pod}.{namespace}", HostPort("127.0.0.1", forward.port)
    except (ApiError, ConnectionConfigError) as error:
        raise fail(f"{wanted}: its Envoy is not reached through the cluster: {error}") from None
    except OSError as error:
        raise fail(f"cannot listen on port {local_port} (--port): {error.strerror or error}") from None


async def _pod(cluster: Cluster, wanted: str, namespace: str) -> tuple[str, str]:
    """Namespace and name of the pod that a name means; see `proxies.named`. Raises `ApiError`."""
    from dragoman.kube.resources import PODS

    _, dot, of = wanted.rpartition(".")
    pods = await cluster.list(PODS, namespace)
    if dot and not any(pod["metadata"]["name"] == wanted for pod in pods):
        pods += await cluster.list(PODS, of)
    known = {f"{pod['metadata']['name']}.{pod['metadata']['namespace']}": pod["metadata"] for pod in pods}
    found = known[named(wanted, namespace, known, what="pod")]
    return found["namespace"], found["name"]

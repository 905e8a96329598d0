"""A control plane at work: everything that `serve` was told of, connected, loaded, listening, and stopped in order."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import Coroutine, Iterable
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeVar

from ca.authority import AuthorityError
from dragoman.cli.addresses import HostPort
from dragoman.cli.ca_state import Opened, open_ca, open_ca_of_cluster, replica_name
from dragoman.cli.callers import TrustedCallers, authenticators, ip_address, keep_root_file
from dragoman.cli.file_limit import raise_file_limit
from dragoman.cli.output import fail
from dragoman.cli.problems import summary, tell, tell_reports
from dragoman.cli.rejections import tell_credential, tell_failure, tell_nack, tell_unfetched
from dragoman.cli.sockets import private_socket
from dragoman.debug.server import DebugServer
from dragoman.kube import ApiError, Cluster, ConnectionConfigError, in_a_pod
from dragoman.operator.ca_secret import PluggedInSecret
from dragoman.operator.certificate_requests import CertificateSigningRequests
from dragoman.operator.operator import Operator, OperatorSettings
from dragoman.operator.reviewed_rights import ReviewedRights
from dragoman.runtime import ControlPlane, garbage
from dragoman.runtime.external_signing import ExternalSigning
from dragoman.runtime.key_sets import KeyFetching
from dragoman.runtime.quarantine_store import QuarantineStore
from dragoman.runtime.secret_rights import EverySecret
from dragoman.runtime.serving_certificate import ADDRESSES, DNS_NAMES, ServingCertificate
from dragoman.runtime.signer_files import SignerFiles
from dragoman.sources.files import FileSource
from dragoman.sources.kubernetes import KubernetesSource
from dragoman.sources.kubernetes.metrics import SourceMetrics
from xds import Limits

_API_SERVER_AGAIN: Final = 2.0
"""Seconds between attempts to reach an API server without which nothing can begin."""

_Done = TypeVar("_Done")


class ClusterSettings(NamedTuple):
    """A control plane of a cluster."""

    kubeconfig: Path | None
    context: str | None
    namespace: str
    revision: str
    webhooks: HostPort | None
    signer: str | None
    """Who signs in our place what workloads get."""
    signer_files: SignerFiles

    @property
    def mesh_settings(self) -> tuple[str, str]:
        """Namespace and name of the ConfigMap (Istio: pilot/pkg/bootstrap, getMeshConfigMapName)."""
        return self.namespace, "istio" if self.revision in ("", "default") else f"istio-{self.revision}"


class Settings(NamedTuple):
    """What `serve` was told: a folder of YAML, or a cluster, and how to serve it."""

    config: Path | None
    cluster: ClusterSettings | None
    xds: tuple[HostPort | Path, ...]
    secure: HostPort | None
    server_names: tuple[str, ...]
    callers: TrustedCallers
    http: HostPort
    token: str | None
    state: Path
    ca_dir: Path | None
    certificate_lifetime: timedelta
    ca_overlap: timedelta
    trusted_node_accounts: frozenset[tuple[str, str]]
    limits: Limits
    key_fetching: KeyFetching


async def run(settings: Settings) -> None:
    """Serve until a signal; ends the program with code 1 for what cannot be done."""
    raise_file_limit()
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    async with contextlib.AsyncExitStack() as stack:
        cluster = await _connect(settings.cluster, stack)
        replica = replica_name()
        opened = await _unless(stopped, _open_ca(settings, cluster, replica))
        if opened is None:
            return
        source, told_as = await _source(settings, cluster, stack)
        plane = ControlPlane(
            source,
            opened.keeper.authority,
            certificate_lifetime=settings.certificate_lifetime,
            keeper=opened.keeper,
            limits=settings.limits,
            quarantine=QuarantineStore(settings.state / "quarantine.json"),
            plugged_in=opened.plugged_in,
            trusted_node_accounts=settings.trusted_node_accounts,
            authenticators=partial(authenticators, settings.callers, settings.state, cluster),
            on_batch=lambda batch: tell_reports(batch.reports),
            on_nack=tell_nack,
            on_failure=tell_failure,
            on_credential=tell_credential,
            on_unfetched_keys=tell_unfetched,
            key_fetching=settings.key_fetching._replace(kept_in=settings.state / "key-sets.json"),
            rights=ReviewedRights(cluster) if isinstance(source, KubernetesSource) and cluster else EverySecret(),
            signing=_signing(settings, cluster, replica),
        )
        if isinstance(source, KubernetesSource):
            plane.registry.register(SourceMetrics(source))
        plane.identities.revoke(opened.revoked)
        debug = DebugServer(plane, token=settings.token)
        try:
            port = await debug.start(settings.http.host, settings.http.port)
        except OSError as error:
            raise fail(f"cannot listen on {settings.http} (--http-address): {error.strerror or error}") from None
        stack.push_async_callback(debug.stop)
        tell(f"debug pages at http://{settings.http._replace(port=port)}/")
        garbage.look_seldom()
        if isinstance(source, KubernetesSource) and await _unless(stopped, source.synced()) is None:
            return
        try:
            batch = await plane.load()
        except OSError as error:
            raise fail(f"cannot read {told_as}: {error.strerror or error}") from None
        tell(f"loaded {len(plane.world.objects)} objects from {told_as}: {summary(batch.reports)}")
        stack.push_async_callback(plane.server.stop)
        bound = [_listen(plane, address, stack) for address in settings.xds]
        if settings.secure is not None:
            bound.append(await _listen_securely(plane, settings.secure, _server_names(settings)))
            keep_root_file(plane.identities, settings.state)
        duties = [plane.run()]
        if cluster is not None and settings.cluster is not None:
            operator = Operator(cluster, plane, _operator_settings(settings.cluster, replica))
            if settings.cluster.webhooks is not None:
                # Before anybody takes this replica for one that is ready.
                tell(f"webhooks at {await _listen_for_reviews(operator, settings.cluster.webhooks)}")
                stack.push_async_callback(operator.webhooks.stop)
            duties.append(operator.run())
            if settings.cluster.signer is not None:
                duties.append(settings.cluster.signer_files.follow(plane.identities))
        await plane.start()
        tell(f"serving proxies at {', '.join(bound)}")
        if isinstance(opened.plugged_in, PluggedInSecret):
            duties.append(opened.plugged_in.run())
        await _unless(stopped, _all(duties))
        tell("stopping")


async def _open_ca(settings: Settings, cluster: Cluster | None, replica: str) -> Opened:
    """The CA, once the API server can be asked for it."""
    lifetime, overlap = settings.certificate_lifetime, settings.ca_overlap
    told = ""
    while True:
        try:
            if cluster is None or settings.cluster is None:
                return await open_ca(settings.state, settings.ca_dir, lifetime=lifetime, overlap=overlap)
            namespace = settings.cluster.namespace
            return await open_ca_of_cluster(
                cluster, namespace, settings.ca_dir, replica, lifetime=lifetime, overlap=overlap
            )
        except (AuthorityError, OSError) as error:
            if not (isinstance(error.__cause__, ApiError) and error.__cause__.unavailable):
                raise fail(f"no certificate authority: {error}") from None
            if told != str(error):
                tell(f"waiting for the API server: {error}")
            told = str(error)
        await asyncio.sleep(_API_SERVER_AGAIN)


def _signing(settings: Settings, cluster: Cluster | None, replica: str) -> ExternalSigning | None:
    """Who signs in our place, if anybody does."""
    told = settings.cluster
    if cluster is None or told is None or told.signer is None:
        return None
    signer = CertificateSigningRequests(cluster, told.signer, replica)
    files, lifetime = told.signer_files, settings.certificate_lifetime
    return ExternalSigning(told.signer, signer, files.roots, files.revoked, lifetime=lifetime)


async def _connect(settings: ClusterSettings | None, stack: contextlib.AsyncExitStack) -> Cluster | None:
    """The cluster to serve, or that this is a pod of: whose tokens callers bring then."""
    try:
        if settings is not None:
            return await stack.enter_async_context(await Cluster.connect(settings.kubeconfig, settings.context))
        return await stack.enter_async_context(await Cluster.connect()) if in_a_pod() else None
    except ConnectionConfigError as error:
        raise fail(f"no cluster: {error}") from None


async def _source(
    settings: Settings, cluster: Cluster | None, stack: contextlib.AsyncExitStack
) -> tuple[FileSource | KubernetesSource, str]:
    """The source of objects, and what to call it."""
    if cluster is not None and settings.cluster is not None:
        source = KubernetesSource(cluster, settings.cluster.mesh_settings, settings.cluster.revision)
        return await stack.enter_async_context(source), cluster.server
    assert settings.config is not None  # noqa: S101 - one of the two is said
    return FileSource(settings.config), str(settings.config)


async def _all(duties: Iterable[Coroutine[Any, Any, None]]) -> None:
    async with asyncio.TaskGroup() as tasks:
        for duty in duties:
            tasks.create_task(duty)


async def _unless(stopped: asyncio.Event, duty: Coroutine[Any, Any, _Done]) -> _Done | None:
    """See to a duty; None if we are told to stop before it is done. Raises what went wrong with it."""
    running = asyncio.create_task(duty)
    stopping = asyncio.create_task(stopped.wait())
    await asyncio.wait((running, stopping), return_when=asyncio.FIRST_COMPLETED)
    try:
        return running.result() if running.done() else None
    finally:
        for task in (running, stopping):
            task.cancel()
        await asyncio.gather(running, stopping, return_exceptions=True)


def _operator_settings(settings: ClusterSettings, replica: str) -> OperatorSettings:
    return OperatorSettings(settings.namespace, replica, settings.revision or "default", settings.mesh_settings)


async def _listen_for_reviews(operator: Operator, where: HostPort) -> HostPort:
    try:
        return where._replace(port=await operator.webhooks.start(where.host, where.port))
    except OSError as error:
        raise fail(f"cannot listen on {where} (--webhook-address): {error.strerror or error}") from None


def _server_names(settings: Settings) -> tuple[str, ...]:
    """As whom proxies call us: by the Service of our own namespace and revision, in a cluster."""
    if settings.cluster is None:
        return settings.server_names
    services = _operator_settings(settings.cluster, "").webhook_names
    return (*settings.server_names, *(name for name in services if name not in DNS_NAMES))


async def _listen_securely(plane: ControlPlane, where: HostPort, names: tuple[str, ...]) -> str:
    certificate = ServingCertificate(
        lambda: plane.authority,
        lambda: plane.identities.roots,
        dns_names=(*DNS_NAMES, *(name for name in names if ip_address(name) is None)),
        addresses=(*ADDRESSES, *(address for name in names if (address := ip_address(name)) is not None)),
    )
    try:
        # Better to find out now than with the first caller.
        certificate.context()
        port = await plane.server.listen_securely(where.host, where.port, certificate.context)
    except AuthorityError as error:
        raise fail(f"no certificate for {where}: {error}") from None
    except OSError as error:
        raise fail(f"cannot listen on {where} (--secure-address): {error.strerror or error}") from None
    return f"{where._replace(port=port)} (TLS)"


def _listen(plane: ControlPlane, address: HostPort | Path, stack: contextlib.AsyncExitStack) -> str:
    try:
        if isinstance(address, HostPort):
            return str(address._replace(port=plane.server.listen(str(address))))
        with private_socket(address) as name:
            plane.server.listen(name)
            stack.callback(address.unlink, missing_ok=True)
            return f"unix://{address}"
    except RuntimeError:
        # gRPC has no more to say than that it could not.
        raise fail(f"cannot listen on {address}: it is taken, or no address of this machine") from None
    except OSError as error:
        raise fail(f"cannot listen on {address}: {error.strerror or error}") from None

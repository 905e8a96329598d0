"""`dragoman serve`: the control plane."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import Coroutine, Iterable
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Final, NamedTuple, TypeVar

import typer

from ca import core_dumps
from ca.authority import MAX_LIFETIME, AuthorityError
from dragoman.cli.addresses import HostPort, host_port, host_port_or_socket
from dragoman.cli.ca_state import Opened, open_ca, open_ca_of_cluster, replica_name
from dragoman.cli.callers import TrustedCallers, authenticators, ip_address, keep_root_file, trusted_callers
from dragoman.cli.durations import duration
from dragoman.cli.file_limit import raise_file_limit
from dragoman.cli.key_fetching import key_fetching
from dragoman.cli.logs import LogFormat, LogLevel, configure
from dragoman.cli.output import fail
from dragoman.cli.problems import summary, tell, tell_reports
from dragoman.cli.rejections import tell_credential, tell_failure, tell_nack, tell_unfetched
from dragoman.cli.sockets import private_socket
from dragoman.cli.state import default_state_folder
from dragoman.debug.server import DebugServer
from dragoman.kube import ApiError, Cluster, ConnectionConfigError, in_a_pod
from dragoman.operator.ca_secret import PluggedInSecret
from dragoman.operator.operator import Operator, OperatorSettings
from dragoman.runtime import ControlPlane
from dragoman.runtime.key_sets import KeyFetching
from dragoman.runtime.quarantine_store import QuarantineStore
from dragoman.runtime.serving_certificate import ADDRESSES, DNS_NAMES, ServingCertificate
from dragoman.sources.files import FileSource
from dragoman.sources.kubernetes import KubernetesSource
from dragoman.sources.kubernetes.metrics import SourceMetrics
from xds import Limits

_INSECURE = (
    "warning: {address} is plaintext and not only for this machine: whoever reaches it can read the configuration of "
    "every proxy. No private key is given over it, so proxies that use it cannot speak mutual TLS."
)


_API_SERVER_AGAIN: Final = 2.0
"""Seconds between attempts to reach an API server without which nothing can begin."""

_Done = TypeVar("_Done")


class _ClusterSettings(NamedTuple):
    """A control plane of a cluster."""

    kubeconfig: Path | None
    context: str | None
    namespace: str
    revision: str
    webhooks: HostPort | None

    @property
    def mesh_settings(self) -> tuple[str, str]:
        """Namespace and name of the ConfigMap (Istio: pilot/pkg/bootstrap, getMeshConfigMapName)."""
        return self.namespace, "istio" if self.revision in ("", "default") else f"istio-{self.revision}"


class _Settings(NamedTuple):
    config: Path | None
    cluster: _ClusterSettings | None
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


def serve(
    config: Annotated[
        Path | None,
        typer.Option("--config", help="Folder of YAML to serve and to follow.", exists=True, file_okay=False),
    ] = None,
    kubernetes: Annotated[
        bool, typer.Option("--kubernetes", help="Serve the mesh of a Kubernetes cluster, in place of --config.")
    ] = False,
    kubeconfig: Annotated[
        Path | None,
        typer.Option(
            "--kubeconfig",
            metavar="FILE",
            help="How to reach that cluster.",
            show_default="in a pod the pod's own cluster, elsewhere kubectl's",
            exists=True,
            dir_okay=False,
        ),
    ] = None,
    context: Annotated[
        str | None, typer.Option("--context", help="Which of its contexts.", show_default="the current one")
    ] = None,
    namespace: Annotated[
        str | None,
        typer.Option(
            "--namespace",
            envvar="POD_NAMESPACE",
            help="Where the control plane keeps what is its own in the cluster: the mesh settings, its CA.",
            show_default="istio-system",
        ),
    ] = None,
    revision: Annotated[
        str,
        typer.Option(
            "--revision",
            envvar="REVISION",
            help="Serve objects with this label istio.io/rev, and those without any.",
        ),
    ] = "default",
    secure_address: Annotated[
        str,
        typer.Option(
            "--secure-address",
            metavar="HOST:PORT",
            help="Where callers connect with TLS; `none` for nowhere.",
        ),
    ] = "127.0.0.1:15012",
    webhook_address: Annotated[
        str,
        typer.Option(
            "--webhook-address",
            metavar="HOST:PORT",
            help="With --kubernetes: where the API server asks about objects and pods, with TLS; `none` for nowhere.",
        ),
    ] = "127.0.0.1:15017",
    xds_address: Annotated[
        str | None,
        typer.Option(
            "--xds-address",
            metavar="HOST:PORT",
            help="Also listen in plaintext, such as 127.0.0.1:15010; or unix:///PATH.",
        ),
    ] = None,
    http_address: Annotated[
        str, typer.Option("--http-address", metavar="HOST:PORT", help="Readiness, metrics and debug pages.")
    ] = "127.0.0.1:15014",
    xds_socket: Annotated[
        Path | None,
        typer.Option("--xds-socket", metavar="PATH", help="Also listen on this UNIX socket (mode 0600)."),
    ] = None,
    insecure_xds: Annotated[
        bool,
        typer.Option("--insecure-xds", help="Allow an --xds-address that other machines reach: plaintext, no keys."),
    ] = False,
    server_name: Annotated[
        list[str] | None,
        typer.Option(
            "--server-name",
            metavar="NAME",
            help="A further DNS name or IP address in the certificate of the TLS port; may be repeated.",
        ),
    ] = None,
    token_audience: Annotated[
        list[str] | None,
        typer.Option(
            "--token-audience",
            metavar="AUDIENCE",
            help="Whom tokens of callers must be for; may be repeated.",
            show_default="istio-ca",
        ),
    ] = None,
    jwt_rule: Annotated[
        list[str] | None,
        typer.Option(
            "--jwt-rule",
            metavar="JSON",
            help='A trusted issuer of tokens: {"issuer", "jwks" or "jwksUri", "audiences"}; may be repeated.',
        ),
    ] = None,
    trusted_gateway_cidr: Annotated[
        list[str] | None,
        typer.Option(
            "--trusted-gateway-cidr",
            metavar="CIDR",
            help="Gateways whose x-forwarded-client-cert is believed; may be repeated.",
        ),
    ] = None,
    debug_token_file: Annotated[
        Path | None,
        typer.Option(
            "--debug-token-file",
            help="File with the bearer token that opens the debug pages to other machines.",
            exists=True,
            dir_okay=False,
        ),
    ] = None,
    state_dir: Annotated[
        Path | None,
        typer.Option(
            "--state-dir",
            help="Where the CA's root and what proxies rejected are kept.",
            show_default="$XDG_STATE_HOME/dragoman",
            file_okay=False,
        ),
    ] = None,
    ca_dir: Annotated[
        Path | None,
        typer.Option(
            "--ca-dir",
            help="Your own CA, laid out like Istio's Secret cacerts (or tls.crt, tls.key, ca.crt); followed.",
            exists=True,
            file_okay=False,
        ),
    ] = None,
    certificate_lifetime: Annotated[
        str, typer.Option("--certificate-lifetime", metavar="DURATION", help="How long workload certificates live.")
    ] = "24h",
    ca_overlap: Annotated[
        str,
        typer.Option(
            "--ca-overlap", metavar="DURATION", help="How long a new root is trusted at least before it signs."
        ),
    ] = "2m",
    trusted_node_account: Annotated[
        list[str] | None,
        typer.Option(
            "--trusted-node-account",
            metavar="NAMESPACE/NAME",
            help="Service account of node agents (ztunnel), which get certificates for the pods of their node.",
        ),
    ] = None,
    max_streams: Annotated[
        int | None,
        typer.Option(
            "--max-streams",
            metavar="N",
            min=1,
            help="Serve at most so many streams; others are sent away, to another replica.",
            show_default="any number",
        ),
    ] = None,
    max_connects_per_second: Annotated[
        float,
        typer.Option(
            "--max-connects-per-second",
            metavar="N",
            min=0,
            help="Let at most so many streams begin in a second; others wait. 0 for any number.",
        ),
    ] = 0,
    jwks_refresh_interval: Annotated[
        str,
        typer.Option(
            "--jwks-refresh-interval",
            metavar="DURATION",
            envvar="PILOT_JWT_PUB_KEY_REFRESH_INTERVAL",
            help="After how long the keys of token issuers (RequestAuthentication) are fetched anew.",
        ),
    ] = "20m",
    jwks_fetched_by: Annotated[
        str,
        typer.Option(
            "--jwks-fetched-by",
            metavar="control-plane|hybrid|envoy",
            envvar="PILOT_JWT_ENABLE_REMOTE_JWKS",
            help="Who fetches those keys: the control plane, Envoy where they are at a service of the mesh (hybrid), "
            "or Envoy alone.",
        ),
    ] = "control-plane",
    jwks_blocked_cidr: Annotated[
        list[str] | None,
        typer.Option(
            "--jwks-blocked-cidr",
            metavar="CIDR",
            envvar="BLOCKED_CIDRS_IN_JWKS_URIS",
            help="Addresses that keys are never fetched from, beside loopback, link-local, metadata and reserved ones; "
            "may be repeated.",
        ),
    ] = None,
    jwks_allowed_cidr: Annotated[
        list[str] | None,
        typer.Option(
            "--jwks-allowed-cidr",
            metavar="CIDR",
            help="Addresses that keys are fetched from all the same, such as 127.0.0.0/8; may be repeated.",
        ),
    ] = None,
    allow_core_dumps: Annotated[
        bool, typer.Option("--allow-core-dumps", help="Let a core dump, which holds private keys, be written.")
    ] = False,
    log_format: Annotated[LogFormat, typer.Option("--log-format", help="How to log.")] = LogFormat.json,
    log_level: Annotated[LogLevel, typer.Option("--log-level", help="The least that is logged.")] = LogLevel.info,
) -> None:
    """Serve the mesh that a Kubernetes cluster holds, or a folder of Kubernetes and Istio YAML, and follow its changes.

    Logs go to standard output; problems of objects and rejections by proxies to standard error, with the file and line
    to look at. The xDS port opens after the first full load. SIGTERM and SIGINT end it gracefully.

    \b
    Examples:
      dragoman serve --config mesh/
      dragoman serve --config mesh/ --secure-address 127.0.0.1:0 --xds-socket /run/user/1000/xds.sock
      dragoman serve --kubernetes --context test --namespace istio-system
    \b
    Exit codes: 0 ended by a signal, 1 it could not start or had to stop, 2 wrong usage.
    """
    xds = [host_port_or_socket(xds_address)] if xds_address is not None else []
    if xds_socket is not None:
        xds.append(xds_socket.absolute())
    for address in xds:
        if isinstance(address, HostPort) and not address.local:
            if not insecure_xds:
                raise typer.BadParameter(
                    f"{address} is plaintext and not only for this machine: whoever reaches it could read the "
                    "configuration of every proxy. Say --insecure-xds if that is meant."
                )
            tell(_INSECURE.format(address=address))
    token = debug_token_file.read_text().strip() if debug_token_file is not None else None
    if debug_token_file is not None and not token:
        raise typer.BadParameter(f"{debug_token_file} is empty")
    lifetime = duration(certificate_lifetime)
    if not timedelta() < lifetime <= MAX_LIFETIME:
        raise typer.BadParameter(f"--certificate-lifetime {certificate_lifetime}: more than 0, at most {MAX_LIFETIME}")
    if kubernetes == (config is not None):
        raise typer.BadParameter("say either --config FOLDER or --kubernetes")
    settings = _Settings(
        config,
        _ClusterSettings(
            kubeconfig,
            context,
            namespace or "istio-system",
            revision,
            None if webhook_address == "none" else host_port(webhook_address),
        )
        if kubernetes
        else None,
        tuple(xds),
        None if secure_address == "none" else host_port(secure_address),
        tuple(server_name or ()),
        trusted_callers(token_audience or (), jwt_rule or (), trusted_gateway_cidr or ()),
        host_port(http_address),
        token,
        state_dir or default_state_folder(),
        ca_dir,
        lifetime,
        duration(ca_overlap),
        frozenset(map(_account, trusted_node_account or ())),
        Limits(max_streams=max_streams, connects_per_second=max_connects_per_second),
        key_fetching(jwks_refresh_interval, jwks_allowed_cidr or (), jwks_blocked_cidr or (), jwks_fetched_by),
    )
    configure(log_format, log_level)
    if not allow_core_dumps:
        try:
            core_dumps.forbid()
        except OSError as error:
            raise fail(f"cannot forbid core dumps: {error.strerror}; say --allow-core-dumps to go without") from None
    asyncio.run(_serve(settings))


def _account(text: str) -> tuple[str, str]:
    namespace, slash, name = text.partition("/")
    if not (namespace and slash and name) or "/" in name:
        raise typer.BadParameter(f"{text!r} is not NAMESPACE/NAME")
    return namespace, name


async def _open_ca(settings: _Settings, cluster: Cluster | None, replica: str) -> Opened:
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


async def _serve(settings: _Settings) -> None:
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
        await plane.start()
        tell(f"serving proxies at {', '.join(bound)}")
        if isinstance(opened.plugged_in, PluggedInSecret):
            duties.append(opened.plugged_in.run())
        await _unless(stopped, _all(duties))
        tell("stopping")


async def _connect(settings: _ClusterSettings | None, stack: contextlib.AsyncExitStack) -> Cluster | None:
    """The cluster to serve, or that this is a pod of: whose tokens callers bring then."""
    try:
        if settings is not None:
            return await stack.enter_async_context(await Cluster.connect(settings.kubeconfig, settings.context))
        return await stack.enter_async_context(await Cluster.connect()) if in_a_pod() else None
    except ConnectionConfigError as error:
        raise fail(f"no cluster: {error}") from None


async def _source(
    settings: _Settings, cluster: Cluster | None, stack: contextlib.AsyncExitStack
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


def _operator_settings(settings: _ClusterSettings, replica: str) -> OperatorSettings:
    return OperatorSettings(settings.namespace, replica, settings.revision or "default", settings.mesh_settings)


async def _listen_for_reviews(operator: Operator, where: HostPort) -> HostPort:
    try:
        return where._replace(port=await operator.webhooks.start(where.host, where.port))
    except OSError as error:
        raise fail(f"cannot listen on {where} (--webhook-address): {error.strerror or error}") from None


def _server_names(settings: _Settings) -> tuple[str, ...]:
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

"""`dragoman serve`: the control plane, and what it can be told."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from pathlib import Path
from typing import Annotated

import typer

from ca import core_dumps
from ca.authority import MAX_LIFETIME
from ca.authority_files import RootStoreError
from dragoman.cli.addresses import HostPort, host_port, host_port_or_socket
from dragoman.cli.callers import trusted_callers
from dragoman.cli.durations import duration
from dragoman.cli.key_fetching import key_fetching
from dragoman.cli.logs import LogFormat, LogLevel, configure
from dragoman.cli.output import fail
from dragoman.cli.problems import tell
from dragoman.cli.serving import ClusterSettings, Settings, run
from dragoman.cli.state import default_state_folder, state_dir_option
from dragoman.operator.certificate_requests import SHORTEST
from dragoman.runtime.signer_files import SignerFiles
from xds import Limits

_INSECURE = (
    "warning: {address} is plaintext and not only for this machine: whoever reaches it can read the configuration of "
    "every proxy. No private key is given over it, so proxies that use it cannot speak mutual TLS."
)


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
        state_dir_option("Where the CA's root and what proxies rejected are kept."),
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
    external_signer: Annotated[
        str | None,
        typer.Option(
            "--external-signer",
            metavar="SIGNER",
            envvar="K8S_SIGNER",
            help="With --kubernetes: have this signer of CertificateSigningRequests sign what workloads get.",
            show_default="our own CA",
        ),
    ] = None,
    signer_roots: Annotated[
        Path | None,
        typer.Option(
            "--signer-roots",
            metavar="FILE",
            help="Its roots, PEM; others may be in MeshConfig.caCertificates. Followed.",
            exists=True,
            dir_okay=False,
        ),
    ] = None,
    signer_crl: Annotated[
        Path | None,
        typer.Option(
            "--signer-crl",
            metavar="FILE",
            help="Lists of what its CAs have revoked, PEM: one of each that issues for workloads. Followed.",
            exists=True,
            dir_okay=False,
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
    if external_signer is not None and not kubernetes:
        raise typer.BadParameter("--external-signer is asked through the Kubernetes API: say --kubernetes")
    if external_signer is not None and lifetime < SHORTEST:
        raise typer.BadParameter(
            f"--certificate-lifetime {certificate_lifetime}: a signer is asked for {SHORTEST} at least"
        )
    for option, file in (("--signer-roots", signer_roots), ("--signer-crl", signer_crl)):
        if file is not None and external_signer is None:
            raise typer.BadParameter(f"{option} is of an --external-signer")
    try:
        signer_files = SignerFiles(signer_roots, signer_crl)
    except RootStoreError as error:
        raise typer.BadParameter(str(error)) from None
    settings = Settings(
        config,
        ClusterSettings(
            kubeconfig,
            context,
            namespace or "istio-system",
            revision,
            None if webhook_address == "none" else host_port(webhook_address),
            external_signer,
            signer_files,
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
    asyncio.run(run(settings))


def _account(text: str) -> tuple[str, str]:
    namespace, slash, name = text.partition("/")
    if not (namespace and slash and name) or "/" in name:
        raise typer.BadParameter(f"{text!r} is not NAMESPACE/NAME")
    return namespace, name

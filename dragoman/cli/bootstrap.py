"""`dragoman bootstrap`: what an Envoy starts with."""

from __future__ import annotations

import json
import shlex
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import jwt
import typer

from dragoman.callers.service_account import USER_PREFIX
from dragoman.cli.output import fail
from dragoman.cli.state import default_state_folder
from dragoman.cli.state import root_file as default_root_file
from dragoman.mesh.proxy_id import ProxyId
from dragoman.mesh.workloads import Interception
from dragoman.sidecar import (
    Bootstrap,
    ControlPlane,
    EnvoyNotFoundError,
    Node,
    SocketAddress,
    StaticAddresses,
    Tls,
    Token,
    UnixSocket,
    argv,
    find_envoy,
    parse_address,
    render,
    root_secret,
    token_secret,
)
from dragoman.sidecar.control_plane import SERVER_NAME


def bootstrap(
    proxy: Annotated[
        str, typer.Option("--proxy", metavar="ID", help="Node id: sidecar|router~IP~POD.NAMESPACE~DOMAIN.")
    ],
    xds: Annotated[
        str | None,
        typer.Option(
            "--xds",
            metavar="HOST:PORT",
            help="The control plane; also unix:///PATH. In plaintext unless there is a root or a token.",
            show_default="127.0.0.1:15012 with TLS",
        ),
    ] = None,
    token_file: Annotated[
        Path | None,
        typer.Option("--token-file", help="File that holds the proxy's token, followed as it rotates.", dir_okay=False),
    ] = None,
    root_file: Annotated[
        Path | None,
        typer.Option(
            "--root-file",
            help="File with the roots of the control plane (PEM), followed as it rotates.",
            show_default="that of a control plane on this machine, when there is a token",
            dir_okay=False,
        ),
    ] = None,
    server_name: Annotated[
        str, typer.Option("--server-name", help="The name that the control plane's certificate must have.")
    ] = SERVER_NAME,
    google_grpc: Annotated[
        bool,
        typer.Option(
            "--google-grpc",
            help="Let Envoy's google_grpc read the token: one file only, but a new root needs a restart.",
        ),
    ] = False,
    key_folder: Annotated[
        Path | None,
        typer.Option(
            "--key-folder",
            metavar="DIR",
            help="Folder in the pod where `dragoman agent` keeps the key; the control plane then makes none.",
            file_okay=False,
        ),
    ] = None,
    bind: Annotated[
        str | None,
        typer.Option(
            "--bind",
            metavar="ADDRESS",
            help="IP address of the proxy's own listeners: admin, readiness, statistics, drain.",
            show_default="the id's address without capture, else 127.0.0.1",
        ),
    ] = None,
    admin_port: Annotated[
        int, typer.Option("--admin-port", min=1, max=65535, help="Port of Envoy's admin interface.")
    ] = 15000,
    sotw: Annotated[bool, typer.Option("--sotw", help="State-of-the-world ADS instead of delta.")] = False,
    service_account: Annotated[
        str | None,
        typer.Option(
            "--service-account", help="The pod's service account.", show_default="that of the token, else default"
        ),
    ] = None,
    workload: Annotated[
        str | None, typer.Option("--workload", help="Name of the workload.", show_default="the pod's name")
    ] = None,
    label: Annotated[
        list[str] | None, typer.Option("--label", metavar="KEY=VALUE", help="A label of the pod; may be repeated.")
    ] = None,
    interception_mode: Annotated[
        Interception, typer.Option("--interception-mode", help="How traffic gets to the proxy.")
    ] = Interception.REDIRECT,
    http_proxy_port: Annotated[
        int | None, typer.Option("--http-proxy-port", min=1, max=65535, help="Port of the HTTP proxy listener.")
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", metavar="FILE", help="Write the bootstrap to a file.", dir_okay=False),
    ] = None,
    argv_: Annotated[
        bool, typer.Option("--argv", help="Print the command line that starts Envoy with the file of --output.")
    ] = False,
    concurrency: Annotated[int, typer.Option("--concurrency", min=1, help="Envoy's worker threads (--argv).")] = 2,
    drain_seconds: Annotated[
        int, typer.Option("--drain-seconds", min=1, help="How long connections have to leave (--argv).")
    ] = 45,
) -> None:
    """Print the bootstrap (JSON) of a workload's Envoy: delta ADS, admin and readiness listeners, few statistics.

    A token and a root need small files beside the bootstrap, which say where Envoy is to watch for them: named like
    --output, with .token and .root before the extension.

    \b
    Examples:
      dragoman bootstrap --proxy 'sidecar~10.0.0.7~web-1.shop~shop.svc.cluster.local' --token-file web.token \
        --output envoy.json
      dragoman bootstrap --proxy 'sidecar~10.0.0.7~web-1.shop~shop.svc.cluster.local' --xds unix:///run/xds.sock
      eval "$(dragoman bootstrap --proxy 'router~127.10.0.2~gateway.shop~shop.svc.cluster.local' \\
        --interception-mode NONE --output envoy.json --argv)"
    \b
    Exit codes: 0 done, 1 there is no Envoy (--argv) or the file cannot be written, 2 wrong usage.
    """
    if argv_ and output is None:
        raise typer.BadParameter("--argv needs --output FILE: the command line names it")
    if xds is None and token_file is None:
        raise typer.BadParameter(
            "give --token-file FILE (`dragoman token` makes one), or --xds with an address that needs none"
        )
    secured = token_file is not None or root_file is not None
    if secured and output is None and not google_grpc:
        raise typer.BadParameter("--token-file and --root-file need --output FILE, or --google-grpc")
    try:
        id_ = ProxyId.parse(proxy)
        address = parse_address(xds or "127.0.0.1:15012")
        own = StaticAddresses.on(
            bind or (id_.address if interception_mode is Interception.NONE else "127.0.0.1"), admin=admin_port
        )
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None
    node = Node(
        id_,
        service_account=service_account or _account_of(token_file),
        workload=workload or "",
        labels=_labels(label or []),
        interception_mode=interception_mode.value,
        http_proxy_port=http_proxy_port,
        key_folder=str(key_folder.absolute()) if key_folder is not None else None,
    )
    roots = (root_file or default_root_file(default_state_folder())).absolute() if secured else None
    try:
        control_plane, files = _secured(address, roots, token_file, server_name, None if google_grpc else output)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None
    text = json.dumps(render(Bootstrap(node, control_plane, own, "sotw" if sotw else "delta")), indent=2)
    if output is None:
        typer.echo(text)
        return
    try:
        for file, content in files.items():
            file.write_text(json.dumps(content, indent=2) + "\n")
        output.write_text(text + "\n")
    except OSError as error:
        raise fail(f"cannot write {output}: {error.strerror}") from None
    if argv_:
        try:
            command = argv(find_envoy(), output.absolute(), drain_seconds=drain_seconds, concurrency=concurrency)
        except EnvoyNotFoundError as error:
            raise fail(str(error)) from None
        typer.echo(shlex.join(command))


def _secured(
    address: SocketAddress | UnixSocket, roots: Path | None, token_file: Path | None, name: str, beside: Path | None
) -> tuple[ControlPlane, dict[Path, object]]:
    """The control plane, and the files that say where its root and the token are."""
    if roots is None:
        return ControlPlane(address), {}
    files: dict[Path, object] = {}
    tls = Tls(str(roots), name)
    token = Token(str(token_file.absolute())) if token_file is not None else None
    if beside is not None:
        path = beside.absolute()
        root_path = path.with_suffix(f".root{path.suffix or '.json'}")
        tls = replace(tls, secret_file=str(root_path))
        files[root_path] = root_secret(tls)
        if token is not None:
            token_path = path.with_suffix(f".token{path.suffix or '.json'}")
            token = replace(token, secret_file=str(token_path))
            files[token_path] = token_secret(token)
    return ControlPlane(address, tls, token), files


def _account_of(token_file: Path | None) -> str:
    """Whose token it is, as far as can be read now: the file may come later."""
    try:
        claims = jwt.decode(token_file.read_text().strip(), options={"verify_signature": False}) if token_file else {}
    except (OSError, ValueError, jwt.InvalidTokenError):
        claims = {}
    subject = str(claims.get("sub", ""))
    return subject.removeprefix(USER_PREFIX).partition(":")[2] or "default"


def _labels(written: list[str]) -> dict[str, str]:
    found = {}
    for text in written:
        key, equals, value = text.partition("=")
        if not (key and equals):
            raise typer.BadParameter(f"{text!r} is not KEY=VALUE", param_hint="--label")
        found[key] = value
    return found

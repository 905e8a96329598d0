"""`dragoman bootstrap`: what an Envoy starts with."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Annotated

import typer

from dragoman.cli.output import fail
from dragoman.mesh.proxy_id import ProxyId
from dragoman.mesh.workloads import Interception
from dragoman.sidecar import (
    Bootstrap,
    ControlPlane,
    EnvoyNotFoundError,
    Node,
    StaticAddresses,
    argv,
    find_envoy,
    parse_address,
    render,
)


def bootstrap(
    proxy: Annotated[
        str, typer.Option("--proxy", metavar="ID", help="Node id: sidecar|router~IP~POD.NAMESPACE~DOMAIN.")
    ],
    xds: Annotated[
        str, typer.Option("--xds", metavar="HOST:PORT", help="The control plane; also unix:///PATH.")
    ] = "127.0.0.1:15010",
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
    service_account: Annotated[str, typer.Option("--service-account", help="The pod's service account.")] = "default",
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

    \b
    Examples:
      dragoman bootstrap --proxy 'sidecar~10.0.0.7~web-1.shop~shop.svc.cluster.local' --xds 127.0.0.1:15010
      eval "$(dragoman bootstrap --proxy 'router~127.10.0.2~gateway.shop~shop.svc.cluster.local' \\
        --interception-mode NONE --output envoy.json --argv)"
    \b
    Exit codes: 0 done, 1 there is no Envoy (--argv) or the file cannot be written, 2 wrong usage.
    """
    if argv_ and output is None:
        raise typer.BadParameter("--argv needs --output FILE: the command line names it")
    try:
        id_ = ProxyId.parse(proxy)
        address = parse_address(xds)
        own = StaticAddresses.on(
            bind or (id_.address if interception_mode is Interception.NONE else "127.0.0.1"), admin=admin_port
        )
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None
    node = Node(
        id_,
        service_account=service_account,
        workload=workload or "",
        labels=_labels(label or []),
        interception_mode=interception_mode.value,
        http_proxy_port=http_proxy_port,
    )
    text = json.dumps(render(Bootstrap(node, ControlPlane(address), own, "sotw" if sotw else "delta")), indent=2)
    if output is None:
        typer.echo(text)
        return
    try:
        output.write_text(text + "\n")
    except OSError as error:
        raise fail(f"cannot write {output}: {error.strerror}") from None
    if argv_:
        try:
            command = argv(find_envoy(), output.absolute(), drain_seconds=drain_seconds, concurrency=concurrency)
        except EnvoyNotFoundError as error:
            raise fail(str(error)) from None
        typer.echo(shlex.join(command))


def _labels(written: list[str]) -> dict[str, str]:
    found = {}
    for text in written:
        key, equals, value = text.partition("=")
        if not (key and equals):
            raise typer.BadParameter(f"{text!r} is not KEY=VALUE", param_hint="--label")
        found[key] = value
    return found

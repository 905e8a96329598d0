"""`dragoman capture`: a pod's traffic goes through its Envoy."""

from __future__ import annotations

import enum
import shlex
from typing import Annotated

import typer

from dragoman.capture import Capture, CaptureError
from dragoman.cli.output import fail


class Backend(enum.StrEnum):
    auto = "auto"
    iptables = "iptables"
    nftables = "nftables"


def capture(
    backend: Annotated[
        Backend, typer.Option("--backend", help="Which of the kernel's tools; auto: nft, else iptables.")
    ] = (Backend.auto),
    mode: Annotated[
        str, typer.Option("--mode", help="How inbound: REDIRECT, or TPROXY, which keeps clients' addresses.")
    ] = "REDIRECT",
    outbound_port: Annotated[
        str, typer.Option("--outbound-port", help="Where Envoy takes outbound traffic.")
    ] = "15001",
    inbound_port: Annotated[str, typer.Option("--inbound-port", help="Where Envoy takes inbound traffic.")] = "15006",
    proxy_uid: Annotated[
        str, typer.Option("--proxy-uid", help="Envoy's user, whose connections are left alone.")
    ] = "1337",
    proxy_gid: Annotated[str, typer.Option("--proxy-gid", help="Envoy's group, likewise.")] = "1337",
    include_outbound_ranges: Annotated[
        str, typer.Option("--include-outbound-ranges", metavar="CIDRS", help="Destinations to capture; * is all.")
    ] = "*",
    exclude_outbound_ranges: Annotated[
        str, typer.Option("--exclude-outbound-ranges", metavar="CIDRS", help="Destinations to leave alone.")
    ] = "",
    include_inbound_ports: Annotated[
        str, typer.Option("--include-inbound-ports", metavar="PORTS", help="Ports of the pod to capture; * is all.")
    ] = "*",
    exclude_inbound_ports: Annotated[
        str, typer.Option("--exclude-inbound-ports", metavar="PORTS", help="Ports of the pod to leave alone (with *).")
    ] = "",
    include_outbound_ports: Annotated[
        str,
        typer.Option("--include-outbound-ports", metavar="PORTS", help="Ports to capture whatever the destination."),
    ] = "",
    exclude_outbound_ports: Annotated[
        str, typer.Option("--exclude-outbound-ports", metavar="PORTS", help="Ports to leave alone at all destinations.")
    ] = "",
    exclude_interfaces: Annotated[
        str, typer.Option("--exclude-interfaces", metavar="NAMES", help="Network interfaces to leave alone.")
    ] = "",
    reroute_interfaces: Annotated[
        str, typer.Option("--reroute-interfaces", metavar="NAMES", help="Interfaces of guests, as of virtual machines.")
    ] = "",
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the commands and their input; change nothing.")
    ] = False,
    cleanup: Annotated[bool, typer.Option("--cleanup", help="Remove the capture; there need not be any.")] = False,
    verify: Annotated[
        bool,
        typer.Option("--verify", help="Only try whether traffic is captured, as Envoy's user, before Envoy listens."),
    ] = False,
) -> None:
    """Send a pod's TCP connections through its Envoy, with the rules of Istio's init container.

    For the network namespace that it runs in, IPv4 and, where the pod has an address of it, IPv6. Needs root with
    NET_ADMIN, and nft or iptables; for IPv6 and TPROXY also ip. Running it again replaces the rules of the run before.
    Lists have commas between.

    \b
    Examples:
      dragoman capture --dry-run
      dragoman capture --exclude-inbound-ports 15020,15021,15090 --exclude-outbound-ranges 10.96.0.1/32
      dragoman capture --cleanup
    \b
    Exit codes: 0 done, 1 it cannot be done, or --verify found no capture, 2 wrong usage.
    """
    from dragoman.capture import system
    from dragoman.capture.verification import verify as try_it

    options = {key.replace("_", "-"): value for key, value in locals().copy().items() if isinstance(value, str)}
    try:
        wanted = Capture.of_texts(options)
    except CaptureError as error:
        raise typer.BadParameter(str(error)) from None
    try:
        if verify:
            try_it(wanted)
        elif dry_run:
            scripts = system.scripts(None if cleanup else wanted, system.choose(backend.value))
            typer.echo("\n".join(f"# {shlex.join(command)}\n{text}" for command, text in scripts), nl=False)
        elif cleanup:
            system.remove(backend.value)
        else:
            system.apply(wanted, backend.value)
    except CaptureError as error:
        raise fail(str(error)) from None

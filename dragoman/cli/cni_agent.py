"""`dragoman cni-agent`: the CNI plugin onto this node."""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path
from typing import Annotated, Final

import typer

from dragoman.capture.node_agent import Node, NodeAgent, Source
from dragoman.cli.output import fail
from dragoman.cli.problems import tell

_ACCOUNT: Final = Path("/var/run/secrets/kubernetes.io/serviceaccount")


def cni_agent(
    programs: Annotated[
        Path, typer.Option("--cni-bin-dir", help="The runtime's folder of plugins, as it is mounted here.")
    ] = Path("/host/opt/cni/bin"),
    configuration: Annotated[
        Path, typer.Option("--cni-conf-dir", help="The folder of their configuration, as it is mounted here.")
    ] = Path("/host/etc/cni/net.d"),
    programs_there: Annotated[
        str, typer.Option("--node-cni-bin-dir", help="The same as the node calls it.")
    ] = "/opt/cni/bin",
    configuration_there: Annotated[
        str, typer.Option("--node-cni-conf-dir", help="The same as the node calls it.")
    ] = "/etc/cni/net.d",
    file: Annotated[
        str, typer.Option("--cni-conf-file", help="The list to be in.", show_default="the first of the folder")
    ] = "",
    exclude_namespace: Annotated[
        list[str] | None, typer.Option("--exclude-namespace", help="Whose pods are left alone; may be repeated.")
    ] = None,
    backend: Annotated[
        str, typer.Option("--backend", help="Which of the kernel's tools: nftables, iptables or auto.")
    ] = "nftables",
    bundle: Annotated[Path, typer.Option("--bundle", help="The plugin with all that it runs with.")] = Path("/opt/cni"),
    credentials: Annotated[
        Path, typer.Option("--credentials", help="Folder with token and ca.crt for the API server.")
    ] = _ACCOUNT,
    ready_file: Annotated[
        Path | None, typer.Option("--ready-file", help="A file that is there while the plugin is in place.")
    ] = None,
) -> None:
    """Put the CNI plugin onto this node and keep it there: it captures traffic of pods that may not do so themselves.

    For the DaemonSet of the chart control-plane (cni.enabled). SIGTERM takes the plugin out of the list again.

    \b
    Examples:
      dragoman cni-agent --exclude-namespace kube-system --ready-file /run/dragoman/ready
    \b
    Exit codes: 0 ended by a signal, 1 it is not in a cluster, 2 wrong usage.
    """
    host, port = os.environ.get("KUBERNETES_SERVICE_HOST"), os.environ.get("KUBERNETES_SERVICE_PORT", "443")
    if not host:
        raise fail("this is no pod of a cluster: KUBERNETES_SERVICE_HOST is not set")
    stopped = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopped.set())
    agent = NodeAgent(
        Node(programs, configuration, programs_there, configuration_there),
        Source(bundle, credentials / "token", credentials / "ca.crt"),
        f"https://[{host}]:{port}" if ":" in host else f"https://{host}:{port}",
        file=file,
        exclude_namespaces=tuple(exclude_namespace or ()),
        backend=backend,
        tell=tell,
    )

    def ready(is_in_place: bool) -> None:
        if ready_file is not None and is_in_place:
            ready_file.touch()
        elif ready_file is not None:
            ready_file.unlink(missing_ok=True)

    agent.run(stopped, ready=ready)

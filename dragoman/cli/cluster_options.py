"""Options of commands that speak with a cluster, as kubectl and istioctl call them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final

import typer

CONTROL_PLANE_NAMESPACE: Final = "istio-system"

Kubeconfig = Annotated[
    Path | None,
    typer.Option(
        "--kubeconfig",
        metavar="FILE",
        help="kubectl's configuration.",
        show_default="$KUBECONFIG, ~/.kube/config",
        exists=True,
        dir_okay=False,
    ),
]
Context = Annotated[
    str | None, typer.Option("--context", metavar="NAME", help="A context of it.", show_default="the current one")
]
Namespace = Annotated[
    str | None,
    typer.Option(
        "-n",
        "--namespace",
        metavar="NAME",
        help="Namespace of what is named without one.",
        show_default="the context's",
    ),
]
IstioNamespace = Annotated[
    str,
    typer.Option("-i", "--istio-namespace", "--istioNamespace", metavar="NAME", help="Namespace of the control plane."),
]
Revision = Annotated[
    str | None,
    typer.Option(
        "-r", "--revision", metavar="NAME", help="Only the control plane of this revision.", show_default="all"
    ),
]

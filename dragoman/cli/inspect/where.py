"""Which control plane a command asks: one on this machine, or that of a cluster."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final

import typer

from dragoman.cli.addresses import HostPort, host_port
from dragoman.cli.cluster_options import (
    CONTROL_PLANE_NAMESPACE,
    Context,
    IstioNamespace,
    Kubeconfig,
    Namespace,
    Revision,
)
from dragoman.cli.shared_options import shares

DEBUG_ADDRESS: Final = HostPort("127.0.0.1", 15014)
"""Where `dragoman serve` has its debug pages unless told otherwise."""

HttpAddress = Annotated[
    str | None,
    typer.Option(
        "--http-address",
        metavar="HOST:PORT",
        envvar="DRAGOMAN_HTTP_ADDRESS",
        help="The debug pages of a control plane outside the cluster.",
        show_default="127.0.0.1:15014 without a cluster",
    ),
]
TokenFile = Annotated[
    Path | None,
    typer.Option("--token-file", help="File with the bearer token of the debug pages.", exists=True, dir_okay=False),
]


@dataclass(frozen=True, slots=True)
class Where:
    """What the command line says of it. Each field is an option of the command."""

    kubeconfig: Kubeconfig = None
    context: Context = None
    namespace: Namespace = None
    istio_namespace: IstioNamespace = CONTROL_PLANE_NAMESPACE
    revision: Revision = None
    http_address: HttpAddress = None
    token_file: TokenFile = None

    def __post_init__(self) -> None:
        """What does not fit together, or is no address, is a usage error."""
        if self.address is not None and self.cluster_is_meant:
            raise typer.BadParameter("--http-address is for a control plane outside of clusters: say either")

    @property
    def address(self) -> HostPort | None:
        """The address that was named."""
        return None if self.http_address is None else host_port(self.http_address)

    @property
    def cluster_is_meant(self) -> bool:
        """Whether the command line says that there is a cluster."""
        return any((self.kubeconfig, self.context, self.revision)) or self.istio_namespace != CONTROL_PLANE_NAMESPACE

    @property
    def cluster_is_configured(self) -> bool:
        """Whether kubectl would find a cluster, or this is a pod of one."""
        from dragoman.kube.connection import in_a_pod

        return (
            self.cluster_is_meant
            or "KUBECONFIG" in os.environ
            or in_a_pod()
            or Path("~/.kube/config").expanduser().exists()
        )

    @property
    def token(self) -> str | None:
        """The bearer token of the debug pages, if a file with it was named."""
        return None if self.token_file is None else self.token_file.read_text().strip()


located: Final = shares(where=Where)
"""Gives a command the options of `Where`, and the keyword argument `where`."""

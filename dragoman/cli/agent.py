"""`dragoman agent`: keeps a workload's key in its pod."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from dragoman.agent.settings import Settings
from dragoman.cli.addresses import host_port
from dragoman.cli.durations import duration
from dragoman.cli.state import default_state_folder
from dragoman.cli.state import root_file as default_root_file


def agent(
    folder: Annotated[
        Path,
        typer.Option(
            "--folder", metavar="DIR", help="Where key.pem, cert-chain.pem and root-cert.pem go.", file_okay=False
        ),
    ],
    token_file: Annotated[
        Path,
        typer.Option("--token-file", help="File with the pod's token, read for each request.", dir_okay=False),
    ],
    server: Annotated[
        str, typer.Option("--server", metavar="HOST:PORT", help="The control plane's TLS port.")
    ] = "127.0.0.1:15012",
    root_file: Annotated[
        Path | None,
        typer.Option(
            "--root-file",
            help="File with the roots of the control plane (PEM), read for each request.",
            show_default="that of a control plane on this machine",
            dir_okay=False,
        ),
    ] = None,
    server_name: Annotated[
        str, typer.Option("--server-name", help="The name that the control plane's certificate must have.")
    ] = "istiod.istio-system.svc",
    lifetime: Annotated[
        str | None,
        typer.Option(
            "--lifetime", metavar="DURATION", help="How long certificates live.", show_default="the server's default"
        ),
    ] = None,
    once: Annotated[bool, typer.Option("--once", help="End when there is a certificate.")] = False,
) -> None:
    """Keep a workload's private key in its pod: make it here, have it certified, and renew it in time.

    Envoy follows the files when its bootstrap names the folder (`dragoman bootstrap --key-folder DIR`); it must run as
    the same user and start after the files are there. They are replaced at once, at half of the certificate's life.
    While no certificate can be had, what is there stays, and is tried for again after a second to a minute.

    SIGHUP has it renew at once. Logs are JSON on standard output.

    \b
    Examples:
      dragoman agent --folder /var/run/keys --token-file /var/run/secrets/tokens/istio-token \\
        --root-file /var/run/secrets/istio/root-cert.pem --server istiod.istio-system.svc:15012
      dragoman agent --folder keys --token-file web.token --once
    \b
    Exit codes: 0 there is a certificate (--once), or ended by a signal, 2 wrong usage.
    """
    seconds = int(duration(lifetime).total_seconds()) if lifetime is not None else 0
    settings = Settings(
        str(host_port(server)),
        server_name,
        str((root_file or default_root_file(default_state_folder())).absolute()),
        str(token_file.absolute()),
        str(folder.absolute()),
        seconds,
        once,
    )
    # In place of this process: what the command line took to read would else stay in memory for years.
    os.execv(sys.executable, [sys.executable, "-m", "dragoman.agent", settings.to_json()])  # noqa: S606

"""The command line: `dragoman <command>`.

Exit codes: 0 done, 1 errors found, 2 wrong usage. Each command is a module of its own.
"""

from __future__ import annotations

import importlib
import importlib.util

import typer

from dragoman.cli import bootstrap, proxies, serve, translate, validate, version

app = typer.Typer(
    name="dragoman",
    help="An Istio-API compatible service-mesh control plane for unmodified Envoy.\n\n"
    "Exit codes: 0 done, 1 errors found, 2 wrong usage.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.command()(serve.serve)
app.command()(translate.translate)
app.command()(validate.validate)
app.command()(bootstrap.bootstrap)
if importlib.util.find_spec("dragoman.cli.demo") is not None:
    app.command()(importlib.import_module("dragoman.cli.demo").demo)
app.command("proxy-status")(proxies.proxy_status)
app.command("ps", hidden=True)(proxies.proxy_status)
app.command("proxy-config")(proxies.proxy_config)
app.command("pc", hidden=True)(proxies.proxy_config)
app.command()(version.version)


def main() -> None:
    """Entry point of the `dragoman` script."""
    app()

"""The command line: `dragoman <command>`.

Exit codes: 0 done, 1 errors found, 2 wrong usage. Each command is a module of its own, imported only when it is used:
asking a control plane for a table should not wait for all of Envoy's API to be loaded.
"""

from __future__ import annotations

import importlib
import os
import sys
from typing import Any, Final

import typer
from typer.core import TyperGroup

# What strangers send is not repeated on our standard error: gRPC's C core logs malformed frames there, byte by byte.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")

_COMMANDS: Final = {
    "install": "install:install",
    "uninstall": "uninstall:uninstall",
    "precheck": "precheck:precheck",
    "serve": "serve:serve",
    "demo": "demo:demo",
    "translate": "translate:translate",
    "validate": "validate:validate",
    "bootstrap": "bootstrap:bootstrap",
    "token": "token:token",
    "agent": "agent:agent",
    "capture": "capture:capture",
    "cni-agent": "cni_agent:cni_agent",
    "kube-inject": "kube_inject:kube_inject",
    "proxy-status": "inspect.proxy_status:proxy_status",
    "proxy-config": "inspect.proxy_config:app",
    "describe": "inspect.describe:app",
    "authz": "inspect.authz:app",
    "dashboard": "inspect.dashboard:app",
    "bug-report": "inspect.bug_report:bug_report",
    "xds": "xds:group",
    "ca": "ca:app",
    "crds": "crds:crds",
    "wait": "wait:wait",
    "version": "version:version",
}
_ALIASES: Final = {"ps": "proxy-status", "pc": "proxy-config", "dash": "dashboard", "d": "dashboard"}
"""istioctl's short forms."""


class _Commands(TyperGroup):
    def list_commands(self, ctx: Any) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        name = _ALIASES.get(cmd_name, cmd_name)
        if name not in _COMMANDS:
            return None
        module, _, attribute = _COMMANDS[name].partition(":")
        found = getattr(importlib.import_module(f"dragoman.cli.{module}"), attribute)
        if isinstance(found, typer.Typer):
            # A group: its commands are those of its module.
            return typer.main.get_group(found)
        command = typer.Typer(add_completion=False, rich_markup_mode=None)
        command.command(name)(found)
        return typer.main.get_command(command)


app = typer.Typer(
    name="dragoman", cls=_Commands, no_args_is_help=True, pretty_exceptions_enable=False, rich_markup_mode=None
)


@app.callback()
def dragoman() -> None:
    """An Istio-API compatible service-mesh control plane for unmodified Envoy.

    Exit codes: 0 done, 1 errors found, 2 wrong usage.
    """


def main() -> None:
    """Entry point of the scripts `dragoman` and `kubectl-dragoman`, which `kubectl dragoman` runs."""
    plugin = os.path.basename(sys.argv[0]).startswith("kubectl-")
    app(prog_name="kubectl dragoman" if plugin else None)

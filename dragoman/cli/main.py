"""The command line: `dragoman <command>`.

Exit codes: 0 done, 1 errors found, 2 wrong usage. Each command is a module of its own, imported only when it is used:
asking a control plane for a table should not wait for all of Envoy's API to be loaded.
"""

from __future__ import annotations

import gc
import importlib
import os
import sys
from typing import Any, Final

import typer
from typer.core import TyperCommand, TyperGroup

# What strangers send is not repeated on our standard error: gRPC's C core logs malformed frames there, byte by byte.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")

_COMMANDS: Final = {
    "install": ("install:install", "Install the control plane, or bring it to other values."),
    "uninstall": ("uninstall:uninstall", "Take a revision of the control plane away."),
    "precheck": ("precheck:precheck", "Look whether a cluster is fit for a control plane."),
    "serve": ("serve:serve", "Serve the mesh of a cluster, or of a folder of YAML."),
    "demo": ("demo:demo", "Run a small shop behind a gateway on this machine."),
    "translate": ("translate:translate", "Print what a pod's Envoy would get, without a server."),
    "validate": ("validate:validate", "Check Kubernetes and Istio YAML."),
    "bootstrap": ("bootstrap:bootstrap", "Print the bootstrap of a workload's Envoy."),
    "token": ("token:token", "Print a token that proves which pod a proxy is of."),
    "agent": ("agent:agent", "Keep a workload's private key in its pod."),
    "capture": ("capture:capture", "Send a pod's TCP connections through its Envoy."),
    "cni-agent": ("cni_agent:cni_agent", "Put the CNI plugin onto this node and keep it there."),
    "kube-inject": ("kube_inject:kube_inject", "Put sidecars into the pods of documents."),
    "proxy-status": ("inspect.proxy_status:proxy_status", "Show which proxies are connected and in sync."),
    "proxy-config": ("inspect.proxy_config:app", "Show what one proxy has."),
    "describe": ("inspect.describe:app", "Describe what holds for a pod or a service."),
    "authz": ("inspect.authz:app", "Show what decides who may do what."),
    "dashboard": ("inspect.dashboard:app", "Open a page of the mesh in a browser."),
    "bug-report": ("inspect.bug_report:bug_report", "Pack what a report of a defect needs."),
    "xds": ("xds:group", "See the discovery services as a client does."),
    "ca": ("ca:app", "Show and rotate the certificate authority."),
    "crds": ("crds:crds", "Print the CustomResourceDefinitions of Istio's kinds."),
    "wait": ("wait:wait", "Wait until objects of Istio's API are in force."),
    "version": ("version:version", "Print the versions of this program and of the mesh."),
}
"""Where each command is, and what a list says of it."""
_ALIASES: Final = {"ps": "proxy-status", "pc": "proxy-config", "dash": "dashboard", "d": "dashboard"}
"""istioctl's short forms."""


class _Commands(TyperGroup):
    def list_commands(self, ctx: Any) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """As much of a command as lists and completions show."""
        name = _ALIASES.get(cmd_name, cmd_name)
        return TyperCommand(name, help=_COMMANDS[name][1], callback=None) if name in _COMMANDS else None

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """The command that is meant, whole."""
        called, command, rest = super().resolve_command(ctx, args)
        return called, None if command is None else _imported(command.name or ""), rest


def _imported(name: str) -> Any:
    module, _, attribute = _COMMANDS[name][0].partition(":")
    found = getattr(importlib.import_module(f"dragoman.cli.{module}"), attribute)
    if not gc.isenabled():
        gc.freeze()
        gc.enable()
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
    # What modules hold stays: the garbage collector would only walk it again and again while they are imported.
    gc.disable()
    plugin = os.path.basename(sys.argv[0]).startswith("kubectl-")
    app(prog_name="kubectl dragoman" if plugin else None)

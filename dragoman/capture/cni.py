"""The CNI plugin: the node sets up capture in pods that may not do it themselves (CNI specification 1.0, chained).

It runs after the plugins that give the pod its network, looks at the pod in the API, and puts in force what the pod's
container `istio-validation` says in its arguments, which the injector wrote. That container keeps the pod from starting
without capture. Configuration, beside what CNI itself has: `kubernetes: {server, ca_file, token_file}`,
`exclude_namespaces`, `backend`.
"""

from __future__ import annotations

import ctypes
import json
import os
import ssl
import sys
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, TextIO

from dragoman.capture import system
from dragoman.capture.settings import Capture, CaptureError

VALIDATION: Final = "istio-validation"

_VERSIONS: Final = ("0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0")
_CLONE_NEWNET: Final = 0x40000000
_SECONDS: Final = 10.0
_INVALID_CONFIGURATION, _TRY_AGAIN, _FAILED = 7, 11, 100  # CNI specification: well-known error codes, and ours

Json = Any


class PluginError(Exception):
    """What goes back to the runtime: a code of CNI and a text."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


def main(environment: Mapping[str, str], stdin: TextIO, stdout: TextIO) -> int:
    """One call of the runtime; the exit code."""
    version = "1.0.0"
    try:
        configuration = _configuration(stdin)
        version = configuration.get("cniVersion", version)
        result = _call(environment, configuration)
    except PluginError as error:
        json.dump({"cniVersion": version, "code": error.code, "msg": str(error)}, stdout)
        return 1
    if result is not None:
        json.dump(result, stdout)
    return 0


def _configuration(stdin: TextIO) -> Mapping[str, Json]:
    try:
        found = json.load(stdin)
    except ValueError as error:
        raise PluginError(_INVALID_CONFIGURATION, f"the configuration is no JSON: {error}") from None
    if not isinstance(found, dict):
        raise PluginError(_INVALID_CONFIGURATION, "the configuration is no JSON object")
    return found


def _call(environment: Mapping[str, str], configuration: Mapping[str, Json]) -> Json:
    """The result to print, None for none."""
    command = environment.get("CNI_COMMAND", "")
    version = configuration.get("cniVersion", "1.0.0")
    if command == "VERSION":
        return {"cniVersion": version, "supportedVersions": list(_VERSIONS)}
    if version not in _VERSIONS:
        raise PluginError(1, f"cniVersion {version} is none of {', '.join(_VERSIONS)}")
    if command in ("DEL", "GC", "STATUS"):
        return None  # the rules go with the network namespace
    if command not in ("ADD", "CHECK"):
        raise PluginError(4, f"CNI_COMMAND {command!r} is unknown")
    previous = configuration.get("prevResult")
    if previous is None:
        raise PluginError(_INVALID_CONFIGURATION, "there is no prevResult: this plugin only works chained after others")
    capture = _capture(environment, configuration)
    if capture is not None and command == "ADD":
        try:
            _enter(environment.get("CNI_NETNS", ""))
            system.apply(capture, configuration.get("backend", "auto"))
        except (CaptureError, OSError) as error:
            raise PluginError(_FAILED, f"capture: {error}") from None
    return previous if command == "ADD" else None


def _capture(environment: Mapping[str, str], configuration: Mapping[str, Json]) -> Capture | None:
    """What this pod is to have captured, None for nothing: it has no sidecar, or sees to it itself."""
    arguments = dict(part.split("=", 1) for part in environment.get("CNI_ARGS", "").split(";") if "=" in part)
    namespace, name = arguments.get("K8S_POD_NAMESPACE"), arguments.get("K8S_POD_NAME")
    if not namespace or not name or namespace in configuration.get("exclude_namespaces", ()):
        return None
    spec = _pod(namespace, name, configuration.get("kubernetes") or {}).get("spec") or {}
    if spec.get("hostNetwork"):
        return None
    containers = (each for each in spec.get("initContainers") or () if each.get("name") == VALIDATION)
    container = next(containers, None)
    if container is None:
        return None
    options = (str(argument).removeprefix("--").partition("=") for argument in container.get("args") or ())
    try:
        return Capture.of_texts({key: value for key, equals, value in options if equals})
    except CaptureError as error:
        raise PluginError(_INVALID_CONFIGURATION, f"{namespace}/{name}: {VALIDATION}: {error}") from None


def _pod(namespace: str, name: str, kubernetes: Mapping[str, str]) -> Mapping[str, Json]:
    try:
        token = Path(kubernetes["token_file"]).read_text().strip()
        context = ssl.create_default_context(cafile=kubernetes["ca_file"])
        server = kubernetes["server"]
    except (KeyError, OSError) as error:
        raise PluginError(_INVALID_CONFIGURATION, f"kubernetes: {error}") from None
    if not server.startswith("https://"):
        raise PluginError(_INVALID_CONFIGURATION, f"kubernetes: server {server!r} is not https://")
    path = f"/api/v1/namespaces/{urllib.parse.quote(namespace)}/pods/{urllib.parse.quote(name)}"
    request = urllib.request.Request(server.rstrip("/") + path, headers={"Authorization": f"Bearer {token}"})  # noqa: S310
    try:
        with urllib.request.urlopen(request, timeout=_SECONDS, context=context) as response:  # noqa: S310
            pod: Mapping[str, Json] = json.load(response)
    except (urllib.error.URLError, OSError, ValueError) as error:
        # The runtime tries again: a pod must not start without the capture that it should have.
        raise PluginError(_TRY_AGAIN, f"cannot read pod {namespace}/{name}: {error}") from None
    return pod


def _enter(namespace: str) -> None:
    """Go into a network namespace, with all that is started from here."""
    library = ctypes.CDLL(None, use_errno=True)
    with Path(namespace).open() as handle:
        if library.setns(handle.fileno(), _CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), f"cannot enter {namespace}")


def run() -> None:
    """The plugin as a program."""
    sys.exit(main(os.environ, sys.stdin, sys.stdout))


if __name__ == "__main__":
    run()

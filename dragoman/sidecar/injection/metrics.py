"""Prometheus' annotations: one scrape for the sidecar's metrics and the application's (Istio: applyPrometheusMerge)."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Final, Literal

from crds.codes import problem
from crds.problem import Problem
from dragoman.sidecar.injection.settings import Json
from dragoman.sidecar.status_listener import METRICS_PATH, ApplicationMetrics

_PREFIX: Final = "prometheus.io/"
_KEYS: Final = ("scrape", "port", "path", "scheme")


def written(annotations: Mapping[str, str]) -> Mapping[str, str]:
    """What the author wrote for Prometheus, by the last part of the key."""
    return {key: annotations[_PREFIX + key] for key in _KEYS if _PREFIX + key in annotations}


def merged(annotations: Mapping[str, str], status_port: int) -> dict[str, str]:
    """The annotations with the sidecar as the only thing to scrape."""
    kept = {key: value for key, value in annotations.items() if key.removeprefix(_PREFIX) not in _KEYS}
    ours = {"scrape": "true", "port": str(status_port), "path": METRICS_PATH}
    return {**kept, **{_PREFIX + key: value for key, value in ours.items()}}


def restored(annotations: Mapping[str, str], original: Mapping[str, Json]) -> dict[str, str]:
    """The annotations as they were before `merged`."""
    kept = {key: value for key, value in annotations.items() if key.removeprefix(_PREFIX) not in _KEYS}
    return {**kept, **{_PREFIX + key: value for key, value in original.items()}}


def application(
    original: Mapping[str, str], proxy_ports: Collection[int]
) -> tuple[ApplicationMetrics | None, tuple[Problem, ...]]:
    """Where the application's metrics are, if it has any to scrape; and what is wrong with the annotations.

    An author who names one of the proxy's ports has the proxy's metrics in mind, which are there anyway.
    """
    port = original.get("port", "80")
    if original.get("scrape") != "true" or port in map(str, proxy_ports):
        return None, ()
    if not (port.isascii() and port.isdecimal() and 0 < int(port) < 2**16):
        path = f"metadata.annotations[{_PREFIX}port]"
        return None, (problem("DRG0604", path, f"{port!r} is no port: only the sidecar's own metrics can be scraped"),)
    scheme: Literal["HTTP", "HTTPS"] = "HTTPS" if original.get("scheme") == "https" else "HTTP"
    path = original.get("path") or "/metrics"
    return ApplicationMetrics(int(port), path if path.startswith("/") else f"/{path}", scheme), ()

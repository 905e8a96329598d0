"""Probes of applications, asked for by Envoy: the kubelet has no certificate (Istio: app_probe.go).

HTTP probes are forwarded. Envoy cannot turn connecting, or gRPC's health protocol, into an HTTP answer; it makes such
checks itself from time to time, and the kubelet gets the last result.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Final, Literal

from crds.codes import problem
from crds.problem import Problem
from dragoman.sidecar.injection.settings import Json
from dragoman.sidecar.status_listener import ConnectionProbe, HttpProbe, Probe

_PROBES: Final[Mapping[str, str]] = {"readinessProbe": "readyz", "livenessProbe": "livez", "startupProbe": "startupz"}
_HOOKS: Final[Mapping[str, str]] = {"postStart": "poststartz", "preStop": "prestopz"}
_HANDLERS: Final = ("httpGet", "tcpSocket", "grpc")


@dataclass(frozen=True, slots=True)
class Rewritten:
    """A container with its probes led to the sidecar: what that asks, and the handlers the author wrote, by path."""

    container: Mapping[str, Json]
    probes: tuple[Probe, ...]
    originals: Mapping[str, Json]
    problems: tuple[Problem, ...]


def rewrite(container: Mapping[str, Json], status_port: int, path: str) -> Rewritten:
    """The container, which is at `path` in the pod, with its probes and hooks led to `status_port`."""
    changed, probes, originals, found = dict(container), [], {}, []
    for place, key, owner, route in _handlers(container):
        made = _probe(owner, route, container)
        if isinstance(made, str):
            found.append(problem("DRG0606", f"{path}.{place}", f"stays as it is: {made}"))
            continue
        probes.append(made)
        originals[route] = {key: owner[key] for key in (*_HANDLERS, "timeoutSeconds") if key in owner}
        _replace(changed, place, _to_sidecar(owner, route, status_port))
    return Rewritten(changed, tuple(probes), originals, tuple(found))


def restore(container: Mapping[str, Json], originals: Mapping[str, Json]) -> Mapping[str, Json]:
    """The container as it was before `rewrite`."""
    changed = dict(container)
    for place, _, owner, route in _handlers(container):
        if (owner.get("httpGet") or {}).get("path") == route and route in originals:
            handlers = {key: value for key, value in originals[route].items() if key in _HANDLERS}
            _replace(changed, place, {**_without_handlers(owner), **handlers})
    return changed


def _handlers(container: Mapping[str, Json]) -> Iterator[tuple[str, str, Mapping[str, Json], str]]:
    """Place, kind, handler with its settings, and the path for it at the sidecar, of all that the kubelet may call."""
    name = container.get("name", "")
    for place, end in _PROBES.items():
        owner = container.get(place) or {}
        if any(handler in owner for handler in _HANDLERS):
            yield place, place, owner, f"/app-health/{name}/{end}"
    lifecycle = container.get("lifecycle") or {}
    for hook, end in _HOOKS.items():
        # A tcpSocket in a hook does nothing (Kubernetes API: LifecycleHandler).
        if "httpGet" in (owner := lifecycle.get(hook) or {}):
            yield f"lifecycle.{hook}", hook, owner, f"/app-lifecycle/{name}/{end}"


def _probe(owner: Mapping[str, Json], route: str, container: Mapping[str, Json]) -> Probe | str:
    """What the sidecar is to ask, or why it cannot. Commands are no handlers here: they run in the container."""
    # A hook may take its time: the kubelet ends it with the pod's grace period.
    timeout = timedelta(seconds=owner.get("timeoutSeconds") or 1 if route.startswith("/app-health/") else 0)
    interval = timedelta(seconds=owner.get("periodSeconds") or 10)
    if (http := owner.get("httpGet")) is not None:
        port = _port(http.get("port"), container)
        if http.get("host"):
            return f"it asks {http['host']}, which need not be this pod"
        if port is None:
            return f"there is no port {http.get('port')!r} in the container"
        named = any(header.get("name", "").lower() == "host" for header in http.get("httpHeaders") or ())
        scheme: Literal["HTTP", "HTTPS"] = "HTTPS" if http.get("scheme") == "HTTPS" else "HTTP"
        return HttpProbe(route, port, "/" + (http.get("path") or "").lstrip("/"), scheme, named, timeout)
    if (tcp := owner.get("tcpSocket")) is not None:
        port = _port(tcp.get("port"), container)
        if tcp.get("host"):
            return f"it asks {tcp['host']}, which need not be this pod"
        if port is None:
            return f"there is no port {tcp.get('port')!r} in the container"
        return ConnectionProbe(route, port, None, interval, timeout)
    grpc = owner["grpc"]
    return ConnectionProbe(route, int(grpc["port"]), grpc.get("service") or "", interval, timeout)


def _port(written: Json, container: Mapping[str, Json]) -> int | None:
    if isinstance(written, int):
        return written
    if isinstance(written, str) and written.isdecimal():
        return int(written)
    named = (port for port in container.get("ports") or () if port.get("name") == written)
    return next((int(port["containerPort"]) for port in named), None)


def _to_sidecar(owner: Mapping[str, Json], route: str, status_port: int) -> Mapping[str, Json]:
    http: dict[str, Json] = {"path": route, "port": status_port}
    if headers := (owner.get("httpGet") or {}).get("httpHeaders"):
        http["httpHeaders"] = headers
    return {**_without_handlers(owner), "httpGet": http}


def _without_handlers(owner: Mapping[str, Json]) -> dict[str, Json]:
    return {key: value for key, value in owner.items() if key not in _HANDLERS}


def _replace(container: dict[str, Json], place: str, owner: Mapping[str, Json]) -> None:
    outer, dot, hook = place.partition(".")
    container[outer] = {**container[outer], hook: owner} if dot else owner

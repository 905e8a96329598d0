"""The container `istio-proxy`: upstream's Envoy image as it is, and nothing else in it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import timedelta
from typing import Final

from dragoman.mesh.proxy_id import ProxyType
from dragoman.sidecar.envoy import LOG_FORMAT
from dragoman.sidecar.injection import credentials, variables
from dragoman.sidecar.injection.options import PROMETHEUS_PORT, READINESS_PORT, Options
from dragoman.sidecar.injection.settings import InjectionSettings, Json

PROXY: Final = "istio-proxy"
PROXY_ID: Final = 1337
PROBERS: Final = "ISTIO_KUBE_APP_PROBERS"
PROMETHEUS: Final = "ISTIO_PROMETHEUS_ANNOTATIONS"

_ENVOY: Final = "/usr/local/bin/envoy"  # where upstream's images, all of them, have it
_CUSTOM_BOOTSTRAP: Final = "/etc/istio/custom-bootstrap"
_STARTUP_FAILURES: Final = 600  # at one a second (Istio: global.proxy.startupProbe)


def proxy_container(
    kind: ProxyType,
    bootstrap: str,
    drain_path: str,
    options: Options,
    settings: InjectionSettings,
    originals: Mapping[str, Json],
) -> dict[str, Json]:
    """The container. `originals` are variables that keep what injection changed elsewhere in the pod."""
    container: dict[str, Json] = {
        "name": PROXY,
        "image": options.image,
        "command": [_ENVOY],
        "args": _arguments(bootstrap, options),
        "env": [
            *variables.environment(),
            *({"name": name, "value": value} for name, value in options.config.proxy_metadata.items()),
            *({"name": name, "value": json.dumps(value)} for name, value in originals.items()),
        ],
        "ports": [{"name": "http-envoy-prom", "containerPort": PROMETHEUS_PORT, "protocol": "TCP"}],
        "resources": dict(options.resources),
        "securityContext": security_context(kind, options),
        "volumeMounts": [*credentials.mounts(), *_own_mounts(options)],
    }
    if settings.image_pull_policy:
        container["imagePullPolicy"] = settings.image_pull_policy
    if options.status_port:
        container |= _probes(options)
        lifecycle = {"preStop": {"httpGet": {"path": drain_path, "port": options.status_port}}}
        if kind is ProxyType.SIDECAR and waits(options):
            lifecycle["postStart"] = {"exec": {"command": ["/bin/bash", "-c", _WAIT]}}
        container["lifecycle"] = lifecycle
    if kind is ProxyType.SIDECAR and options.native:
        container["restartPolicy"] = "Always"
    return container


def volumes(options: Options, settings: InjectionSettings) -> list[Json]:
    """The volumes that the container mounts."""
    made = credentials.volumes(settings)
    if options.bootstrap_override:
        made.append({"name": "custom-bootstrap-volume", "configMap": {"name": options.bootstrap_override}})
    return [*made, *({"name": name, **source} for name, source in options.volumes.items())]


def drain_delay(kind: ProxyType, options: Options) -> timedelta:
    """How long the kubelet's hook holds Envoy back from its end.

    A native sidecar ends after the application anyway (Kubernetes: "Sidecar Containers", termination); others are told
    to end when the application is, and clients need time to leave (Istio: ProxyConfig.terminationDrainDuration).
    """
    native = kind is ProxyType.SIDECAR and options.native
    return timedelta() if native else options.config.termination_drain_duration


def waits(options: Options) -> bool:
    """Whether the container's start is held up until Envoy is ready, which native sidecars leave to their probe."""
    hold = options.config.hold_application_until_proxy_starts
    return hold and not options.native and "distroless" not in options.image


def security_context(kind: ProxyType, options: Options) -> dict[str, Json]:
    """As little as Kubernetes' "restricted" level of pod security allows; with TPROXY root with one capability.

    That is to bind to clients' addresses, and Kubernetes gives capabilities to nobody but root. The rules of capture
    know it by its group then (Istio: injection template, "securityContext").
    """
    transparent = kind is ProxyType.SIDECAR and options.interception == "TPROXY"
    return {
        "allowPrivilegeEscalation": False,
        "capabilities": {"add": ["NET_ADMIN"], "drop": ["ALL"]} if transparent else {"drop": ["ALL"]},
        "privileged": False,
        "readOnlyRootFilesystem": True,
        "runAsGroup": PROXY_ID,
        "runAsNonRoot": not transparent,
        "runAsUser": 0 if transparent else PROXY_ID,
        "seccompProfile": {"type": "RuntimeDefault"},
    }


_WAIT: Final = f"until {{ true <>/dev/tcp/$INSTANCE_IP/{READINESS_PORT}; }} 2>/dev/null; do sleep 0.1; done"
"""The port takes connections from the moment on when Envoy has its first configuration."""


def _arguments(bootstrap: str, options: Options) -> list[str]:
    drain = max(1, round(options.config.drain_duration.total_seconds()))
    arguments = [
        "--config-yaml", bootstrap,
        "--drain-time-s", str(drain),
        "--drain-strategy", "immediate",
        "--disable-hot-restart",
        "--log-level", {"warn": "warning"}.get(options.log_level, options.log_level),
        "--log-format", LOG_FORMAT,
    ]  # fmt: skip
    if options.component_log_level:
        arguments += ["--component-log-level", options.component_log_level]
    if options.concurrency:
        arguments += ["--concurrency", str(options.concurrency)]
    if options.bootstrap_override:
        arguments += ["--config-path", f"{_CUSTOM_BOOTSTRAP}/custom_bootstrap.json"]
    return arguments


def _own_mounts(options: Options) -> list[Json]:
    made: list[Json] = [{"name": name, **mount} for name, mount in options.mounts.items()]
    if options.bootstrap_override:
        made.append({"name": "custom-bootstrap-volume", "mountPath": _CUSTOM_BOOTSTRAP, "readOnly": True})
    return made


def _probes(options: Options) -> dict[str, Json]:
    ready = {"httpGet": {"path": "/healthz/ready", "port": READINESS_PORT}}
    return {
        "readinessProbe": {
            **ready,
            "initialDelaySeconds": options.readiness.initial_delay_seconds,
            "periodSeconds": options.readiness.period_seconds,
            "timeoutSeconds": 3,
            "failureThreshold": options.readiness.failure_threshold,
        },
        "startupProbe": {**ready, "periodSeconds": 1, "timeoutSeconds": 3, "failureThreshold": _STARTUP_FAILURES},
    }

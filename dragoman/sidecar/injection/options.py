"""What the sidecar of one pod is to be: annotations before ProxyConfig before the injector's settings."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Final, cast

from crds.codes import problem
from crds.duration import Duration
from crds.meshproxyconfig import MeshProxyConfig
from crds.problem import Invalid, Problem, Severity
from dragoman.sidecar.injection import annotations as known
from dragoman.sidecar.injection.annotations import INTERCEPTION, READINESS, SIDECAR, STATUS_PORT, TRAFFIC
from dragoman.sidecar.injection.proxy_config import proxy_config
from dragoman.sidecar.injection.settings import InjectionSettings, Json
from dragoman.sidecar.injection.values import items
from dragoman.sidecar.node import InterceptionMode
from dragoman.sidecar.statistics import Statistics

READINESS_PORT: Final = 15021
PROMETHEUS_PORT: Final = 15090
_CORES: Final = 2  # threads where nothing says how many (Istio's default for proxies without a limit was the same)
_OF_AGENTS: Final = frozenset(
    (
        "BOOTSTRAP_XDS_AGENT",
        "CREDENTIAL_FETCHER_TYPE",
        "DISABLE_ENVOY",
        "EXIT_ON_ZERO_ACTIVE_CONNECTIONS",
        "ISTIO_META_DNS_AUTO_ALLOCATE",
        "ISTIO_META_DNS_CAPTURE",
        "MINIMUM_DRAIN_DURATION",
        "OUTPUT_CERTS",
        "PROXY_CONFIG_XDS_AGENT",
        "SECRET_GRACE_PERIOD_RATIO",
        "SECRET_TTL",
        "WORKLOAD_RSA_KEY_SIZE",
    )
)
"""Variables that Istio's agent reads (Istio: pilot-agent's environment variables)."""
_SUFFIXES: Final = {"m": 0.001, "k": 1e3, "": 1.0}


@dataclass(frozen=True, slots=True)
class Capture:
    """What of a pod's traffic goes through the sidecar, as the annotations write it (Istio: istio-init's arguments)."""

    include_outbound_ranges: str
    exclude_outbound_ranges: str
    include_inbound_ports: str
    exclude_inbound_ports: str
    include_outbound_ports: str
    exclude_outbound_ports: str
    exclude_interfaces: str
    reroute_interfaces: str


@dataclass(frozen=True, slots=True)
class Readiness:
    """The readiness probe's numbers; Istio's defaults."""

    initial_delay_seconds: int = 0
    period_seconds: int = 15
    failure_threshold: int = 4


@dataclass(frozen=True, slots=True)
class Options:
    """One pod's sidecar. `status_port` 0: neither readiness nor rewritten probes nor merged metrics."""

    config: MeshProxyConfig
    image: str
    resources: Mapping[str, Json]
    interception: InterceptionMode
    capture: Capture
    discovery_address: str
    concurrency: int
    log_level: str
    component_log_level: str
    native: bool
    rewrite_probes: bool
    merge_metrics: bool
    status_port: int
    readiness: Readiness
    statistics: Statistics
    bootstrap_override: str
    volumes: Mapping[str, Json]
    mounts: Mapping[str, Json]


def options(
    labels: Mapping[str, str], annotations: Mapping[str, str], namespace: str, settings: InjectionSettings
) -> tuple[Options, tuple[Problem, ...]]:
    """The options of a pod, and warnings. Raises Invalid with every error at once."""
    found = list(known.problems(annotations, labels))
    config = MeshProxyConfig()
    try:
        config, warnings = proxy_config(labels, annotations, namespace, settings)
        found += warnings
    except Invalid as error:
        found += error.problems
    if any(each.severity is Severity.ERROR for each in found):
        raise Invalid(tuple(found))
    made = _options(annotations, config, settings)
    found += _in_vain(config)
    if config.hold_application_until_proxy_starts and not made.native and "distroless" in made.image:
        found.append(
            problem(
                "DRG0604",
                "holdApplicationUntilProxyStarts",
                "Envoy's distroless image has nothing to wait with, so the application does not wait",
                "let the sidecar be a native one, or set image.imageType: default",
            )
        )
    return made, tuple(found)


def _in_vain(config: MeshProxyConfig) -> Iterator[Problem]:
    for name in _OF_AGENTS & config.proxy_metadata.keys():
        yield problem("DRG0602", f"proxyMetadata.{name}", "no effect: it is for an agent, and there is none in the pod")


def _options(annotations: Mapping[str, str], config: MeshProxyConfig, settings: InjectionSettings) -> Options:
    def of(key: str, default: str = "") -> str:
        return annotations.get(f"{SIDECAR}{key}", default)

    def switch(key: str, default: bool) -> bool:
        return annotations.get(key, str(default).lower()) == "true"

    resources = _resources(annotations, settings)
    return Options(
        config=config,
        image=of("proxyImage") or _image(of("proxyImageType") or _image_type(config), settings.proxy_image),
        resources=resources,
        interception=cast("InterceptionMode", annotations.get(INTERCEPTION, config.interception_mode.value)),
        capture=_capture(annotations, settings),
        discovery_address=of("discoveryAddress", settings.discovery_address or config.discovery_address),
        concurrency=_concurrency(config.concurrency, resources),
        log_level=of("logLevel", settings.log_level),
        component_log_level=of("componentLogLevel", settings.component_log_level),
        native=switch(f"{SIDECAR}nativeSidecar", settings.native_sidecars),
        rewrite_probes=switch(f"{SIDECAR}rewriteAppHTTPProbers", settings.rewrite_probes),
        merge_metrics=switch(known.MERGE_METRICS, settings.mesh.enable_prometheus_merge),
        status_port=int(annotations.get(STATUS_PORT, config.status_port)),
        readiness=_readiness(annotations),
        statistics=_statistics(annotations, config),
        bootstrap_override=of("bootstrapOverride"),
        volumes=json.loads(of("userVolume", "{}")),
        mounts=json.loads(of("userVolumeMount", "{}")),
    )


def _image_type(config: MeshProxyConfig) -> str:
    return (config.image.image_type if config.image is not None else "") or ""


def _image(kind: str, image: str) -> str:
    """The image of this kind: Envoy's tags begin with it, the plain one's with nothing (Docker Hub: envoyproxy/envoy).

    A digest is one image, of whatever kind it is.
    """
    repository, colon, tag = image.rpartition(":")
    if not kind or "@" in image or not colon or "/" in tag:
        return image
    for prefix in ("distroless-", "debug-"):
        tag = tag.removeprefix(prefix)
    return f"{repository}:{'' if kind == 'default' else f'{kind}-'}{tag}"


def _resources(annotations: Mapping[str, str], settings: InjectionSettings) -> Mapping[str, Json]:
    """One annotation of the four takes the place of all settings (Istio: injection template, "resources")."""
    keys = ("proxyCPU", "proxyMemory", "proxyCPULimit", "proxyMemoryLimit")
    written = tuple(annotations.get(f"{SIDECAR}{key}", "") for key in keys)
    given = settings.resources
    cpu, memory, cpu_limit, memory_limit = (
        written if any(written) else (given.cpu, given.memory, given.cpu_limit, given.memory_limit)
    )
    return {
        kind: amounts
        for kind, amounts in (
            ("limits", _amounts(cpu_limit, memory_limit)),
            ("requests", _amounts(cpu, memory)),
        )
        if amounts
    }


def _amounts(cpu: str, memory: str) -> Mapping[str, str]:
    return {key: value for key, value in (("cpu", cpu), ("memory", memory)) if value}


def _concurrency(written: int | None, resources: Mapping[str, Json]) -> int:
    """Envoy's threads; 0 is one per core of the node. Unset, as many as the CPU limit has cores, rounded up."""
    if written is not None:
        return written
    limit = str(resources.get("limits", {}).get("cpu", ""))
    number, suffix = (limit[:-1], limit[-1]) if limit[-1:] in ("m", "k") else (limit, "")
    try:
        return max(1, math.ceil(float(number) * _SUFFIXES[suffix]))
    except ValueError:
        return _CORES


def _capture(annotations: Mapping[str, str], settings: InjectionSettings) -> Capture:
    def of(key: str, default: str = "") -> str:
        return ",".join(items(annotations.get(f"{TRAFFIC}{key}", default)))

    return Capture(
        include_outbound_ranges=of("includeOutboundIPRanges", settings.include_outbound_ranges),
        exclude_outbound_ranges=of("excludeOutboundIPRanges", settings.exclude_outbound_ranges),
        include_inbound_ports=of("includeInboundPorts", settings.include_inbound_ports),
        exclude_inbound_ports=of("excludeInboundPorts", settings.exclude_inbound_ports),
        include_outbound_ports=of("includeOutboundPorts", settings.include_outbound_ports),
        exclude_outbound_ports=of("excludeOutboundPorts", settings.exclude_outbound_ports),
        exclude_interfaces=of("excludeInterfaces"),
        reroute_interfaces=",".join(items(annotations.get(known.REROUTE, of("kubevirtInterfaces")))),
    )


def _readiness(annotations: Mapping[str, str]) -> Readiness:
    default = Readiness()
    return Readiness(
        int(annotations.get(f"{READINESS}initialDelaySeconds", default.initial_delay_seconds)),
        int(annotations.get(f"{READINESS}periodSeconds", default.period_seconds)),
        int(annotations.get(f"{READINESS}failureThreshold", default.failure_threshold)),
    )


def _statistics(annotations: Mapping[str, str], config: MeshProxyConfig) -> Statistics:
    matcher = config.proxy_stats_matcher

    def names(key: str, default: tuple[str, ...]) -> tuple[str, ...]:
        written = annotations.get(f"{SIDECAR}statsInclusion{key}")
        return default if written is None else items(written)

    def span(key: str) -> timedelta | None:
        written = annotations.get(f"{SIDECAR}{key}")
        return None if written is None else Duration.parse(written)

    buckets = json.loads(annotations.get(f"{SIDECAR}statsHistogramBuckets", "{}"))
    return Statistics(
        prefixes=names("Prefixes", matcher.inclusion_prefixes),
        suffixes=names("Suffixes", matcher.inclusion_suffixes),
        regexes=names("Regexps", matcher.inclusion_regexps),
        buckets={prefix: tuple(bounds) for prefix, bounds in buckets.items()},
        bins=json.loads(annotations.get(f"{SIDECAR}statsHistogramBins", "{}")),
        flush_interval=span("statsFlushInterval"),
        eviction_interval=span("statsEvictionInterval"),
    )

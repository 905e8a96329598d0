"""Istio's annotations and labels for pods with sidecars: which there are, what their values may be, what they do here.

Nothing written in vain goes unsaid: what is misspelt is an error, what has no effect a warning (Istio API: annotation
and label reference; Istio: pkg/kube/inject/validate.go for the values).
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from typing import Final

from crds.codes import problem
from crds.problem import Problem
from dragoman.sidecar.injection import values

READINESS: Final = "readiness.status.sidecar.istio.io/"
TRAFFIC: Final = "traffic.sidecar.istio.io/"
SIDECAR: Final = "sidecar.istio.io/"
INTERCEPTION: Final = f"{SIDECAR}interceptionMode"
STATUS: Final = "sidecar.istio.io/status"
STATUS_PORT: Final = "status.sidecar.istio.io/port"
PROXY_CONFIG: Final = "proxy.istio.io/config"
OVERRIDES: Final = "proxy.istio.io/overrides"
TEMPLATES: Final = "inject.istio.io/templates"
MERGE_METRICS: Final = "prometheus.istio.io/merge-metrics"
REROUTE: Final = "istio.io/reroute-virtual-interfaces"

CHECKS: Final[Mapping[str, values.Check]] = {
    f"{SIDECAR}rewriteAppHTTPProbers": values.boolean,
    f"{SIDECAR}discoveryAddress": values.address,
    f"{SIDECAR}proxyImage": values.filled,
    f"{SIDECAR}proxyImageType": values.one_of("default", "debug", "distroless"),
    f"{SIDECAR}proxyCPU": values.quantity,
    f"{SIDECAR}proxyCPULimit": values.quantity,
    f"{SIDECAR}proxyMemory": values.quantity,
    f"{SIDECAR}proxyMemoryLimit": values.quantity,
    INTERCEPTION: values.one_of("REDIRECT", "TPROXY", "NONE"),
    f"{SIDECAR}bootstrapOverride": values.name,
    f"{SIDECAR}statsInclusionPrefixes": values.anything,
    f"{SIDECAR}statsInclusionSuffixes": values.anything,
    f"{SIDECAR}statsInclusionRegexps": values.anything,
    f"{SIDECAR}statsHistogramBuckets": values.buckets,
    f"{SIDECAR}statsHistogramBins": values.bins,
    f"{SIDECAR}statsFlushInterval": values.duration,
    f"{SIDECAR}statsEvictionInterval": values.duration,
    f"{SIDECAR}userVolume": values.json_map,
    f"{SIDECAR}userVolumeMount": values.json_map,
    f"{SIDECAR}logLevel": values.log_level,
    f"{SIDECAR}componentLogLevel": values.component_levels,
    f"{SIDECAR}nativeSidecar": values.boolean,
    STATUS_PORT: values.port,
    f"{READINESS}initialDelaySeconds": values.natural,
    f"{READINESS}periodSeconds": values.natural,
    f"{READINESS}failureThreshold": values.natural,
    f"{TRAFFIC}includeOutboundIPRanges": values.ranges_or_all,
    f"{TRAFFIC}excludeOutboundIPRanges": values.ranges,
    f"{TRAFFIC}includeInboundPorts": values.ports_or_all,
    f"{TRAFFIC}excludeInboundPorts": values.ports,
    f"{TRAFFIC}includeOutboundPorts": values.ports_or_all,
    f"{TRAFFIC}excludeOutboundPorts": values.ports,
    f"{TRAFFIC}excludeInterfaces": values.interfaces,
    f"{TRAFFIC}kubevirtInterfaces": values.interfaces,
    REROUTE: values.interfaces,
    MERGE_METRICS: values.boolean,
}
"""Annotations that have an effect, and what their values may be."""

_ELSEWHERE: Final = frozenset(
    (
        f"{SIDECAR}inject",  # decision.py
        STATUS,  # ours
        OVERRIDES,  # ours
        PROXY_CONFIG,  # proxy_config.py
        TEMPLATES,  # templates.py
    )
)

_WITHOUT_EFFECT: Final[Mapping[str, str]] = {
    f"{SIDECAR}agentLogLevel": "there is no agent in the pod",
    f"{SIDECAR}capNetBindService": "Envoy's image gives its binary no capability; let the pod's sysctl "
    "net.ipv4.ip_unprivileged_port_start open low ports",
    f"{SIDECAR}controlPlaneAuthPolicy": "Istio dropped it: the control plane is always authenticated",
    f"{SIDECAR}extraStatTags": "metrics have exactly Istio's standard labels",
    f"{SIDECAR}statsCompression": "Envoy's own admin interface, which serves the metrics, does not compress them",
    f"{READINESS}applicationPorts": "Istio dropped it: readiness of the application is the application's",
    "ambient.istio.io/redirection": "it is for pods without a sidecar",
    "ambient.istio.io/bypass-inbound-capture": "it is for pods without a sidecar",
}

_LABELS_WITHOUT_EFFECT: Final[Mapping[str, Mapping[str, str]]] = {
    "networking.istio.io/tunnel": {"http": "tunnels (HBONE) are not offered"},
    "istio.io/dataplane-mode": {"ambient": "this pod has a sidecar"},
}

_PREFIXES: Final = (SIDECAR, TRAFFIC, READINESS, "status.sidecar.istio.io/", "proxy.istio.io/", "inject.istio.io/")


def problems(annotations: Mapping[str, str], labels: Mapping[str, str]) -> Iterator[Problem]:
    """What is wrong with the annotations and labels of a pod that gets a sidecar."""
    for key, value in annotations.items():
        path = f"metadata.annotations[{key}]"
        if key in CHECKS:
            if (wrong := CHECKS[key](value)) is not None:
                yield problem("DRG0601", path, wrong)
        elif key in _WITHOUT_EFFECT:
            yield problem("DRG0602", path, f"no effect: {_WITHOUT_EFFECT[key]}")
        elif key.startswith(_PREFIXES) and key not in _ELSEWHERE:
            similar = difflib.get_close_matches(key, [*CHECKS, *_ELSEWHERE], 1)
            yield problem("DRG0603", path, "unknown annotation", f"did you mean {similar[0]}?" if similar else "")
    for key, meanings in _LABELS_WITHOUT_EFFECT.items():
        if (why := meanings.get(labels.get(key, ""))) is not None:
            yield problem("DRG0602", f"metadata.labels[{key}]", f"no effect: {why}")
    inject = labels.get(f"{SIDECAR}inject", annotations.get(f"{SIDECAR}inject", "true"))
    if inject not in ("true", "false"):
        yield problem("DRG0603", f"{SIDECAR}inject", f"{inject!r} is neither true nor false: taken as not written")

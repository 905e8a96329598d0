"""What the injector is told besides the pod: by the mesh, by whoever installed it, by the pod's namespace."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from crds.labelselector import LabelSelector
from crds.meshconfig import MeshConfig
from crds.proxyconfig import ProxyConfig

Json = Any
"""A JSON value, as `json.loads` gives it."""

IGNORED_NAMESPACES: Final = frozenset(("kube-system", "kube-public", "kube-node-lease", "local-path-storage"))
"""Namespaces that never get sidecars (Istio: pkg/kube/inject, IgnoredNamespaces)."""

ENVOY_IMAGE: Final = "envoyproxy/envoy:distroless-v1.40.0"
"""Upstream's image as it is: Envoy, its CA certificates, and no shell."""


@dataclass(frozen=True, slots=True)
class NamespaceFacts:
    """The namespace that a pod is to live in.

    `labels` of None: whoever asks has looked at them already, as the API server does with a webhook's selectors.
    """

    name: str
    labels: Mapping[str, str] | None = None


@dataclass(frozen=True, slots=True)
class ProxyResources:
    """CPU and memory of the sidecar as Kubernetes writes quantities, "" for none (Istio: global.proxy.resources)."""

    cpu: str = "100m"
    memory: str = "128Mi"
    cpu_limit: str = "2000m"
    memory_limit: str = "1024Mi"


@dataclass(frozen=True, slots=True)
class InjectionSettings:
    """One control plane's way of injecting.

    `drain_secret` makes the path unguessable at which the kubelet, and nobody else on the network, asks a proxy to
    drain: it stays in the pod, so replicas may differ. `revision` and `tags` are the values of `istio.io/rev` that mean
    this control plane. `templates` are overlays for pods by name, merged strategically after the built-in `sidecar` or
    `gateway`, when `default_templates` or the annotation `inject.istio.io/templates` names them. `capture_image` holds
    the `dragoman` command; with `cni` the node's CNI plugin captures, and pods need no privileges. `cluster_domain` is
    the cluster's DNS domain.
    """

    drain_secret: bytes
    mesh: MeshConfig = field(default_factory=MeshConfig)
    proxy_configs: tuple[ProxyConfig, ...] = ()
    revision: str = "default"
    tags: frozenset[str] = frozenset()
    policy: Literal["enabled", "disabled"] = "enabled"
    never_inject: tuple[LabelSelector, ...] = ()
    always_inject: tuple[LabelSelector, ...] = ()
    ignored_namespaces: frozenset[str] = IGNORED_NAMESPACES
    default_templates: tuple[str, ...] = ("sidecar",)
    templates: Mapping[str, Mapping[str, Json]] = field(default_factory=dict)
    injected_annotations: Mapping[str, str] = field(default_factory=dict)
    proxy_image: str = ENVOY_IMAGE
    capture_image: str = "dragoman:latest"
    image_pull_policy: str = ""
    image_pull_secrets: tuple[str, ...] = ()
    resources: ProxyResources = field(default_factory=ProxyResources)
    native_sidecars: bool = True
    cni: bool = False
    rewrite_probes: bool = True
    capture_backend: Literal["auto", "iptables", "nftables"] = "auto"
    include_outbound_ranges: str = "*"
    exclude_outbound_ranges: str = ""
    include_inbound_ports: str = "*"
    exclude_inbound_ports: str = ""
    include_outbound_ports: str = ""
    exclude_outbound_ports: str = ""
    discovery_address: str = ""
    """`host:port` of the control plane; "" is what MeshConfig says, whose default is Istio's."""
    cluster_id: str = "Kubernetes"
    network: str = ""
    cluster_domain: str = "cluster.local"
    log_level: str = "warning"
    component_log_level: str = ""
    root_certificate: str = "istio-ca-root-cert"
    """Name of the ConfigMap in each namespace that has the roots under `root-cert.pem`."""
    token_audience: str = "istio-ca"  # noqa: S105 - of a token, not a token

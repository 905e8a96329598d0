"""Proxies: who is connected, and which views it gets.

A view key holds interned facets and nothing else reaches a translator, so a key can never be incomplete. Outbound
views are shared by namespaces and scopes, inbound views by classes of workloads: a thousand pods of a Deployment are
one view. What a proxy is comes from its pod and the mesh's objects, never from metadata that the proxy claims.
"""

from __future__ import annotations

from typing import NamedTuple

import yaml

from crds.meshconfig import OutboundTrafficPolicyMode as MeshOutboundMode
from crds.sidecar import OutboundTrafficPolicyMode, Sidecar
from dragoman.engine import Graph, consult, query
from dragoman.mesh.captured_by import CAPTURED_BY
from dragoman.mesh.families import Families
from dragoman.mesh.hosts import resolve
from dragoman.mesh.inputs import DESTINATION_RULE_LABEL_KEYS, GATEWAYS, SIDECARS, SOURCE_LABEL_KEYS, chosen
from dragoman.mesh.labels import Labels, projected, selects
from dragoman.mesh.policies import policy_label_keys
from dragoman.mesh.proxy_id import ProxyType
from dragoman.mesh.services import EVERYTHING, Egress
from dragoman.mesh.settings import mesh_config, root_namespace
from dragoman.mesh.workloads import Interception, workload


class OutboundView(NamedTuple):
    """What is outside a proxy: clusters, endpoints, routes and listeners towards other services."""

    type: ProxyType
    namespace: str
    egress: Egress
    allow_any: bool
    """Whether unknown destinations pass (ALLOW_ANY) or are refused (REGISTRY_ONLY)."""
    mode: Interception
    labels: Labels
    """Only labels that sourceLabels or a rule's workloadSelector read."""
    families: Families | None
    """What its listeners are for; None where it has none, as all else is the same for everybody."""


class InboundView(NamedTuple):
    """What is inside a sidecar: its listeners for and clusters to the application."""

    namespace: str
    labels: Labels
    service_account: str
    ports: tuple[tuple[str, int], ...]
    mode: Interception
    families: Families
    bind: tuple[str, ...]
    """The workload's own addresses where nothing captures traffic and the proxy must bind them; empty otherwise."""
    http_proxy_port: int
    """Port of the HTTP proxy listener, 0 for none (Istio: MeshConfig.proxyHttpPort, HTTP_PROXY_PORT)."""


class GatewayView(NamedTuple):
    """The listeners and routes of a gateway proxy."""

    namespace: str
    labels: Labels
    service_account: str
    ports: tuple[tuple[str, int], ...]
    bind: tuple[str, ...]
    """Where servers listen that do not say it: all addresses of the workload's families, or its own ones."""


View = OutboundView | InboundView | GatewayView


@query
def sidecar_of(g: Graph, namespace: str, labels: Labels) -> Sidecar | None:
    """The Sidecar resource of a workload: by selector, else of the namespace, else of the root namespace, oldest first
    (Istio: pilot/pkg/model/push_context.go, getSidecarScope)."""
    own = consult(g, SIDECARS, namespace)
    for sidecar in own:
        selector = sidecar.spec.workload_selector
        if selector is not None and selector.labels and selects(selector.labels, labels):
            return chosen(g, sidecar)
    for level in dict.fromkeys((namespace, root_namespace(g))):
        for sidecar in consult(g, SIDECARS, level):
            if sidecar.spec.workload_selector is None or not sidecar.spec.workload_selector.labels:
                return chosen(g, sidecar)
    return None


@query
def egress_of(g: Graph, namespace: str, labels: Labels) -> Egress:
    """What a workload may see, made canonical so that scopes that admit the same are one facet."""
    sidecar = sidecar_of(g, namespace, labels)
    if sidecar is None or not sidecar.spec.egress:
        return EVERYTHING
    pairs = set()
    for listener in sidecar.spec.egress:
        for host in listener.hosts:
            scope, _, pattern = host.partition("/")
            if scope == "~":
                continue
            scope = namespace if scope == "." else scope
            pairs.add((scope, resolve(pattern, scope if scope != "*" else namespace)))
    return EVERYTHING if ("*", "*") in pairs else tuple(sorted(pairs))


@query
def allows_any(g: Graph, namespace: str, labels: Labels) -> bool:
    """Whether traffic to unknown destinations passes: the Sidecar resource, else the mesh."""
    sidecar = sidecar_of(g, namespace, labels)
    policy = sidecar.spec.outbound_traffic_policy if sidecar is not None else None
    if policy is not None and policy.mode is not None:
        return policy.mode is not OutboundTrafficPolicyMode.REGISTRY_ONLY
    return mesh_config(g).outbound_traffic_policy.mode is not MeshOutboundMode.REGISTRY_ONLY


@query
def proxy_settings(g: Graph, namespace: str, pod: str) -> tuple[Interception, int]:
    """Interception mode and HTTP proxy port of a pod's sidecar.

    Read from the pod's annotations (`CAPTURED_BY`, `sidecar.istio.io/interceptionMode`, `proxy.istio.io/config`), else
    from the mesh's `defaultConfig` and `proxyHttpPort`: not from what the proxy claims of itself.
    """
    found = workload(g, namespace, pod)
    mesh = mesh_config(g)
    annotations = dict(found.annotations) if found is not None else {}
    config = yaml.safe_load(annotations.get("proxy.istio.io/config", "")) or {}
    default = mesh.default_config.interception_mode
    asked = annotations.get("sidecar.istio.io/interceptionMode")
    mode = annotations.get(CAPTURED_BY) or asked or config.get("interceptionMode") or default
    metadata = config.get("proxyMetadata") or {}
    port = metadata.get("HTTP_PROXY_PORT") or metadata.get("ISTIO_META_HTTP_PROXY_PORT") or mesh.proxy_http_port
    return Interception(str(mode or Interception.REDIRECT).upper()), int(port or 0)


@query
def gateway_label_keys(g: Graph) -> frozenset[str]:
    """Label keys that some Gateway's selector reads."""
    return frozenset(key for gateway in consult(g, GATEWAYS, None) for key in gateway.spec.selector)


@query
def views_of(g: Graph, kind: ProxyType, namespace: str, pod: str) -> tuple[View, ...]:
    """The views of a pod's proxy, none for a pod that does not exist."""
    found = workload(g, namespace, pod)
    if found is None:
        return ()
    mode, http_proxy_port = proxy_settings(g, namespace, pod)
    rules = (*SOURCE_LABEL_KEYS(g, None), *DESTINATION_RULE_LABEL_KEYS(g, namespace))
    outbound_labels = projected(found.labels, rules)
    families = Families.of(found.addresses)
    captured = mode is not Interception.NONE
    seen = projected(found.labels, policy_label_keys(g, namespace))
    if kind is ProxyType.ROUTER:
        keys = (*gateway_label_keys(g), *policy_label_keys(g, namespace), *rules)
        return (
            OutboundView(kind, namespace, EVERYTHING, False, Interception.NONE, outbound_labels, None),
            GatewayView(
                namespace,
                projected(found.labels, keys),
                found.service_account,
                found.ports,
                families.wildcards if captured else found.addresses,
            ),
        )
    return (
        OutboundView(
            kind,
            namespace,
            egress_of(g, namespace, seen),
            allows_any(g, namespace, seen),
            mode,
            outbound_labels,
            families if captured else None,
        ),
        InboundView(
            namespace,
            seen,
            found.service_account,
            found.ports,
            mode,
            families,
            () if captured else found.addresses,
            http_proxy_port,
        ),
    )

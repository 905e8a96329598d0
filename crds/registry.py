"""Every kind we decode, by the names that documents use."""

from collections.abc import Mapping
from typing import TypeAlias

from crds import kubernetes
from crds.authorizationpolicy import AuthorizationPolicy
from crds.destinationrule import DestinationRule
from crds.envoyfilter import EnvoyFilter
from crds.gateway import Gateway
from crds.meta import IstioObject, KubernetesObject
from crds.peerauthentication import PeerAuthentication
from crds.proxyconfig import ProxyConfig
from crds.requestauthentication import RequestAuthentication
from crds.serviceentry import ServiceEntry
from crds.sidecar import Sidecar
from crds.telemetry import Telemetry
from crds.trafficextension import TrafficExtension
from crds.virtualservice import VirtualService
from crds.wasmplugin import WasmPlugin
from crds.workloadentry import WorkloadEntry
from crds.workloadgroup import WorkloadGroup

Kind: TypeAlias = type[IstioObject] | type[KubernetesObject]

ISTIO_KINDS: Mapping[str, type[IstioObject]] = {
    kind.__name__: kind
    for kind in (
        VirtualService,
        DestinationRule,
        Gateway,
        ServiceEntry,
        Sidecar,
        WorkloadEntry,
        WorkloadGroup,
        EnvoyFilter,
        ProxyConfig,
        AuthorizationPolicy,
        PeerAuthentication,
        RequestAuthentication,
        Telemetry,
        WasmPlugin,
        TrafficExtension,
    )
}

KUBERNETES_KINDS: Mapping[str, type[KubernetesObject]] = {
    kind.__name__: kind
    for kind in (
        kubernetes.Service,
        kubernetes.EndpointSlice,
        kubernetes.Endpoints,
        kubernetes.Pod,
        kubernetes.Namespace,
        kubernetes.Node,
        kubernetes.ServiceAccount,
        kubernetes.Secret,
        kubernetes.ConfigMap,
        kubernetes.ClusterTrustBundle,
        kubernetes.Ingress,
        kubernetes.IngressClass,
    )
}

KINDS: Mapping[str, Kind] = {**ISTIO_KINDS, **KUBERNETES_KINDS}
ISTIO_GROUPS = frozenset(kind.resource.group for kind in ISTIO_KINDS.values())

"""The input cells of the mesh: what queries look up, not one cell per object.

A change of one object touches only the cells it stands in, and reading an absent key is a read too: a host lookup that
finds no VirtualService is invalidated by the one that appears later. Cells that hold several objects keep them in
Istio's order, oldest first (Istio: pilot/pkg/model/config.go, configCompareByCreationTime).
"""

from __future__ import annotations

import enum
from typing import TypeVar

from crds.authorizationpolicy import AuthorizationPolicy
from crds.destinationrule import DestinationRule
from crds.gateway import Gateway
from crds.kubernetes.configmap import ConfigMap
from crds.kubernetes.endpoints import Endpoints
from crds.kubernetes.endpointslice import EndpointSlice
from crds.kubernetes.namespace import Namespace
from crds.kubernetes.node import Node
from crds.kubernetes.pod import Pod
from crds.kubernetes.service import Service
from crds.meta import IstioObject, ObjectKey
from crds.peerauthentication import PeerAuthentication
from crds.requestauthentication import RequestAuthentication
from crds.sidecar import Sidecar
from crds.virtualservice import VirtualService
from dragoman.engine import Graph, Input


class KeyFetcher(enum.StrEnum):
    """Who fetches the keys of token issuers (Istio: PILOT_JWT_ENABLE_REMOTE_JWKS)."""

    CONTROL_PLANE = "control-plane"
    HYBRID = "hybrid"
    """Envoy where the keys are at a service of the mesh, the control plane elsewhere."""
    ENVOY = "envoy"
    """Envoy, and nobody where it cannot."""


OBJECTS = Input[ObjectKey, IstioObject | None]("object", default=None)
"""Each Istio object by itself. Cells that hold several are only consulted; who picks one reads it here, so that
provenance names the objects that were picked and no others."""

MESH_CONFIG_MAP = Input[None, ConfigMap | None]("mesh config map", default=None)

NAMESPACES = Input[str, Namespace | None]("namespace", default=None)
NODES = Input[str, Node | None]("node", default=None)

PODS = Input[tuple[str, str], Pod | None]("pod", default=None)
PODS_BY_LABEL = Input[tuple[str, str, str], tuple[str, ...]]("pods by (namespace, key, value) of a label", default=())

SERVICES = Input[tuple[str, str], Service | None]("service", default=None)
SERVICE_NAMES = Input[str, tuple[str, ...]]("services of namespace", default=())
SERVICE_NAMESPACES = Input[None, tuple[str, ...]]("namespaces with services", default=())
EXTERNAL_NAMES = Input[str, tuple[tuple[str, str], ...]]("ExternalName services that lead to host", default=())

ENDPOINT_SLICES = Input[tuple[str, str], tuple[EndpointSlice, ...]]("endpoint slices of service", default=())
ENDPOINTS = Input[tuple[str, str], Endpoints | None]("endpoints of service", default=None)

VIRTUAL_SERVICES_BY_HOST = Input[str, tuple[VirtualService, ...]]("virtual services by mesh host", default=())
VIRTUAL_SERVICES_BY_GATEWAY = Input[str, tuple[VirtualService, ...]]("virtual services by gateway", default=())
VIRTUAL_SERVICE_HOSTS = Input[str, tuple[str, ...]]("mesh hosts of virtual services in namespace", default=())
VIRTUAL_SERVICE_NAMESPACES = Input[None, tuple[str, ...]]("namespaces with virtual services", default=())

SOURCE_LABEL_KEYS = Input[None, tuple[str, ...]]("label keys read by sourceLabels", default=())

DESTINATION_RULES = Input[tuple[str, str], tuple[DestinationRule, ...]](
    "destination rules by (namespace, host)", default=()
)
DESTINATION_RULES_WITH_CREDENTIALS = Input[None, tuple[DestinationRule, ...]](
    "destination rules that name credentials", default=()
)
DESTINATION_RULE_HOSTS = Input[str, tuple[str, ...]]("hosts of destination rules in namespace", default=())
DESTINATION_RULE_LABEL_KEYS = Input[str, tuple[str, ...]](
    "label keys read by destination rules of namespace", default=()
)

GATEWAYS = Input[None, tuple[Gateway, ...]]("gateways", default=())
SIDECARS = Input[str, tuple[Sidecar, ...]]("sidecars of namespace", default=())
PEER_AUTHENTICATIONS = Input[str, tuple[PeerAuthentication, ...]]("peer authentications of namespace", default=())
AUTHORIZATION_POLICIES = Input[str, tuple[AuthorizationPolicy, ...]]("authorization policies of namespace", default=())
REQUEST_AUTHENTICATIONS = Input[str, tuple[RequestAuthentication, ...]](
    "request authentications of namespace", default=()
)
REQUEST_AUTHENTICATION_NAMESPACES = Input[None, tuple[str, ...]]("namespaces with request authentications", default=())

JWKS = Input[tuple[str, bool], str | None]("key set of (URI or issuer, whether it is discovered)", default=None)
"""What was fetched last. No object stands in this cell, nor in the next."""

JWKS_FETCHER = Input[None, KeyFetcher]("who fetches key sets", default=KeyFetcher.CONTROL_PLANE)

T = TypeVar("T", bound=IstioObject)


def chosen(g: Graph, obj: T) -> T:
    """`obj`, found in a cell that was only consulted, as a part of what is being made."""
    OBJECTS(g, obj.key)
    return obj

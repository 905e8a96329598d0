"""EnvoyFilter: patches on the Envoy configuration itself."""

from enum import StrEnum
from typing import Annotated, Any, ClassVar

from msgspec import field

from crds.limits import MANY, TARGETS
from crds.meta import IstioObject, Resource
from crds.model import Message
from crds.scalars import Int32, UInt32
from crds.selector import NetworkingWorkloadSelector
from crds.targetref import PolicyTargetReference


class ApplyTo(StrEnum):
    INVALID = "INVALID"
    LISTENER = "LISTENER"
    FILTER_CHAIN = "FILTER_CHAIN"
    NETWORK_FILTER = "NETWORK_FILTER"
    HTTP_FILTER = "HTTP_FILTER"
    ROUTE_CONFIGURATION = "ROUTE_CONFIGURATION"
    VIRTUAL_HOST = "VIRTUAL_HOST"
    HTTP_ROUTE = "HTTP_ROUTE"
    CLUSTER = "CLUSTER"
    EXTENSION_CONFIG = "EXTENSION_CONFIG"
    BOOTSTRAP = "BOOTSTRAP"
    LISTENER_FILTER = "LISTENER_FILTER"


class PatchContext(StrEnum):
    ANY = "ANY"
    SIDECAR_INBOUND = "SIDECAR_INBOUND"
    SIDECAR_OUTBOUND = "SIDECAR_OUTBOUND"
    GATEWAY = "GATEWAY"
    WAYPOINT = "WAYPOINT"


class ProxyMatch(Message, frozen=True):
    proxy_version: str | None = None
    metadata: dict[str, str] = field(default_factory=dict)


class SubFilterMatch(Message, frozen=True):
    name: str | None = None


class FilterMatch(Message, frozen=True):
    name: str | None = None
    sub_filter: SubFilterMatch | None = None


class FilterChainMatch(Message, frozen=True):
    name: str | None = None
    sni: str | None = None
    transport_protocol: str | None = None
    application_protocols: str | None = None
    filter: FilterMatch | None = None
    destination_port: UInt32 | None = None
    transport_socket: str | None = None


class ListenerMatch(Message, frozen=True):
    port_number: UInt32 | None = None
    port_name: str | None = None
    filter_chain: FilterChainMatch | None = None
    listener_filter: str | None = None
    name: str | None = None


class RouteAction(StrEnum):
    ANY = "ANY"
    ROUTE = "ROUTE"
    REDIRECT = "REDIRECT"
    DIRECT_RESPONSE = "DIRECT_RESPONSE"


class RouteMatch(Message, frozen=True):
    name: str | None = None
    action: RouteAction | None = None


class VirtualHostMatch(Message, frozen=True):
    name: str | None = None
    domain_name: str | None = None
    route: RouteMatch | None = None


class RouteConfigurationMatch(Message, frozen=True):
    port_number: UInt32 | None = None
    port_name: str | None = None
    gateway: str | None = None
    vhost: VirtualHostMatch | None = None
    name: str | None = None


class ClusterMatch(Message, frozen=True):
    port_number: UInt32 | None = None
    service: str | None = None
    subset: str | None = None
    name: str | None = None


class WaypointRouteMatch(Message, frozen=True):
    name: str | None = None


class WaypointMatch(Message, frozen=True):
    port_number: UInt32 | None = None
    filter: FilterMatch | None = None
    route: WaypointRouteMatch | None = None


class EnvoyConfigObjectMatch(Message, frozen=True):
    """One of listener, route_configuration, cluster and waypoint."""

    context: PatchContext | None = None
    proxy: ProxyMatch | None = None
    listener: ListenerMatch | None = None
    route_configuration: RouteConfigurationMatch | None = None
    cluster: ClusterMatch | None = None
    waypoint: WaypointMatch | None = None


class Operation(StrEnum):
    INVALID = "INVALID"
    MERGE = "MERGE"
    ADD = "ADD"
    REMOVE = "REMOVE"
    INSERT_BEFORE = "INSERT_BEFORE"
    INSERT_AFTER = "INSERT_AFTER"
    INSERT_FIRST = "INSERT_FIRST"
    REPLACE = "REPLACE"
    MERGE_AND_REPLACE_LIST = "MERGE_AND_REPLACE_LIST"


class FilterClass(StrEnum):
    UNSPECIFIED = "UNSPECIFIED"
    AUTHN = "AUTHN"
    AUTHZ = "AUTHZ"
    STATS = "STATS"


class Patch(Message, frozen=True):
    """`value` is Envoy's own configuration in JSON form."""

    operation: Operation | None = None
    value: dict[str, Any] | None = None
    filter_class: FilterClass | None = None


class EnvoyConfigObjectPatch(Message, frozen=True):
    apply_to: ApplyTo | None = None
    match: EnvoyConfigObjectMatch | None = None
    patch: Patch | None = None


class EnvoyFilterSpec(Message, frozen=True):
    """Lower `priority` is applied first."""

    workload_selector: NetworkingWorkloadSelector | None = None
    target_refs: Annotated[tuple[PolicyTargetReference, ...], TARGETS] = ()
    config_patches: Annotated[tuple[EnvoyConfigObjectPatch, ...], MANY] = ()
    priority: Int32 | None = None


class EnvoyFilter(IstioObject, frozen=True, kw_only=True):
    resource: ClassVar = Resource("networking.istio.io", "envoyfilters", ("v1alpha3",), "v1alpha3")
    spec: EnvoyFilterSpec

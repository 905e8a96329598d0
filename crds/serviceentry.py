"""ServiceEntry: a service that Kubernetes does not know."""

from enum import StrEnum
from typing import Annotated, ClassVar

from crds.limits import ADDRESSES, ENDPOINTS
from crds.meta import IstioObject, Resource
from crds.model import Message
from crds.scalars import Text256, UInt32
from crds.selector import NetworkingWorkloadSelector
from crds.workloadentry import WorkloadEntrySpec


class Location(StrEnum):
    MESH_EXTERNAL = "MESH_EXTERNAL"
    MESH_INTERNAL = "MESH_INTERNAL"


class Resolution(StrEnum):
    NONE = "NONE"
    STATIC = "STATIC"
    DNS = "DNS"
    DNS_ROUND_ROBIN = "DNS_ROUND_ROBIN"
    DYNAMIC_DNS = "DYNAMIC_DNS"


class ServicePort(Message, frozen=True):
    number: UInt32
    name: Text256
    protocol: Text256 | None = None
    target_port: UInt32 | None = None


class ServiceEntrySpec(Message, frozen=True):
    """Endpoints are listed inline, or selected by label among WorkloadEntries and Pods."""

    hosts: Annotated[tuple[str, ...], ADDRESSES]
    addresses: Annotated[tuple[str, ...], ADDRESSES] = ()
    ports: Annotated[tuple[ServicePort, ...], ADDRESSES] = ()
    location: Location | None = None
    resolution: Resolution | None = None
    endpoints: Annotated[tuple[WorkloadEntrySpec, ...], ENDPOINTS] = ()
    workload_selector: NetworkingWorkloadSelector | None = None
    export_to: tuple[str, ...] = ()
    subject_alt_names: tuple[str, ...] = ()


class ServiceEntry(IstioObject, frozen=True, kw_only=True):
    resource: ClassVar = Resource("networking.istio.io", "serviceentries", ("v1", "v1beta1", "v1alpha3"), "v1", ("se",))
    spec: ServiceEntrySpec

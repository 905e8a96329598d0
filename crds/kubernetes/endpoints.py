"""Endpoints (v1): the older form of EndpointSlice, of the same name as its Service."""

from typing import ClassVar

from crds.kubernetes.endpointslice import ObjectReference
from crds.kubernetes.part import Part
from crds.meta import KubernetesObject, Resource


class EndpointAddress(Part, frozen=True):
    ip: str
    hostname: str = ""
    node_name: str | None = None
    target_ref: ObjectReference | None = None


class EndpointsPort(Part, frozen=True):
    port: int
    name: str = ""
    protocol: str = "TCP"
    app_protocol: str | None = None


class EndpointSubset(Part, frozen=True):
    """Every address with every port."""

    addresses: tuple[EndpointAddress, ...] = ()
    not_ready_addresses: tuple[EndpointAddress, ...] = ()
    ports: tuple[EndpointsPort, ...] = ()


class Endpoints(KubernetesObject, frozen=True, kw_only=True):
    resource: ClassVar = Resource("", "endpoints", ("v1",), "v1", ("ep",))
    subsets: tuple[EndpointSubset, ...] = ()

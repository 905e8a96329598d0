"""EndpointSlice (discovery.k8s.io/v1)."""

from functools import cache
from typing import ClassVar

from msgspec.structs import force_setattr

from crds.kubernetes.part import Part
from crds.meta import KubernetesObject, Resource, share


class ObjectReference(Part, frozen=True):
    kind: str = ""
    name: str = ""
    namespace: str = ""
    uid: str = ""


class EndpointConditions(Part, frozen=True):
    """None means unknown: Kubernetes asks to read unknown `ready` as true, unknown `serving` as `ready`."""

    ready: bool | None = None
    serving: bool | None = None
    terminating: bool | None = None


class ForZone(Part, frozen=True):
    name: str


class EndpointHints(Part, frozen=True):
    for_zones: tuple[ForZone, ...] = ()


class Endpoint(Part, frozen=True):
    addresses: tuple[str, ...] = ()
    conditions: EndpointConditions = EndpointConditions()
    hostname: str | None = None
    target_ref: ObjectReference | None = None
    node_name: str | None = None
    zone: str | None = None
    hints: EndpointHints | None = None

    def __post_init__(self) -> None:
        force_setattr(self, "conditions", _shared(self.conditions))


@cache
def _shared(conditions: EndpointConditions) -> EndpointConditions:
    """There are 27 of them, and as many uses as there are endpoints."""
    return conditions


class EndpointPort(Part, frozen=True):
    """`port` unset means all ports: only useful to those who route by address."""

    name: str = ""
    protocol: str = "TCP"
    port: int | None = None
    app_protocol: str | None = None

    def __post_init__(self) -> None:
        share(self, "name", "protocol")


class EndpointSlice(KubernetesObject, frozen=True, kw_only=True):
    """Belongs to the Service named by the label `kubernetes.io/service-name`."""

    resource: ClassVar = Resource("discovery.k8s.io", "endpointslices", ("v1",), "v1")
    address_type: str = "IPv4"
    endpoints: tuple[Endpoint, ...] = ()
    ports: tuple[EndpointPort, ...] = ()

    def __post_init__(self) -> None:
        share(self, "address_type")

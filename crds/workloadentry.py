"""WorkloadEntry: a workload that is no Pod, such as a virtual machine."""

from typing import Annotated, ClassVar

from msgspec import field

from crds.limits import ENDPOINT_LABELS, ENDPOINT_PORTS
from crds.meta import IstioObject, Resource
from crds.model import Message
from crds.scalars import Text253, Text256, Text2048, UInt32


class WorkloadEntrySpec(Message, frozen=True):
    """Also the shape of ServiceEntry endpoints. `address` is an IP, a host name or `unix:///path`."""

    address: Text256 | None = None
    ports: Annotated[dict[str, UInt32], ENDPOINT_PORTS] = field(default_factory=dict)
    labels: Annotated[dict[str, str], ENDPOINT_LABELS] = field(default_factory=dict)
    network: Text2048 | None = None
    locality: Text2048 | None = None
    weight: UInt32 | None = None
    service_account: Text253 | None = None


class WorkloadEntry(IstioObject, frozen=True, kw_only=True):
    resource: ClassVar = Resource(
        "networking.istio.io", "workloadentries", ("v1", "v1beta1", "v1alpha3"), "v1", ("we",)
    )
    spec: WorkloadEntrySpec

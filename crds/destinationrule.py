"""DestinationRule: what happens to traffic after routing chose its destination."""

from typing import Annotated, ClassVar

from msgspec import field

from crds.limits import SUBSETS
from crds.meta import IstioObject, Resource
from crds.model import Message
from crds.selector import WorkloadSelector
from crds.trafficpolicy import TrafficPolicy


class Subset(Message, frozen=True):
    """The endpoints with these labels, under a name that routes can use."""

    name: str
    labels: dict[str, str] = field(default_factory=dict)
    traffic_policy: TrafficPolicy | None = None


class DestinationRuleSpec(Message, frozen=True):
    """`workload_selector` picks the client workloads of the rule's own namespace that obey it."""

    host: str
    traffic_policy: TrafficPolicy | None = None
    subsets: Annotated[tuple[Subset, ...], SUBSETS] = ()
    export_to: tuple[str, ...] = ()
    workload_selector: WorkloadSelector | None = None


class DestinationRule(IstioObject, frozen=True, kw_only=True):
    resource: ClassVar = Resource(
        "networking.istio.io", "destinationrules", ("v1", "v1beta1", "v1alpha3"), "v1", ("dr",)
    )
    spec: DestinationRuleSpec

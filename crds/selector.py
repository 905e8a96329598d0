"""Which workloads a resource applies to."""

from typing import Annotated

from msgspec import field

from crds.limits import SELECTED_LABELS
from crds.model import Message


class WorkloadSelector(Message, frozen=True):
    """istio.type.v1beta1.WorkloadSelector: all labels must be equal; an empty one selects every workload."""

    match_labels: Annotated[dict[str, str], SELECTED_LABELS] = field(default_factory=dict)


class NetworkingWorkloadSelector(Message, frozen=True):
    """istio.networking.v1alpha3.WorkloadSelector: the same thing in the older spelling `labels`."""

    labels: Annotated[dict[str, str], SELECTED_LABELS] = field(default_factory=dict)

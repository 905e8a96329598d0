"""Node (v1): its labels carry the locality of its pods."""

from typing import ClassVar

from crds.kubernetes.part import Part
from crds.meta import KubernetesObject, Resource


class NodeAddress(Part, frozen=True):
    type: str
    address: str


class NodeStatus(Part, frozen=True):
    addresses: tuple[NodeAddress, ...] = ()


class Node(KubernetesObject, frozen=True, kw_only=True):
    resource: ClassVar = Resource("", "nodes", ("v1",), "v1", ("no",), namespaced=False)
    status: NodeStatus = NodeStatus()

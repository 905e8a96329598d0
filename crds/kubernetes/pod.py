"""Pod (v1)."""

from typing import ClassVar

from msgspec import field

from crds.kubernetes.part import Part
from crds.meta import KubernetesObject, Resource


class ContainerPort(Part, frozen=True):
    container_port: int
    name: str = ""
    protocol: str = "TCP"


class Container(Part, frozen=True):
    """`restart_policy` Always on an init container makes it a native sidecar. The environment is not read: it is large,
    and holds what is nobody's business."""

    name: str
    ports: tuple[ContainerPort, ...] = ()
    restart_policy: str | None = None


class PodSpec(Part, frozen=True):
    node_name: str = ""
    service_account_name: str = ""
    host_network: bool = False
    hostname: str = ""
    subdomain: str = ""
    containers: tuple[Container, ...] = ()
    init_containers: tuple[Container, ...] = ()


class PodIP(Part, frozen=True):
    ip: str = ""


class PodCondition(Part, frozen=True):
    type: str
    status: str = "Unknown"


class PodStatus(Part, frozen=True):
    phase: str = ""
    pod_ip: str = field(default="", name="podIP")
    pod_ips: tuple[PodIP, ...] = field(default=(), name="podIPs")
    host_ip: str = field(default="", name="hostIP")
    conditions: tuple[PodCondition, ...] = ()


class Pod(KubernetesObject, frozen=True, kw_only=True):
    resource: ClassVar = Resource("", "pods", ("v1",), "v1", ("po",))
    spec: PodSpec = PodSpec()
    status: PodStatus = PodStatus()

    @property
    def service_account(self) -> str:
        """The account the pod runs as; Kubernetes fills in `default`, a bare file does not."""
        return self.spec.service_account_name or "default"

    @property
    def ready(self) -> bool:
        return any(condition.type == "Ready" and condition.status == "True" for condition in self.status.conditions)

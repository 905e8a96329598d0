"""Service (v1)."""

from typing import ClassVar

from msgspec import field

from crds.kubernetes.part import Part
from crds.meta import KubernetesObject, Resource, share


class ServicePort(Part, frozen=True):
    """`target_port` is a number, or the name of a container's port; unset means `port`."""

    port: int
    name: str = ""
    protocol: str = "TCP"
    target_port: int | str | None = None
    app_protocol: str | None = None
    node_port: int | None = None

    def __post_init__(self) -> None:
        share(self, "name", "protocol")


class ServiceSpec(Part, frozen=True):
    """`cluster_ip` is "None" for a headless service and empty for ExternalName."""

    type: str = "ClusterIP"
    cluster_ip: str = field(default="", name="clusterIP")
    cluster_ips: tuple[str, ...] = field(default=(), name="clusterIPs")
    ports: tuple[ServicePort, ...] = ()
    selector: dict[str, str] = field(default_factory=dict)
    external_name: str = ""
    external_ips: tuple[str, ...] = field(default=(), name="externalIPs")
    publish_not_ready_addresses: bool = False
    internal_traffic_policy: str | None = None
    external_traffic_policy: str | None = None
    traffic_distribution: str | None = None
    ip_families: tuple[str, ...] = ()
    ip_family_policy: str | None = None

    def __post_init__(self) -> None:
        share(self, "type")


class LoadBalancerIngress(Part, frozen=True):
    ip: str = ""
    hostname: str = ""


class LoadBalancerStatus(Part, frozen=True):
    ingress: tuple[LoadBalancerIngress, ...] = ()


class ServiceStatus(Part, frozen=True):
    load_balancer: LoadBalancerStatus = LoadBalancerStatus()


class Service(KubernetesObject, frozen=True, kw_only=True):
    resource: ClassVar = Resource("", "services", ("v1",), "v1", ("svc",))
    spec: ServiceSpec = ServiceSpec()
    status: ServiceStatus = ServiceStatus()

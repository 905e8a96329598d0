"""WorkloadGroup: the template of WorkloadEntries that register themselves, and their health check."""

from typing import ClassVar

from msgspec import field

from crds.meta import IstioObject, Resource
from crds.model import Message
from crds.scalars import HeaderName, NonNegativeInt32, UInt32
from crds.workloadentry import WorkloadEntrySpec


class WorkloadGroupObjectMeta(Message, frozen=True):
    """WorkloadGroup.ObjectMeta: labels and annotations of the entries."""

    labels: dict[str, str] = field(default_factory=dict)
    annotations: dict[str, str] = field(default_factory=dict)


class HTTPHeader(Message, frozen=True):
    name: HeaderName | None = None
    value: str | None = None


class HTTPHealthCheckConfig(Message, frozen=True):
    port: UInt32
    path: str | None = None
    host: str | None = None
    scheme: str | None = None
    http_headers: tuple[HTTPHeader, ...] = ()


class TCPHealthCheckConfig(Message, frozen=True):
    port: UInt32
    host: str | None = None


class ExecHealthCheckConfig(Message, frozen=True):
    command: tuple[str, ...] = ()


class GrpcHealthCheckConfig(Message, frozen=True):
    port: UInt32 | None = None
    service: str | None = None


class ReadinessProbe(Message, frozen=True):
    """One of http_get, tcp_socket, exec and grpc."""

    initial_delay_seconds: NonNegativeInt32 | None = None
    timeout_seconds: NonNegativeInt32 | None = None
    period_seconds: NonNegativeInt32 | None = None
    success_threshold: NonNegativeInt32 | None = None
    failure_threshold: NonNegativeInt32 | None = None
    http_get: HTTPHealthCheckConfig | None = None
    tcp_socket: TCPHealthCheckConfig | None = None
    exec: ExecHealthCheckConfig | None = None
    grpc: GrpcHealthCheckConfig | None = None


class WorkloadGroupSpec(Message, frozen=True):
    template: WorkloadEntrySpec
    metadata: WorkloadGroupObjectMeta | None = None
    probe: ReadinessProbe | None = None


class WorkloadGroup(IstioObject, frozen=True, kw_only=True):
    resource: ClassVar = Resource("networking.istio.io", "workloadgroups", ("v1", "v1beta1", "v1alpha3"), "v1", ("wg",))
    spec: WorkloadGroupSpec

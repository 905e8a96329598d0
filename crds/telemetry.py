"""Telemetry: tracing, metrics and access logs of workloads."""

from enum import StrEnum
from typing import Annotated, ClassVar

from msgspec import field

from crds.duration import Duration
from crds.limits import TARGETS
from crds.meta import IstioObject, Resource
from crds.model import Message
from crds.scalars import NonEmpty, PercentFloat
from crds.selector import WorkloadSelector
from crds.targetref import PolicyTargetReference


class WorkloadMode(StrEnum):
    CLIENT_AND_SERVER = "CLIENT_AND_SERVER"
    CLIENT = "CLIENT"
    SERVER = "SERVER"


class ProviderRef(Message, frozen=True):
    """One of MeshConfig.extensionProviders."""

    name: NonEmpty


class ModeSelector(Message, frozen=True):
    """Tracing.TracingSelector and AccessLogging.LogSelector: the side of the connection."""

    mode: WorkloadMode | None = None


class Literal(Message, frozen=True):
    value: NonEmpty


class Environment(Message, frozen=True):
    name: NonEmpty
    default_value: str | None = None


class RequestHeader(Message, frozen=True):
    name: NonEmpty
    default_value: str | None = None


class Formatter(Message, frozen=True):
    value: NonEmpty


class CustomTag(Message, frozen=True):
    """One of literal, environment, header and formatter."""

    literal: Literal | None = None
    environment: Environment | None = None
    header: RequestHeader | None = None
    formatter: Formatter | None = None


class Tracing(Message, frozen=True):
    match: ModeSelector | None = None
    providers: tuple[ProviderRef, ...] = ()
    random_sampling_percentage: PercentFloat | None = None
    disable_span_reporting: bool | None = None
    custom_tags: dict[str, CustomTag] = field(default_factory=dict)
    use_request_id_for_trace_sampling: bool | None = None
    enable_istio_tags: bool | None = None
    disable_context_propagation: bool | None = None


class IstioMetric(StrEnum):
    ALL_METRICS = "ALL_METRICS"
    REQUEST_COUNT = "REQUEST_COUNT"
    REQUEST_DURATION = "REQUEST_DURATION"
    REQUEST_SIZE = "REQUEST_SIZE"
    RESPONSE_SIZE = "RESPONSE_SIZE"
    TCP_OPENED_CONNECTIONS = "TCP_OPENED_CONNECTIONS"
    TCP_CLOSED_CONNECTIONS = "TCP_CLOSED_CONNECTIONS"
    TCP_SENT_BYTES = "TCP_SENT_BYTES"
    TCP_RECEIVED_BYTES = "TCP_RECEIVED_BYTES"
    GRPC_REQUEST_MESSAGES = "GRPC_REQUEST_MESSAGES"
    GRPC_RESPONSE_MESSAGES = "GRPC_RESPONSE_MESSAGES"


class MetricSelector(Message, frozen=True):
    metric: IstioMetric | None = None
    custom_metric: NonEmpty | None = None
    mode: WorkloadMode | None = None


class TagOperation(StrEnum):
    UPSERT = "UPSERT"
    REMOVE = "REMOVE"


class TagOverride(Message, frozen=True):
    """`value` is a CEL expression."""

    operation: TagOperation | None = None
    value: str | None = None


class MetricsOverrides(Message, frozen=True):
    match: MetricSelector | None = None
    disabled: bool | None = None
    tag_overrides: dict[str, TagOverride] = field(default_factory=dict)


class Metrics(Message, frozen=True):
    providers: tuple[ProviderRef, ...] = ()
    overrides: tuple[MetricsOverrides, ...] = ()
    reporting_interval: Duration | None = None


class AccessLogFilter(Message, frozen=True):
    """AccessLogging.Filter: a CEL expression over Envoy's attributes."""

    expression: str | None = None


class AccessLogging(Message, frozen=True):
    match: ModeSelector | None = None
    providers: tuple[ProviderRef, ...] = ()
    disabled: bool | None = None
    filter: AccessLogFilter | None = None


class TelemetrySpec(Message, frozen=True):
    selector: WorkloadSelector | None = None
    target_ref: PolicyTargetReference | None = None
    target_refs: Annotated[tuple[PolicyTargetReference, ...], TARGETS] = ()
    tracing: tuple[Tracing, ...] = ()
    metrics: tuple[Metrics, ...] = ()
    access_logging: tuple[AccessLogging, ...] = ()


class Telemetry(IstioObject, frozen=True, kw_only=True):
    resource: ClassVar = Resource("telemetry.istio.io", "telemetries", ("v1", "v1alpha1"), "v1alpha1", ("telemetry",))
    spec: TelemetrySpec

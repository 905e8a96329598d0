"""How requests are spread over the endpoints of a destination."""

from enum import StrEnum

from msgspec import field

from crds.duration import Duration
from crds.model import Message
from crds.scalars import NonNegativeFloat, PercentFloat, PositiveUInt32, UInt32, UInt64


class SimpleLB(StrEnum):
    UNSPECIFIED = "UNSPECIFIED"
    LEAST_CONN = "LEAST_CONN"
    RANDOM = "RANDOM"
    PASSTHROUGH = "PASSTHROUGH"
    ROUND_ROBIN = "ROUND_ROBIN"
    LEAST_REQUEST = "LEAST_REQUEST"


class Attribute(Message, frozen=True):
    """An attribute of the generated cookie, such as `SameSite`."""

    name: str | None = None
    value: str | None = None


class HTTPCookie(Message, frozen=True):
    """Hash on a cookie; with a ttl Envoy makes the cookie when it is missing (0s: a session cookie)."""

    name: str
    path: str | None = None
    ttl: Duration | None = None
    attributes: tuple[Attribute, ...] = ()


class RingHash(Message, frozen=True):
    minimum_ring_size: UInt64 | None = None


class MagLev(Message, frozen=True):
    table_size: UInt64 | None = None


class ConsistentHashLB(Message, frozen=True):
    """One key (header, cookie, source IP or query parameter) and one algorithm (ring hash when none is named)."""

    http_header_name: str | None = None
    http_cookie: HTTPCookie | None = None
    use_source_ip: bool | None = None
    http_query_parameter_name: str | None = None
    ring_hash: RingHash | None = None
    maglev: MagLev | None = None
    minimum_ring_size: UInt64 | None = None  # deprecated: ring_hash.minimum_ring_size


class Distribute(Message, frozen=True):
    """Locality `region/zone/sub-zone` (with `*`) of the client, and per cent of its traffic for each locality."""

    from_: str | None = None
    to: dict[str, UInt32] = field(default_factory=dict)


class Failover(Message, frozen=True):
    """Regions: where the traffic of one goes when its endpoints are unhealthy."""

    from_: str | None = None
    to: str | None = None


class LocalityLoadBalancerSetting(Message, frozen=True):
    """One of distribute, failover and failover_priority; None for `enabled` inherits the mesh's setting."""

    distribute: tuple[Distribute, ...] = ()
    failover: tuple[Failover, ...] = ()
    failover_priority: tuple[str, ...] = ()
    enabled: bool | None = None


class ZoneAwareLoadBalancerSetting(Message, frozen=True):
    enabled: bool | None = None
    min_cluster_size: PositiveUInt32 | None = None
    failover: tuple[Failover, ...] = ()
    failover_priority: tuple[str, ...] = ()


class WarmupConfiguration(Message, frozen=True):
    """A new endpoint's share of traffic grows over `duration` from `minimum_percent` (Envoy: slow start)."""

    duration: Duration
    minimum_percent: PercentFloat | None = None
    aggression: NonNegativeFloat | None = None


class BackendUtilization(Message, frozen=True):
    """Weights from load that endpoints report (ORCA)."""

    metric_names_for_computing_utilization: tuple[str, ...] = ()
    weight_expiration_period: Duration | None = None
    weight_stabilization_period: Duration | None = None
    weight_update_period: Duration | None = None
    error_utilization_penalty_percent: UInt32 | None = None


class LoadBalancerSettings(Message, frozen=True):
    """One of simple, consistent_hash and backend_utilization, plus what holds for all of them."""

    simple: SimpleLB | None = None
    consistent_hash: ConsistentHashLB | None = None
    backend_utilization: BackendUtilization | None = None
    locality_lb_setting: LocalityLoadBalancerSetting | None = None
    zone_aware_lb_setting: ZoneAwareLoadBalancerSetting | None = None
    warmup_duration_secs: Duration | None = field(default=None, name="warmupDurationSecs")  # deprecated: warmup
    warmup: WarmupConfiguration | None = None

"""DestinationRule loadBalancer → a cluster's policy (Istio: pilot/pkg/networking/core/cluster_traffic_policy.go).

The keys of consistent hashing are set on routes (`translators.route_action`), the ring here.
"""

from __future__ import annotations

from envoy_data_plane.envoy.config.cluster.v3 import (
    Cluster,
    ClusterLbPolicy,
    ClusterLeastRequestLbConfig,
    ClusterMaglevLbConfig,
    ClusterRingHashLbConfig,
    ClusterRoundRobinLbConfig,
    ClusterSlowStartConfig,
)
from envoy_data_plane.envoy.config.core.v3 import RuntimeDouble
from envoy_data_plane.envoy.type.v3 import Percent

from crds.loadbalancer import LoadBalancerSettings, SimpleLB

_POLICIES = {
    SimpleLB.ROUND_ROBIN: ClusterLbPolicy.ROUND_ROBIN,
    SimpleLB.RANDOM: ClusterLbPolicy.RANDOM,
    SimpleLB.LEAST_REQUEST: ClusterLbPolicy.LEAST_REQUEST,
    SimpleLB.LEAST_CONN: ClusterLbPolicy.LEAST_REQUEST,
}
_DEFAULT_RING = 1024
"""Envoy's own default; Istio writes it so that a smaller `minimumRingSize` can be told from none."""


def is_passthrough(settings: LoadBalancerSettings | None) -> bool:
    """Whether connections go to the address the client dialled, without balancing."""
    return settings is not None and settings.simple is SimpleLB.PASSTHROUGH


def balance(cluster: Cluster, settings: LoadBalancerSettings | None) -> None:
    """Set the policy of a cluster that is being built; least request where no rule says otherwise."""
    cluster.lb_policy = ClusterLbPolicy.LEAST_REQUEST
    if settings is None:
        return
    if settings.simple is not None:
        cluster.lb_policy = _POLICIES.get(settings.simple, ClusterLbPolicy.LEAST_REQUEST)
    hashing = settings.consistent_hash
    if hashing is not None and hashing.maglev is not None:
        cluster.lb_policy = ClusterLbPolicy.MAGLEV
        cluster.maglev_lb_config = ClusterMaglevLbConfig(table_size=hashing.maglev.table_size)
    elif hashing is not None:
        cluster.lb_policy = ClusterLbPolicy.RING_HASH
        size = hashing.ring_hash.minimum_ring_size if hashing.ring_hash is not None else hashing.minimum_ring_size
        cluster.ring_hash_lb_config = ClusterRingHashLbConfig(minimum_ring_size=size or _DEFAULT_RING)
    slow = _slow_start(settings)
    if slow is not None and cluster.lb_policy is ClusterLbPolicy.ROUND_ROBIN:
        cluster.round_robin_lb_config = ClusterRoundRobinLbConfig(slow_start_config=slow)
    elif slow is not None and cluster.lb_policy is ClusterLbPolicy.LEAST_REQUEST:
        cluster.least_request_lb_config = ClusterLeastRequestLbConfig(slow_start_config=slow)


def _slow_start(settings: LoadBalancerSettings) -> ClusterSlowStartConfig | None:
    if settings.warmup is not None:
        aggression, minimum = settings.warmup.aggression, settings.warmup.minimum_percent
        return ClusterSlowStartConfig(
            slow_start_window=settings.warmup.duration,
            aggression=RuntimeDouble(
                default_value=1.0 if aggression is None else aggression, runtime_key="warmup.aggression"
            ),
            min_weight_percent=Percent(value=10.0 if minimum is None else minimum),
        )
    if settings.warmup_duration_secs is not None:
        return ClusterSlowStartConfig(slow_start_window=settings.warmup_duration_secs)
    return None

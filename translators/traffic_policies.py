"""The traffic policy in force for one port and subset of a host.

A subset's policy overrides the host's block by block; settings of a port replace the blocks as a whole (Istio:
pilot/pkg/networking/core/cluster_traffic_policy.go, selectTrafficPolicyComponents).
"""

from __future__ import annotations

from dataclasses import dataclass

from crds.clienttls import ClientTLSSettings
from crds.connectionpool import ConnectionPoolSettings
from crds.loadbalancer import LoadBalancerSettings
from crds.outlierdetection import OutlierDetection
from crds.trafficpolicy import ProxyProtocol, RetryBudget, TrafficPolicy, TunnelSettings
from dragoman.mesh.rules import Rule


@dataclass(frozen=True, slots=True)
class PolicyInForce:
    load_balancer: LoadBalancerSettings | None = None
    connection_pool: ConnectionPoolSettings | None = None
    outlier_detection: OutlierDetection | None = None
    tls: ClientTLSSettings | None = None
    tunnel: TunnelSettings | None = None
    proxy_protocol: ProxyProtocol | None = None
    retry_budget: RetryBudget | None = None


def policy_in_force(rule: Rule | None, subset: str, port: int) -> PolicyInForce:
    """What `rule` says of traffic to `port` of the subset called `subset` (empty: the whole host)."""
    if rule is None:
        return PolicyInForce()
    found = rule.subset(subset) if subset else None
    merged = PolicyInForce()
    for policy in (rule.traffic_policy, found.traffic_policy if found is not None else None):
        if policy is not None:
            merged = _over(merged, policy, port)
    return merged


def _over(base: PolicyInForce, policy: TrafficPolicy, port: int) -> PolicyInForce:
    level = next((p for p in policy.port_level_settings if p.port is not None and p.port.number == port), None)
    own = level if level is not None else policy
    keep = PolicyInForce() if level is not None else base
    return PolicyInForce(
        own.load_balancer or keep.load_balancer,
        own.connection_pool or keep.connection_pool,
        own.outlier_detection or keep.outlier_detection,
        own.tls or keep.tls,
        policy.tunnel or base.tunnel,
        policy.proxy_protocol or base.proxy_protocol,
        policy.retry_budget or base.retry_budget,
    )

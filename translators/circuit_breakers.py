"""DestinationRule connectionPool and retryBudget → circuit breakers, timeouts and keepalive of a cluster.

Istio: pilot/pkg/networking/core/cluster_traffic_policy.go (applyConnectionPool, applyRetryBudget).
"""

from __future__ import annotations

from envoy_data_plane.envoy.config.cluster.v3 import (
    CircuitBreakers,
    CircuitBreakersThresholds,
    CircuitBreakersThresholdsRetryBudget,
    UpstreamConnectionOptions,
)
from envoy_data_plane.envoy.config.core.v3 import TcpKeepalive
from envoy_data_plane.envoy.type.v3 import Percent

from crds.connectionpool import ConnectionPoolSettings
from crds.trafficpolicy import RetryBudget

UNLIMITED = 2**32 - 1
"""Istio sets no limit unless a rule does; Envoy's own defaults (1024) would cut traffic."""


def circuit_breakers(pool: ConnectionPoolSettings | None, budget: RetryBudget | None) -> CircuitBreakers:
    tcp = pool.tcp if pool is not None else None
    http = pool.http if pool is not None else None
    return CircuitBreakers(
        thresholds=[
            CircuitBreakersThresholds(
                max_connections=(tcp.max_connections if tcp else None) or UNLIMITED,
                max_pending_requests=(http.http1_max_pending_requests if http else None) or UNLIMITED,
                max_requests=(http.http2_max_requests if http else None) or UNLIMITED,
                max_retries=(http.max_retries if http else None) or UNLIMITED,
                retry_budget=_retry_budget(budget),
                track_remaining=True,
            )
        ]
    )


def _retry_budget(budget: RetryBudget | None) -> CircuitBreakersThresholdsRetryBudget | None:
    if budget is None:
        return None
    return CircuitBreakersThresholdsRetryBudget(
        budget_percent=Percent(value=20.0 if budget.percent is None else budget.percent),
        min_retry_concurrency=3 if budget.min_retry_concurrency is None else budget.min_retry_concurrency,
    )


def connection_options(pool: ConnectionPoolSettings | None) -> UpstreamConnectionOptions | None:
    keepalive = pool.tcp.tcp_keepalive if pool is not None and pool.tcp is not None else None
    if keepalive is None:
        return None
    return UpstreamConnectionOptions(
        tcp_keepalive=TcpKeepalive(
            keepalive_probes=keepalive.probes,
            keepalive_time=int(keepalive.time.total_seconds()) if keepalive.time is not None else None,
            keepalive_interval=int(keepalive.interval.total_seconds()) if keepalive.interval is not None else None,
        )
    )

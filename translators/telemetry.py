"""What listeners do to be observed: Istio's standard metrics and its access logs (Istio: pilot/pkg/model/telemetry.go).

Each filter chain gets the network filters of its traffic before its last filter, and the loggers on that filter;
listeners with many chains get the listener filters before their own.
"""

from __future__ import annotations

from envoy_data_plane.envoy.config.accesslog.v3 import AccessLog
from envoy_data_plane.envoy.config.listener.v3 import Filter, ListenerFilter

from crds.meshconfig import MeshConfig
from translators.access_log_files import access_logs, unmatched_connection_logs
from translators.metric_labels import Traffic
from translators.stats_logger import http_metrics, tcp_metrics
from translators.workload_state import LOCAL_FILTER, LOCAL_LISTENER_FILTER, PEER_FILTER

__all__ = ["Traffic", "http_access_logs", "listener_filters", "listener_logs", "network_filters", "tcp_access_logs"]


def network_filters(traffic: Traffic) -> tuple[Filter, ...]:
    """What finds out in each filter chain which workloads are at the two ends; the loggers below read it."""
    match traffic:
        case Traffic.OUTBOUND:
            return (LOCAL_FILTER,)
        case Traffic.INBOUND_MTLS:
            return (PEER_FILTER,)
    return ()


def listener_filters() -> tuple[ListenerFilter, ...]:
    """What finds out once for all chains of an inbound or gateway listener what the proxy itself is.

    Outbound listeners do so in their one or two chains: a connection passes the filters of virtualOutbound before it
    comes to those of its own listener. They go first: where a filter that waits for bytes gives up, Envoy skips those
    behind it.
    """
    return (LOCAL_LISTENER_FILTER,)


def http_access_logs(mesh: MeshConfig, traffic: Traffic) -> tuple[AccessLog, ...]:
    """The loggers of requests."""
    return (*http_metrics(traffic), *access_logs(mesh))


def tcp_access_logs(mesh: MeshConfig, traffic: Traffic) -> tuple[AccessLog, ...]:
    """The loggers of connections."""
    return (*tcp_metrics(traffic), *access_logs(mesh))


def listener_logs(mesh: MeshConfig) -> tuple[AccessLog, ...]:
    """The loggers of connections that no filter chain takes."""
    return unmatched_connection_logs(mesh)

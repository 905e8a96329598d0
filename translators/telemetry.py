"""What listeners do to be observed: Istio's standard metrics and its access logs (Istio: pilot/pkg/model/telemetry.go).

Each filter chain gets the network filters of its traffic before its last filter, and the loggers on that filter.
"""

from __future__ import annotations

from envoy_data_plane.envoy.config.accesslog.v3 import AccessLog
from envoy_data_plane.envoy.config.listener.v3 import Filter

from crds.meshconfig import MeshConfig
from translators.access_log_files import access_logs, unmatched_connection_logs
from translators.metric_labels import Traffic
from translators.stats_logger import http_metrics, tcp_metrics
from translators.workload_state import LOCAL_FILTER, PEER_FILTER

__all__ = ["Traffic", "http_access_logs", "listener_logs", "network_filters", "tcp_access_logs"]


def network_filters(traffic: Traffic) -> tuple[Filter, ...]:
    """What finds out which workloads are at the two ends; the loggers below read it."""
    return (PEER_FILTER if traffic is Traffic.INBOUND_MTLS else LOCAL_FILTER,)


def http_access_logs(mesh: MeshConfig, traffic: Traffic) -> tuple[AccessLog, ...]:
    """The loggers of requests."""
    return (*http_metrics(traffic), *access_logs(mesh))


def tcp_access_logs(mesh: MeshConfig, traffic: Traffic) -> tuple[AccessLog, ...]:
    """The loggers of connections."""
    return (*tcp_metrics(traffic), *access_logs(mesh))


def listener_logs(mesh: MeshConfig) -> tuple[AccessLog, ...]:
    """The loggers of connections that no filter chain takes."""
    return unmatched_connection_logs(mesh)

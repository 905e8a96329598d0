"""TCP proxies: bytes to a cluster (Istio: pilot/pkg/networking/core/networkfilter.go)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import timedelta

from envoy_data_plane.envoy.config.accesslog.v3 import AccessLog
from envoy_data_plane.envoy.config.listener.v3 import Filter
from envoy_data_plane.envoy.extensions.filters.network.tcp_proxy.v3 import (
    TcpProxy,
    TcpProxyTcpAccessLogOptions,
    TcpProxyWeightedCluster,
    TcpProxyWeightedClusterClusterWeight,
    UpstreamConnectMode,
)

from dragoman.codec import pack

FILTER = "envoy.filters.network.tcp_proxy"

_EARLY_DATA_BYTES = 65536


def tcp_proxy(
    stat_prefix: str,
    clusters: Sequence[tuple[str, int]],
    access_logs: Iterable[AccessLog],
    *,
    after_handshake: bool = False,
    idle_timeout: timedelta | None = None,
) -> Filter:
    """`clusters` with their weights. `after_handshake`: connect to the application only when the client's certificate
    is verified, so that what is logged and counted of the connection's start names the peer."""
    proxy = TcpProxy(
        stat_prefix=stat_prefix,
        access_log=list(access_logs),
        access_log_options=TcpProxyTcpAccessLogOptions(flush_access_log_on_connected=True),
        idle_timeout=idle_timeout,
    )
    if len(clusters) == 1:
        proxy.cluster = clusters[0][0]
    else:
        proxy.weighted_clusters = TcpProxyWeightedCluster(
            clusters=[
                TcpProxyWeightedClusterClusterWeight(name=name, weight=weight) for name, weight in clusters if weight
            ]
        )
    if after_handshake:
        proxy.upstream_connect_mode = UpstreamConnectMode.ON_DOWNSTREAM_TLS_HANDSHAKE
        proxy.max_early_data_bytes = _EARLY_DATA_BYTES
    return Filter(name=FILTER, typed_config=pack(proxy))

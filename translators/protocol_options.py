"""Which HTTP a cluster speaks to its endpoints, and for how long a connection is kept.

Istio: pilot/pkg/networking/core/cluster_builder.go (setUpstreamProtocol, setH2Options).
"""

from __future__ import annotations

from datetime import timedelta

from envoy_data_plane.envoy.config.cluster.v3 import Cluster
from envoy_data_plane.envoy.config.core.v3 import (
    Http1ProtocolOptions,
    Http2ProtocolOptions,
    KeepaliveSettings,
    UpstreamHttpProtocolOptions,
)
from envoy_data_plane.envoy.config.core.v3 import (
    HttpProtocolOptions as CommonHttpProtocolOptions,
)
from envoy_data_plane.envoy.extensions.upstreams.http.v3 import (
    HttpProtocolOptions,
    HttpProtocolOptionsExplicitHttpConfig,
    HttpProtocolOptionsUseDownstreamHttpConfig,
)

from crds.connectionpool import ConnectionPoolSettings, H2UpgradePolicy, HTTPSettings
from dragoman.codec import pack
from dragoman.mesh.protocol import Protocol

EXTENSION = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"


def speaks_http2(protocol: Protocol, pool: ConnectionPoolSettings | None) -> bool:
    """Whether every request to such a port goes over HTTP/2."""
    http = pool.http if pool is not None else None
    if http is not None and http.use_client_protocol:
        return False
    upgraded = http is not None and http.h2_upgrade_policy is H2UpgradePolicy.UPGRADE
    return protocol.is_http2 or (protocol is Protocol.HTTP and upgraded)


def follows_client(protocol: Protocol, pool: ConnectionPoolSettings | None) -> bool:
    """Whether a request goes out in the HTTP version it came in."""
    http = pool.http if pool is not None else None
    return protocol is Protocol.AUTO or (protocol.is_http and http is not None and bool(http.use_client_protocol))


def protocol_options(
    cluster: Cluster,
    protocol: Protocol,
    pool: ConnectionPoolSettings | None,
    names: UpstreamHttpProtocolOptions | None = None,
) -> None:
    """Set the HTTP version, connection lifetimes and the use of request names of a cluster that is being built."""
    http = pool.http if pool is not None else None
    common = _common(pool)
    options = HttpProtocolOptions(common_http_protocol_options=common, upstream_http_protocol_options=names)
    if speaks_http2(protocol, pool):
        options.explicit_http_config = HttpProtocolOptionsExplicitHttpConfig(http2_protocol_options=_http2(http))
    elif follows_client(protocol, pool):
        options.use_downstream_protocol_config = HttpProtocolOptionsUseDownstreamHttpConfig(
            http_protocol_options=Http1ProtocolOptions(), http2_protocol_options=_http2(http)
        )
    elif common is not None or names is not None:
        options.explicit_http_config = HttpProtocolOptionsExplicitHttpConfig(
            http_protocol_options=Http1ProtocolOptions()
        )
    else:
        return  # HTTP/1.1 with Envoy's defaults is what a cluster without options speaks
    cluster.typed_extension_protocol_options = {EXTENSION: pack(options)}


def passthrough_options(cluster: Cluster) -> None:
    """Requests leave as they came, idle connections close after five minutes (Istio: cluster.go, passthrough)."""
    options = HttpProtocolOptions(
        common_http_protocol_options=CommonHttpProtocolOptions(idle_timeout=timedelta(minutes=5)),
        use_downstream_protocol_config=HttpProtocolOptionsUseDownstreamHttpConfig(
            http_protocol_options=Http1ProtocolOptions(), http2_protocol_options=Http2ProtocolOptions()
        ),
    )
    cluster.typed_extension_protocol_options = {EXTENSION: pack(options)}


def _common(pool: ConnectionPoolSettings | None) -> CommonHttpProtocolOptions | None:
    if pool is None:
        return None
    http, tcp = pool.http, pool.tcp
    idle = (http.idle_timeout if http is not None else None) or (tcp.idle_timeout if tcp is not None else None)
    longest = tcp.max_connection_duration if tcp is not None else None
    requests = http.max_requests_per_connection if http is not None else None
    if idle is None and longest is None and not requests:
        return None
    return CommonHttpProtocolOptions(
        idle_timeout=idle, max_connection_duration=longest, max_requests_per_connection=requests or None
    )


def _http2(http: HTTPSettings | None) -> Http2ProtocolOptions:
    if http is None:
        return Http2ProtocolOptions()
    keepalive = http.http2_keep_alive
    return Http2ProtocolOptions(
        max_concurrent_streams=http.max_concurrent_streams or None,
        connection_keepalive=(
            KeepaliveSettings(interval=keepalive.interval, timeout=keepalive.timeout) if keepalive is not None else None
        ),
    )

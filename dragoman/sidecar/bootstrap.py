"""The bootstrap of an Envoy that needs no agent beside it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Final, Literal

from envoy_data_plane.envoy.config.bootstrap.v3 import (
    Admin,
    BootstrapDeferredStatOptions,
    BootstrapDynamicResources,
    BootstrapStaticResources,
    LayeredRuntime,
    RuntimeLayer,
    RuntimeLayerAdminLayer,
)
from envoy_data_plane.envoy.config.bootstrap.v3 import Bootstrap as EnvoyBootstrap
from envoy_data_plane.envoy.config.cluster.v3 import Cluster
from envoy_data_plane.envoy.config.core.v3 import (
    AggregatedConfigSource,
    ApiConfigSource,
    ApiConfigSourceApiType,
    ApiVersion,
    BackoffStrategy,
    ConfigSource,
    GrpcService,
    GrpcServiceEnvoyGrpc,
    RetryPolicy,
)
from envoy_data_plane.envoy.config.listener.v3 import Listener
from envoy_data_plane.envoy.config.overload.v3 import OverloadManager, ResourceMonitor
from envoy_data_plane.envoy.extensions.resource_monitors.downstream_connections.v3 import DownstreamConnectionsConfig

from dragoman.codec import encode, pack, struct, to_json
from dragoman.sidecar.address import StaticAddresses
from dragoman.sidecar.control_plane import XDS_CLUSTER, ControlPlane, google_grpc, xds_cluster
from dragoman.sidecar.node import Json, Node
from dragoman.sidecar.static_listeners import admin_cluster, static_listeners
from dragoman.sidecar.statistics import Statistics, stats_config

# Istio: tools/packaging/common/envoy_bootstrap.json, layered_runtime.
_RUNTIME: Final[Mapping[str, Json]] = {
    "re2.max_program_size.error_level": 32768,  # else a long but legal regex of a route is refused
    "envoy.reloadable_features.http_reject_path_with_fragment": False,
}

_RECONNECT: Final = RetryPolicy(
    retry_back_off=BackoffStrategy(base_interval=timedelta(milliseconds=500), max_interval=timedelta(seconds=5))
)
"""When a lost stream is opened again: after a random part of an interval that doubles from the first to the second.

Envoy's own maximum is 30 s (EnvoyGrpc.retry_policy), and for as long a mesh would lag behind a control plane that is
back after some seconds. An agent, that Istio has in every pod, reconnects at once.
"""


@dataclass(frozen=True, slots=True)
class Bootstrap:
    """What a bootstrap is made of.

    `protocol` is the variant of ADS: incremental, or state of the world. `max_connections` limits the
    downstream connections of the whole proxy (Istio: practically unlimited); `runtime` adds to Envoy's runtime flags;
    `listeners` and `clusters` are further static ones.
    """

    node: Node
    control_plane: ControlPlane
    addresses: StaticAddresses
    protocol: Literal["delta", "sotw"] = "delta"
    statistics: Statistics = field(default_factory=Statistics)
    max_connections: int = 2**31 - 1
    runtime: Mapping[str, Json] = field(default_factory=dict)
    listeners: tuple[Listener, ...] = ()
    clusters: tuple[Cluster, ...] = ()


def bootstrap(parameters: Bootstrap) -> EnvoyBootstrap:
    """The bootstrap as Envoy's own message."""
    return EnvoyBootstrap(
        node=parameters.node.to_envoy(),
        admin=Admin(address=parameters.addresses.admin.to_envoy(), ignore_global_conn_limit=True),
        dynamic_resources=BootstrapDynamicResources(
            ads_config=_ads_config(parameters), cds_config=_ads(), lds_config=_ads()
        ),
        static_resources=BootstrapStaticResources(
            clusters=[
                *([] if parameters.control_plane.by_google_grpc else [xds_cluster(parameters.control_plane)]),
                admin_cluster(parameters.addresses.admin),
                *parameters.clusters,
            ],
            listeners=[*static_listeners(parameters.addresses), *parameters.listeners],
        ),
        stats_config=stats_config(parameters.statistics),
        stats_flush_interval=parameters.statistics.flush_interval,
        stats_eviction_interval=parameters.statistics.eviction_interval,
        deferred_stat_options=BootstrapDeferredStatOptions(enable_deferred_creation_stats=True),
        overload_manager=_connection_limit(parameters.max_connections),
        layered_runtime=LayeredRuntime(
            layers=[
                RuntimeLayer(name="global config", static_layer=struct({**_RUNTIME, **parameters.runtime})),
                RuntimeLayer(name="admin", admin_layer=RuntimeLayerAdminLayer()),
            ]
        ),
    )


def render(parameters: Bootstrap) -> dict[str, Any]:
    """The bootstrap as canonical protobuf JSON. To be written as JSON, never YAML: Envoy reads YAML 1.1, where the
    name `n` is a boolean.
    """
    return to_json(EnvoyBootstrap, encode(bootstrap(parameters)))


def _ads() -> ConfigSource:
    # 0 s: never start without configuration. After the default 15 s Envoy would listen with what it has.
    return ConfigSource(
        ads=AggregatedConfigSource(), initial_fetch_timeout=timedelta(0), resource_api_version=ApiVersion.V3
    )


def _ads_config(parameters: Bootstrap) -> ApiConfigSource:
    delta = parameters.protocol == "delta"
    service = (
        GrpcService(google_grpc=google_grpc(parameters.control_plane))
        if parameters.control_plane.by_google_grpc
        else GrpcService(envoy_grpc=GrpcServiceEnvoyGrpc(cluster_name=XDS_CLUSTER, retry_policy=_RECONNECT))
    )
    return ApiConfigSource(
        api_type=ApiConfigSourceApiType.DELTA_GRPC if delta else ApiConfigSourceApiType.GRPC,
        transport_api_version=ApiVersion.V3,
        set_node_on_first_message_only=True,
        grpc_services=[service],
    )


def _connection_limit(connections: int) -> OverloadManager:
    monitor = DownstreamConnectionsConfig(max_active_downstream_connections=connections)
    return OverloadManager(
        resource_monitors=[
            ResourceMonitor(
                name="envoy.resource_monitors.global_downstream_max_connections", typed_config=pack(monitor)
            )
        ]
    )

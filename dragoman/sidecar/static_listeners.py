"""The listeners a sidecar has before any control plane speaks: what an agent would offer, done by Envoy itself.

Each is a narrow door to Envoy's admin interface, which itself stays on its own address. They refuse to share their
port (`enable_reuse_port: false`): by Envoy's default a second proxy on the same address would silently take half of
the connections instead of failing to start.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from envoy_data_plane.envoy.config.cluster.v3 import Cluster, ClusterDiscoveryType
from envoy_data_plane.envoy.config.core.v3 import DataSource
from envoy_data_plane.envoy.config.endpoint.v3 import ClusterLoadAssignment, Endpoint, LbEndpoint, LocalityLbEndpoints
from envoy_data_plane.envoy.config.listener.v3 import Filter, FilterChain, Listener
from envoy_data_plane.envoy.config.route.v3 import Route, RouteAction, RouteConfiguration, RouteMatch, VirtualHost
from envoy_data_plane.envoy.extensions.filters.http.lua.v3 import Lua
from envoy_data_plane.envoy.extensions.filters.http.router.v3 import Router
from envoy_data_plane.envoy.extensions.filters.network.http_connection_manager.v3 import (
    HttpConnectionManager,
    HttpFilter,
)

from dragoman.codec import pack
from dragoman.sidecar.address import SocketAddress, StaticAddresses

ADMIN_CLUSTER: Final = "admin"

# A full scrape is tens of megabytes where many services are seen, and a filter that holds the body answers 500
# beyond the buffer limit (1 MiB by default).
SCRAPE_LIMIT_BYTES: Final = 64 * 1024 * 1024

# Envoy puts its own name before every metric that is not of a registered namespace.
_RENAME_METRICS: Final = """\
function envoy_on_response(handle)
  local body = handle:body(true)
  local length = body:length()
  if length > 0 then
    local metrics = body:getBytes(0, length):gsub("envoy_istio_", "istio_")
    body:setBytes(metrics)
  end
end
"""

# Admin commands that change something are POST only; the kubelet's preStop hook can only GET. Who has Envoy exit gets
# an answer first: the command is given without waiting for what comes of it, and the answer is out before Envoy's main
# thread obeys.
_LIFECYCLE: Final = """\
function envoy_on_request(handle)
  local headers = handle:headers()
  if headers:get(":path") == "/quitquitquit" then
    local quit = {[":method"] = "POST", [":path"] = "/quitquitquit", [":authority"] = "admin"}
    handle:httpCall("admin", quit, "", 5000, true)
    handle:respond({[":status"] = "200"}, "OK\\n")
  else
    headers:replace(":method", "POST")
  end
end
"""


def admin_cluster(admin: SocketAddress) -> Cluster:
    """The proxy's own admin interface."""
    return Cluster(
        name=ADMIN_CLUSTER,
        type=ClusterDiscoveryType.STATIC,
        connect_timeout=timedelta(seconds=1),
        per_connection_buffer_limit_bytes=SCRAPE_LIMIT_BYTES,
        load_assignment=ClusterLoadAssignment(
            cluster_name=ADMIN_CLUSTER,
            endpoints=[
                LocalityLbEndpoints(lb_endpoints=[LbEndpoint(endpoint=Endpoint(address=admin.to_envoy()))]),
            ],
        ),
    )


def static_listeners(addresses: StaticAddresses) -> list[Listener]:
    """Readiness, metrics and lifecycle.

    * `/healthz/ready`: 200 when Envoy has had its first listeners and clusters; until then the port refuses
      connections, as Envoy's workers do not run before.
    * `/stats/prometheus`: all metrics, Istio's under Istio's names.
    * `/drain`: discourage connections from now on, but close no listener; `/quitquitquit`: answer and exit. GET or
      POST.
    """
    return [
        _listener("readiness", addresses.readiness, [_route("/healthz/ready", "/ready")]),
        _listener("prometheus", addresses.prometheus, [_route("/stats/prometheus")], lua=_RENAME_METRICS),
        _listener(
            "lifecycle",
            addresses.lifecycle,
            [_route("/drain", "/drain_listeners?graceful&skip_exit"), _route("/quitquitquit")],
            lua=_LIFECYCLE,
        ),
    ]


def _route(path: str, admin_path: str = "") -> Route:
    return Route(
        match=RouteMatch(path=path),
        route=RouteAction(cluster=ADMIN_CLUSTER, prefix_rewrite=admin_path),
    )


def _listener(name: str, address: SocketAddress, routes: list[Route], *, lua: str | None = None) -> Listener:
    filters = [HttpFilter(name="envoy.filters.http.router", typed_config=pack(Router()))]
    if lua is not None:
        script = Lua(default_source_code=DataSource(inline_string=lua))
        filters.insert(0, HttpFilter(name="envoy.filters.http.lua", typed_config=pack(script)))
    manager = HttpConnectionManager(
        stat_prefix=name,
        route_config=RouteConfiguration(
            name=name, virtual_hosts=[VirtualHost(name=name, domains=["*"], routes=routes)]
        ),
        http_filters=filters,
    )
    return Listener(
        name=name,
        address=address.to_envoy(),
        enable_reuse_port=False,
        ignore_global_conn_limit=True,  # a proxy under load must still answer its probes
        per_connection_buffer_limit_bytes=SCRAPE_LIMIT_BYTES,
        filter_chains=[
            FilterChain(
                filters=[Filter(name="envoy.filters.network.http_connection_manager", typed_config=pack(manager))]
            )
        ],
    )

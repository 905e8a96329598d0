"""Bootstraps of Envoys that need no control plane: the listeners of a sidecar at their least.

Each direction leaves a mark on HTTP requests, so that a test sees which Envoys a request has passed.
"""

from collections.abc import Mapping
from typing import Any

from e2e.harness import PodSpec, ServiceSpec
from e2e.harness.capture import INBOUND_PORT, INBOUND_SOURCE, OUTBOUND_PORT

OUTBOUND_MARK = "x-passed-outbound"
INBOUND_MARK = "x-passed-inbound"

_TYPES = "type.googleapis.com/envoy."
_NETWORK = f"{_TYPES}extensions.filters.network."


def static_sidecar(spec: PodSpec, routes: Mapping[ServiceSpec, PodSpec] | None = None) -> Mapping[str, Any]:
    """A sidecar that sends HTTP for services to the pods given, and all else where it was meant to go."""
    routes = routes or {}
    outbound = [
        _listener(
            f"{service.address}_{port.number}",
            service.address or "",
            port.number,
            _http(f"outbound|{port.number}||{service.name}", OUTBOUND_MARK, spec.name),
            bind_to_port=False,
        )
        for service in routes
        for port in service.ports
    ]
    clusters = [
        _static_cluster(f"outbound|{port.number}||{service.name}", pod.address, port.target or port.number)
        for service, pod in routes.items()
        for port in service.ports
    ]
    inbound = _listener("virtualInbound", "0.0.0.0", INBOUND_PORT, _tcp("inbound"))  # noqa: S104
    inbound["listener_filters"] = [
        _extension("envoy.filters.listener.original_dst", "filters.listener.original_dst.v3.OriginalDst"),
        _extension("envoy.filters.listener.http_inspector", "filters.listener.http_inspector.v3.HttpInspector"),
    ]
    inbound["listener_filters_timeout"] = "0.2s"
    inbound["continue_on_listener_filters_timeout"] = True  # a server that speaks first
    inbound["filter_chains"].insert(
        0,
        {
            "filter_chain_match": {"application_protocols": ["http/1.1", "h2c"]},
            "filters": [_http("inbound", INBOUND_MARK, spec.name)],
        },
    )
    everything_else = _listener("virtualOutbound", "0.0.0.0", OUTBOUND_PORT, _tcp("passthrough"))  # noqa: S104
    return {
        "node": {"id": spec.name, "cluster": spec.name},
        "admin": {"address": _address("127.0.0.1", 15000)},
        "static_resources": {
            "listeners": [{**everything_else, "use_original_dst": True}, *outbound, inbound],
            "clusters": [
                *clusters,
                _original_destination("passthrough"),
                {**_original_destination("inbound"), "upstream_bind_config": {"source_address": _source()}},
            ],
        },
    }


def _listener(
    name: str, host: str, port: int, network_filter: Mapping[str, Any], *, bind_to_port: bool = True
) -> dict[str, Any]:
    return {
        "name": name,
        "address": _address(host, port),
        "bind_to_port": bind_to_port,
        "filter_chains": [{"filters": [network_filter]}],
    }


def _http(cluster: str, mark: str, value: str) -> Mapping[str, Any]:
    return {
        "name": "envoy.filters.network.http_connection_manager",
        "typed_config": {
            "@type": f"{_NETWORK}http_connection_manager.v3.HttpConnectionManager",
            "stat_prefix": cluster,
            "upgrade_configs": [{"upgrade_type": "websocket"}],
            "route_config": {
                "name": cluster,
                "request_headers_to_add": [{"header": {"key": mark, "value": value}}],
                "virtual_hosts": [
                    {
                        "name": "all",
                        "domains": ["*"],
                        "routes": [{"match": {"prefix": "/"}, "route": {"cluster": cluster, "timeout": "0s"}}],
                    }
                ],
            },
            "http_filters": [_extension("envoy.filters.http.router", "filters.http.router.v3.Router")],
        },
    }


def _tcp(cluster: str) -> Mapping[str, Any]:
    return {
        "name": "envoy.filters.network.tcp_proxy",
        "typed_config": {"@type": f"{_NETWORK}tcp_proxy.v3.TcpProxy", "stat_prefix": cluster, "cluster": cluster},
    }


def _static_cluster(name: str, host: str, port: int) -> Mapping[str, Any]:
    endpoint = {"endpoint": {"address": _address(host, port)}}
    return {
        "name": name,
        "type": "STATIC",
        "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": [endpoint]}]},
        **_AS_DOWNSTREAM,
    }


def _original_destination(name: str) -> Mapping[str, Any]:
    return {"name": name, "type": "ORIGINAL_DST", "lb_policy": "CLUSTER_PROVIDED", **_AS_DOWNSTREAM}


def _extension(name: str, message: str) -> Mapping[str, Any]:
    return {"name": name, "typed_config": {"@type": f"{_TYPES}extensions.{message}"}}


def _address(host: str, port: int) -> Mapping[str, Any]:
    return {"socket_address": {"address": host, "port_value": port}}


def _source() -> Mapping[str, Any]:
    return {"address": INBOUND_SOURCE, "port_value": 0}


_AS_DOWNSTREAM: Mapping[str, Any] = {
    "typed_extension_protocol_options": {
        "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
            "@type": f"{_TYPES}extensions.upstreams.http.v3.HttpProtocolOptions",
            "use_downstream_protocol_config": {"http2_protocol_options": {}},
        }
    }
}

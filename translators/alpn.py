"""The application protocols that meshed peers offer each other in the TLS handshake.

A server whose port speaks anything tells HTTP from other bytes by what the client offers, so the client must say it per
connection. Istio has an Envoy filter of its own for that (`istio.alpn`); here the clusters of ports with a declared
protocol offer it statically, and for undeclared ones a filter state object overrides the offer per request
(Envoy: "envoy.network.application_protocols" well-known filter state object). Chain matches look at what is offered;
what is *negotiated* is `h2` or `http/1.1`, which Envoy's AUTO codec trusts.
"""

from __future__ import annotations

from envoy_data_plane.envoy.config.core.v3 import DataSource, SubstitutionFormatString
from envoy_data_plane.envoy.config.route.v3 import FilterConfig
from envoy_data_plane.envoy.extensions.filters.common.set_filter_state.v3 import (
    FilterStateValue,
    FilterStateValueSharedWithUpstream,
)
from envoy_data_plane.envoy.extensions.filters.http.set_filter_state.v3 import Config
from envoy_data_plane.envoy.extensions.filters.network.http_connection_manager.v3 import HttpFilter
from envoy_data_plane.google.protobuf import Any

from dragoman.codec import pack
from dragoman.mesh.protocol import Protocol

HTTP1 = ("istio-http/1.1", "istio", "http/1.1")
HTTP2 = ("istio-h2", "istio", "h2")
TCP = ("istio",)

MESH_HTTP = ("istio-http/1.0", "istio-http/1.1", "istio-h2")
"""What a server takes for meshed HTTP where the port's protocol is detected."""
MESH_TCP = ("istio-peer-exchange", "istio")
MESH_ANY = ("istio", "istio-peer-exchange", "istio-http/1.0", "istio-http/1.1", "istio-h2")
PLAIN_HTTP = ("http/1.1", "h2c")
"""What Envoy's HTTP inspector says of plaintext HTTP."""
SERVED = ("h2", "http/1.1")
"""What servers negotiate, in order of preference."""

FILTER = "istio.alpn"


def offered(protocol: Protocol) -> tuple[str, ...]:
    """What a cluster offers meshed servers on a port of this protocol."""
    if protocol.is_http2:
        return HTTP2
    return HTTP1 if protocol.is_http else TCP


def per_request_filter() -> HttpFilter:
    """The HTTP filter that offers the request's own protocol, off except on routes that turn it on."""
    offer = f"%CEL(request.protocol == 'HTTP/2' ? '{','.join(HTTP2)}' : '{','.join(HTTP1)}')%"
    return HttpFilter(
        name=FILTER,
        typed_config=pack(
            Config(
                on_request_headers=[
                    FilterStateValue(
                        object_key="envoy.network.application_protocols",
                        format_string=SubstitutionFormatString(text_format_source=DataSource(inline_string=offer)),
                        shared_with_upstream=FilterStateValueSharedWithUpstream.ONCE,
                    )
                ]
            )
        ),
        disabled=True,
    )


PER_REQUEST: dict[str, Any] = {FILTER: pack(FilterConfig(config=Any()))}
"""`typed_per_filter_config` of a route whose destination's protocol is detected."""

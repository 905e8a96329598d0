"""Listener filters: what looks at a connection before a filter chain is chosen."""

from __future__ import annotations

from collections.abc import Iterable

from envoy_data_plane.envoy.config.listener.v3 import (
    ListenerFilter,
    ListenerFilterChainMatchPredicate,
    ListenerFilterChainMatchPredicateMatchSet,
)
from envoy_data_plane.envoy.extensions.filters.listener.http_inspector.v3 import HttpInspector
from envoy_data_plane.envoy.extensions.filters.listener.original_dst.v3 import OriginalDst
from envoy_data_plane.envoy.extensions.filters.listener.original_src.v3 import OriginalSrc
from envoy_data_plane.envoy.extensions.filters.listener.proxy_protocol.v3 import ProxyProtocol
from envoy_data_plane.envoy.extensions.filters.listener.tls_inspector.v3 import TlsInspector
from envoy_data_plane.envoy.type.v3 import Int32Range

from dragoman.codec import pack

TPROXY_MARK = 1337
"""Packet mark by which Istio's TPROXY rules know the proxy's own traffic (Istio: tools/istio-iptables)."""


def original_destination() -> ListenerFilter:
    return ListenerFilter(name="envoy.filters.listener.original_dst", typed_config=pack(OriginalDst()))


def original_source(but_on: Iterable[int] = ()) -> ListenerFilter:
    """Dials upstream from the client's address; not on the ports `but_on`."""
    return ListenerFilter(
        name="envoy.filters.listener.original_src",
        typed_config=pack(OriginalSrc(mark=TPROXY_MARK)),
        filter_disabled=_on_ports(but_on),
    )


def proxy_protocol() -> ListenerFilter:
    """Takes the client's address from the PROXY protocol that a load balancer speaks; without it, it is refused."""
    return ListenerFilter(name="envoy.filters.listener.proxy_protocol", typed_config=pack(ProxyProtocol()))


def tls_inspector(but_on: Iterable[int] = ()) -> ListenerFilter:
    """Tells TLS from plaintext and reads SNI and ALPN; not on the ports `but_on`, where a server may speak first."""
    return ListenerFilter(
        name="envoy.filters.listener.tls_inspector",
        # A client hello of the mesh is small: less memory for each connection (Istio does the same).
        typed_config=pack(TlsInspector(initial_read_buffer_size=512)),
        filter_disabled=_on_ports(but_on),
    )


def http_inspector(but_on: Iterable[int] = ()) -> ListenerFilter:
    """Tells plaintext HTTP from other bytes; not on the ports `but_on`."""
    return ListenerFilter(
        name="envoy.filters.listener.http_inspector",
        typed_config=pack(HttpInspector()),
        filter_disabled=_on_ports(but_on),
    )


def _on_ports(ports: Iterable[int]) -> ListenerFilterChainMatchPredicate | None:
    rules = [
        ListenerFilterChainMatchPredicate(destination_port_range=Int32Range(start=port, end=port + 1))
        for port in sorted(ports)
    ]
    match rules:
        case []:
            return None
        case [rule]:
            return rule
    return ListenerFilterChainMatchPredicate(or_match=ListenerFilterChainMatchPredicateMatchSet(rules=rules))

"""AuthorizationPolicy → RBAC filters and, for TCP, names that may complete the handshake."""

from __future__ import annotations

from envoy_data_plane.envoy.config.listener.v3 import Filter
from envoy_data_plane.envoy.extensions.filters.network.http_connection_manager.v3 import HttpFilter
from envoy_data_plane.envoy.extensions.transport_sockets.tls.v3 import SubjectAltNameMatcher

from dragoman.engine import Graph
from dragoman.mesh.labels import Labels

PeerNames = tuple[SubjectAltNameMatcher, ...]


def mesh_peers(g: Graph) -> PeerNames:
    return ()


def tcp_peers(g: Graph, namespace: str, labels: Labels, port: int) -> PeerNames:
    return ()


def http_filters(g: Graph, namespace: str, labels: Labels) -> tuple[HttpFilter, ...]:
    return ()


def network_filters(g: Graph, namespace: str, labels: Labels, port: int) -> tuple[Filter, ...]:
    return ()

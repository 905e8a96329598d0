"""Route configurations of a sidecar (Istio: httproute.go, buildSidecarOutboundHTTPRouteConfig).

A route configuration is a join of pieces: virtual hosts, in chunks, by the namespace that provides them. A change of
one VirtualService makes one virtual host and its chunk anew, and lists of chunks whose bytes are joined when they are
sent.
"""

from __future__ import annotations

from collections.abc import Iterator

from envoy_data_plane.envoy.config.route.v3 import RouteConfiguration

from dragoman.codec import ROUTE, Encoded, Ref
from dragoman.engine import Graph, consult, query
from dragoman.mesh.proxies import OutboundView
from dragoman.mesh.services import service_of
from translators.destinations import Client
from translators.names import HTTP_PROXY_ROUTE
from translators.pieces import NOTHING, Piece, concatenated, joined
from translators.redirects import MAX_BODY
from translators.virtual_host_members import (
    ALL_PORTS,
    Chunk,
    Provider,
    Scope,
    chunks,
    domains,
    lost_domains,
    members_of,
    providers,
)
from translators.virtual_hosts import catch_all, is_destination, virtual_host

VIRTUAL_HOSTS = 2
"""Field number of `RouteConfiguration.virtual_hosts`."""


@query
def route_configuration(g: Graph, view: OutboundView, name: str) -> Encoded:
    """The route configuration `name`: `<port>`, `http_proxy`, or `<fqdn>:<port>` for a port whose protocol is detected.

    Any other name gives an empty one: a listener that names it must not wait for it.
    """
    host, _, port = name.rpartition(":")
    if name == HTTP_PROXY_ROUTE:
        return _shared(g, view, name, ALL_PORTS, settings(ignore_port=False))
    if not port.isdecimal():
        return _whole(name, settings())
    if not host:
        return _shared(g, view, name, int(port), settings())
    return _whole(name, _of_one(g, view, host, int(port)), settings())


def _whole(name: str, *pieces: Piece, refs: frozenset[Ref] | None = None) -> Encoded:
    return concatenated((Piece.of(RouteConfiguration(name=name)), *pieces), refs).resource(ROUTE, name)


def settings(*, ignore_port: bool = True) -> Piece:
    """What all route configurations have in common. Clusters are not checked: they may come and go at any time."""
    return _IGNORING_PORTS if ignore_port else _MINDING_PORTS


def _settings(ignore_port: bool) -> Piece:
    return Piece.of(
        RouteConfiguration(
            validate_clusters=False,
            max_direct_response_body_size_bytes=MAX_BODY,
            ignore_port_in_host_matching=ignore_port,
        )
    )


_IGNORING_PORTS, _MINDING_PORTS = _settings(True), _settings(False)


def _shared(g: Graph, view: OutboundView, name: str, port: int, settings: Piece) -> Encoded:
    client, scope = Client(view.namespace, view.labels), Scope(view.namespace, view.egress, port)
    listed = [virtual_hosts_of(g, client, scope, provider) for provider in providers(g, scope)]
    refs = consult(g, _references, client, scope, view.allow_any)
    return _whole(name, *listed, joined(VIRTUAL_HOSTS, (catch_all(view.allow_any),)), settings, refs=refs)


@query
def virtual_hosts_of(g: Graph, client: Client, scope: Scope, provider: Provider) -> Piece:
    """The virtual hosts of one provider."""
    listed = [virtual_hosts(g, client, scope, chunk) for chunk in chunks(g, scope, provider)]
    return concatenated(listed, consult(g, _references_of, client, scope, provider))


@query
def virtual_hosts(g: Graph, client: Client, scope: Scope, chunk: Chunk) -> Piece:
    """The virtual hosts of one chunk."""
    pieces = (virtual_host(g, client, *entry) for entry in _entries(g, scope, chunk))
    return joined(VIRTUAL_HOSTS, (piece for piece in pieces if piece is not None))


def _entries(g: Graph, scope: Scope, chunk: Chunk) -> Iterator[tuple[str, int, tuple[str, ...]]]:
    """Host, port and domains of each virtual host of a chunk."""
    lost = consult(g, lost_domains, scope, chunk)
    for member in members_of(g, scope, chunk):
        names = domains(g, scope, member)
        if lost:
            names = tuple(name for name in names if (member, name) not in lost)
        yield member.host, member.port, names


@query
def _references(g: Graph, client: Client, scope: Scope, allow_any: bool) -> frozenset[Ref]:
    """What all chunks name. It changes less often than what they say and is as wide as the mesh: hence by itself."""
    named = (_references_of(g, client, scope, provider) for provider in providers(g, scope))
    return catch_all(allow_any).refs.union(*named)


@query
def _references_of(g: Graph, client: Client, scope: Scope, provider: Provider) -> frozenset[Ref]:
    named = (_references_of_chunk(g, client, scope, chunk) for chunk in chunks(g, scope, provider))
    return frozenset().union(*named)


@query
def _references_of_chunk(g: Graph, client: Client, scope: Scope, chunk: Chunk) -> frozenset[Ref]:
    return virtual_hosts(g, client, scope, chunk).refs


def _of_one(g: Graph, view: OutboundView, host: str, port: int) -> Piece:
    """A listener that serves one service only: whatever host a request names, it is for that service."""
    found = service_of(g, host)
    if found is None or not is_destination(found, view.namespace) or found.port(port) is None:
        return NOTHING
    piece = virtual_host(g, Client(view.namespace, view.labels), host, port, ("*",))
    return joined(VIRTUAL_HOSTS, (piece,) if piece is not None else ())

"""Which objects a resource, or a part of one, was made from: the recorded reads, as object keys."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final

from envoy_data_plane.envoy.config.listener.v3 import FilterChain
from envoy_data_plane.envoy.config.route.v3 import VirtualHost

from crds.kubernetes.endpoints import Endpoints
from crds.kubernetes.endpointslice import EndpointSlice
from crds.kubernetes.node import Node
from crds.kubernetes.pod import Pod
from crds.meta import Object, ObjectKey
from dragoman.codec import ENDPOINT, Encoded, decode
from dragoman.engine import Call, Failure, Graph, Query, attempt
from dragoman.mesh.endpoints import endpoints
from dragoman.mesh.inputs import OBJECTS
from translators.gateway_listeners import tls_chains
from translators.gateway_routes import gateway_virtual_host
from translators.inbound_listeners import passthrough_chains, port_chains
from translators.pieces import Piece
from translators.virtual_hosts import virtual_host

Origins = tuple[ObjectKey, ...]


def origins(g: Graph, call: Call[Any]) -> Origins:
    """The objects that the value of `call` was made from, sorted."""
    return tuple(sorted(_objects(g, call)))


def parts(g: Graph, call: Call[Encoded | None]) -> dict[str, Origins]:
    """The objects that each part of a resource was made from, in the order of the parts.

    Parts are the virtual hosts of a route configuration by name, the filter chains of an inbound or gateway listener by
    name (those of a gateway by server names), the endpoints of a load assignment by address. Other resources have none.
    """
    value = attempt(g, call.query, *call.args)
    shown = _addresses(value) if isinstance(value, Encoded) and value.type_url == ENDPOINT else ()
    found: dict[str, Origins] = {}
    for piece in _pieces(g, call):
        if piece.query is endpoints:
            objects = _objects(g, piece)
            found |= {name: _of_endpoint(objects, addresses) for name, addresses in shown}
        else:
            made_from = origins(g, piece)
            for name in _NAMES[piece.query](attempt(g, piece.query, *piece.args)):
                found[name] = tuple(sorted({*found.get(name, ()), *made_from}))
    return found


def _objects(g: Graph, call: Call[Any]) -> dict[ObjectKey, Object]:
    found: dict[ObjectKey, Object] = {}
    for cell, key in g.provenance(call):
        value = cell(g, key)
        if cell is OBJECTS:
            found[key] = value
        else:
            found |= {
                obj.key: obj for obj in (value if isinstance(value, tuple) else (value,)) if isinstance(obj, Object)
            }
    return found


def _pieces(g: Graph, call: Call[Any]) -> Iterator[Call[Any]]:
    """The calls that make parts, nearest first in the order of the reads; what they read themselves is theirs."""
    seen = {call}
    todo = [*reversed(g.reads(call))]
    while todo:
        read = todo.pop()
        if read in seen:
            continue
        seen.add(read)
        if read.query is endpoints or read.query in _NAMES:
            yield read
        else:
            todo += reversed(g.reads(read))


def _virtual_host_names(value: Piece | Failure | None) -> Iterable[str]:
    if isinstance(value, Piece):
        yield _name(VirtualHost, value)


def _chain_names(value: Any) -> Iterable[str]:
    if not isinstance(value, Failure):
        for piece in value:
            yield _name(FilterChain, piece)


def _name(of: type[VirtualHost | FilterChain], piece: Piece) -> str:
    message: Any = decode(of, piece.payload)
    return str(message.name)


def _server_names(value: Any) -> Iterable[str]:
    if not isinstance(value, Failure):
        for chain in value:
            yield ",".join(chain.names)


_NAMES: Final[Mapping[Query[..., Any], Callable[[Any], Iterable[str]]]] = {
    virtual_host: _virtual_host_names,
    gateway_virtual_host: _virtual_host_names,
    port_chains: _chain_names,
    passthrough_chains: _chain_names,
    tls_chains: _server_names,
}
"""Queries that make parts, and how their value names them."""


def _addresses(assignment: Encoded) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """Name and IP addresses of each endpoint."""
    message: Any = decode(assignment.type_url, assignment.payload)
    found = []
    for endpoint in (each.endpoint for place in message.endpoints for each in place.lb_endpoints):
        first = endpoint.address.socket_address
        host = f"[{first.address}]" if ":" in first.address else first.address
        more = (each.address.socket_address.address for each in endpoint.additional_addresses)
        found.append((f"{host}:{first.port_value}", (first.address, *more)))
    return tuple(found)


def _of_endpoint(objects: Mapping[ObjectKey, Object], addresses: tuple[str, ...]) -> Origins:
    """Of the objects that all endpoints of a port were made from, those that this one was."""
    about = {key: _nodes_of(obj, addresses) for key, obj in objects.items()}
    nodes = frozenset().union(*(found for found in about.values() if found is not None))
    return tuple(
        sorted(
            key
            for key, obj in objects.items()
            if about[key] is not None or (key.name in nodes if isinstance(obj, Node) else not isinstance(obj, _HOLDERS))
        )
    )


_HOLDERS = (Pod, EndpointSlice, Endpoints)
"""Objects that hold addresses."""


def _nodes_of(obj: Object, addresses: tuple[str, ...]) -> frozenset[str] | None:
    """The nodes that an object says an endpoint is on; None if it holds none of its addresses."""
    held: list[tuple[str | None, str]]
    match obj:
        case Pod():
            held = [(obj.spec.node_name, ip) for ip in (obj.status.pod_ip, *(each.ip for each in obj.status.pod_ips))]
        case EndpointSlice():
            held = [(each.node_name, ip) for each in obj.endpoints for ip in each.addresses]
        case Endpoints():
            held = [
                (each.node_name, each.ip)
                for subset in obj.subsets
                for each in (*subset.addresses, *subset.not_ready_addresses)
            ]
        case _:
            return None
    nodes = [node for node, ip in held if ip in addresses]
    return frozenset(node for node in nodes if node) if nodes else None

"""Which Gateway resources a gateway proxy serves, and on which of its ports.

A gateway is bound to every workload that its selector matches; several on one workload are merged (see
`gateway_merge`). Istio: pilot/pkg/model/gateway.go (mergeGateways).
"""

from __future__ import annotations

from crds.gateway import Gateway
from crds.meta import ObjectKey
from crds.virtualservice import VirtualService
from dragoman.engine import Graph, consult, query
from dragoman.mesh.exports import exports, visible
from dragoman.mesh.gateway_merge import BoundServer, Merged, merged
from dragoman.mesh.hosts import matches, resolve
from dragoman.mesh.inputs import GATEWAYS, OBJECTS, SERVICE_NAMES, VIRTUAL_SERVICES_BY_GATEWAY, chosen
from dragoman.mesh.labels import Labels, selects
from dragoman.mesh.proxies import GatewayView
from dragoman.mesh.services import service, target_port_of
from dragoman.mesh.settings import mesh_config


@query
def gateways_of(g: Graph, labels: Labels) -> tuple[Gateway, ...]:
    """Gateways whose selector matches a gateway workload, oldest first."""
    return tuple(gateway for gateway in consult(g, GATEWAYS, None) if selects(gateway.spec.selector, labels))


@query
def listen_ports(
    g: Graph, namespace: str, labels: Labels, ports: tuple[tuple[str, int], ...]
) -> tuple[tuple[int, int], ...]:
    """`(service port, workload port)` of the Services that select a gateway workload: a Gateway names service ports."""
    found: dict[int, int] = {}
    for name in SERVICE_NAMES(g, namespace):
        candidate = service(g, namespace, name)
        if candidate is None or not candidate.selector or not candidate.selector <= labels:
            continue
        for port in candidate.ports:
            target = target_port_of(port, ports)
            if target is not None:
                found.setdefault(port.number, target)
    return tuple(sorted(found.items()))


@query
def merged_servers(g: Graph, view: GatewayView) -> Merged:
    """The servers that a gateway workload offers, and those that others on the same port leave no room for.

    Nothing here is provenance: who takes a server says so with `used`.
    """
    listen = dict(consult(g, listen_ports, view.namespace, view.labels, view.ports))
    return merged(
        BoundServer(
            f"{gateway.metadata.namespace}/{gateway.metadata.name}",
            server.port.number,
            listen.get(server.port.number, server.port.number),
            server.bind or view.bind[0],
            server,
        )
        for gateway in consult(g, gateways_of, view.labels)
        for server in gateway.spec.servers
    )


def servers_of(g: Graph, view: GatewayView) -> tuple[BoundServer, ...]:
    """Every server a gateway workload offers, gateways oldest first and servers in their order."""
    return consult(g, merged_servers, view).servers


def used(g: Graph, bound: BoundServer) -> BoundServer:
    """`bound` as a part of what is being made, so that provenance names its Gateway."""
    OBJECTS(g, ObjectKey("Gateway", bound.namespace, bound.name))
    return bound


@query
def virtual_services_of(g: Graph, gateway: str) -> tuple[VirtualService, ...]:
    """VirtualServices bound to a gateway `namespace/name` that its namespace may see, oldest first."""
    default = mesh_config(g).default_virtual_service_export_to
    owner = gateway.split("/", 1)[0]
    return tuple(
        chosen(g, candidate)
        for candidate in consult(g, VIRTUAL_SERVICES_BY_GATEWAY, gateway)
        if visible(exports(candidate.spec.export_to, candidate.metadata.namespace, default), owner)
    )


def hosts_served(bound: BoundServer, virtual_service: VirtualService) -> tuple[str, ...]:
    """Hosts of a VirtualService that a server admits: the narrower of the two wherever one covers the other.

    A server's host may be `namespace/dnsName`, with `.` for the gateway's namespace and `*` for any.
    """
    owner = virtual_service.metadata.namespace
    found: dict[str, None] = {}
    for written in virtual_service.spec.hosts:
        for host in admitted(bound, owner, resolve(written, owner)):
            found[host] = None
    return tuple(found)


def admitted(bound: BoundServer, owner: str, host: str) -> tuple[str, ...]:
    """What a server admits of a host that an object of namespace `owner` names, in lower case as names are compared."""
    host = host.lower()
    found: dict[str, None] = {}
    for written in bound.server.hosts:
        scope, slash, pattern = written.lower().rpartition("/")
        if slash and scope not in ("*", owner) and not (scope == "." and owner == bound.namespace):
            continue
        if matches(pattern, host):
            found[host] = None
        elif matches(host, pattern):
            found[pattern] = None
    return tuple(found)

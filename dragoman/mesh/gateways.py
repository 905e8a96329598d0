"""Which Gateway resources a gateway proxy serves, and on which of its ports.

Istio: pilot/pkg/model/gateway.go (mergeGateways): by age; a gateway is bound to every workload its selector matches.
"""

from __future__ import annotations

from dataclasses import dataclass

from crds.gateway import Gateway, Server
from crds.servertls import ServerTLSMode
from crds.virtualservice import VirtualService
from dragoman.engine import Graph, consult, query
from dragoman.mesh.exports import exports, visible
from dragoman.mesh.hosts import matches, resolve
from dragoman.mesh.inputs import GATEWAYS, SERVICE_NAMES, VIRTUAL_SERVICES_BY_GATEWAY, chosen
from dragoman.mesh.labels import Labels, selects
from dragoman.mesh.proxies import GatewayView
from dragoman.mesh.services import service, target_port_of
from dragoman.mesh.settings import mesh_config


@dataclass(frozen=True, slots=True)
class BoundServer:
    """One server of a Gateway on a gateway workload: `port` is the number in the Gateway, `listen` the workload's."""

    gateway: str
    """`namespace/name`"""
    port: int
    listen: int
    server: Server

    @property
    def namespace(self) -> str:
        return self.gateway.split("/", 1)[0]

    @property
    def name(self) -> str:
        return self.gateway.split("/", 1)[1]


@query
def gateways_of(g: Graph, labels: Labels) -> tuple[Gateway, ...]:
    """Gateways whose selector matches a gateway workload, oldest first."""
    return tuple(chosen(g, gateway) for gateway in consult(g, GATEWAYS, None) if selects(gateway.spec.selector, labels))


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
def servers_of(
    g: Graph, namespace: str, labels: Labels, ports: tuple[tuple[str, int], ...]
) -> tuple[BoundServer, ...]:
    """Every server a gateway workload offers, gateways oldest first and servers in their order."""
    listen = dict(listen_ports(g, namespace, labels, ports))
    return tuple(
        BoundServer(
            f"{gateway.metadata.namespace}/{gateway.metadata.name}",
            server.port.number,
            listen.get(server.port.number, server.port.number),
            server,
        )
        for gateway in gateways_of(g, labels)
        for server in gateway.spec.servers
    )


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
        host = resolve(written, owner)
        for admitted in bound.server.hosts:
            scope, slash, pattern = admitted.rpartition("/")
            if slash and scope not in ("*", owner) and not (scope == "." and owner == bound.namespace):
                continue
            if matches(pattern, host):
                found[host] = None
            elif matches(host, pattern):
                found[pattern] = None
    return tuple(found)


@query
def credentials_of(g: Graph, view: GatewayView) -> tuple[str, ...]:
    """SDS names of the credentials that a gateway's servers use."""
    names: dict[str, None] = {}
    for bound in servers_of(g, view.namespace, view.labels, view.ports):
        tls = bound.server.tls
        if tls is None:
            continue
        listed = tls.credential_names or ((tls.credential_name,) if tls.credential_name else ())
        names.update(dict.fromkeys(f"kubernetes://{name}" for name in listed))
        if tls.mode in (ServerTLSMode.MUTUAL, ServerTLSMode.OPTIONAL_MUTUAL):
            authority = tls.ca_cert_credential_name or next((f"{name}-cacert" for name in listed), None)
            if authority is not None:
                names[f"kubernetes://{authority}"] = None
    return tuple(names)

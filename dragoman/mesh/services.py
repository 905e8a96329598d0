"""Services as the mesh sees them, made from Kubernetes Services (ServiceEntry joins here later).

Istio: pkg/config/kube/conversion.go (ConvertService). A value holds only what translators may depend on: a Service
whose status, resourceVersion or unread annotation changed gives an equal value, and nothing downstream is computed
again.
"""

from __future__ import annotations

from dataclasses import dataclass

from crds.kubernetes.service import Service as KubernetesService
from dragoman.engine import Graph, query
from dragoman.mesh.exports import EXPORT_ANNOTATION, exports, visible
from dragoman.mesh.families import Families, is_ipv6
from dragoman.mesh.hosts import matches, resolve, service_host, service_of_host
from dragoman.mesh.inputs import SERVICE_NAMES, SERVICE_NAMESPACES, SERVICES
from dragoman.mesh.labels import Labels, labels_of
from dragoman.mesh.protocol import Protocol, protocol_of
from dragoman.mesh.settings import mesh_config


@dataclass(frozen=True, slots=True)
class Port:
    """One port of a service. `target` is the workload's port: a number, or the name of a container port."""

    number: int
    name: str
    protocol: Protocol
    target: int | str


@dataclass(frozen=True, slots=True)
class Service:
    """One service. `addresses` are its virtual IPs, none for a headless one; `alias_of` is set for an ExternalName."""

    host: str
    namespace: str
    name: str
    ports: tuple[Port, ...]
    addresses: tuple[str, ...]
    families: Families | None
    """Of the addresses at which it has its pods; None where nobody says it: each pod's first."""
    headless: bool
    alias_of: str | None
    exported: frozenset[str]
    selector: Labels
    publish_not_ready: bool
    age: tuple[object, ...]
    """Sorts services oldest first: who wins where two ask for the same thing."""

    def port(self, number: int) -> Port | None:
        return next((port for port in self.ports if port.number == number), None)


@query
def service(g: Graph, namespace: str, name: str) -> Service | None:
    """The service `name` of `namespace`."""
    written = SERVICES(g, (namespace, name))
    if written is None:
        return None
    annotation = (written.metadata.annotations or {}).get(EXPORT_ANNOTATION, "")
    listed = tuple(entry.strip() for entry in annotation.split(",") if entry.strip())
    addresses = _addresses(written)
    created = written.metadata.creation_timestamp
    return Service(
        host=service_host(namespace, name),
        namespace=namespace,
        name=name,
        ports=_ports(written),
        addresses=addresses,
        families=_families(written, addresses),
        headless=written.spec.type != "ExternalName" and not addresses,
        alias_of=written.spec.external_name if written.spec.type == "ExternalName" else None,
        exported=exports(listed, namespace, mesh_config(g).default_service_export_to),
        selector=labels_of(written.spec.selector),
        publish_not_ready=bool(written.spec.publish_not_ready_addresses),
        age=(created.timestamp() if created else 0.0, name, namespace),
    )


def _addresses(written: KubernetesService) -> tuple[str, ...]:
    if written.spec.type == "ExternalName":
        return ()
    listed = written.spec.cluster_ips or ((written.spec.cluster_ip,) if written.spec.cluster_ip else ())
    return tuple(address for address in listed if address and address != "None")


def _families(written: KubernetesService, addresses: tuple[str, ...]) -> Families | None:
    """Kubernetes: ServiceSpec.ipFamilies, which the API server always sets; written by hand, clusterIPs say it."""
    six = {family == "IPv6" for family in written.spec.ip_families} or {is_ipv6(address) for address in addresses}
    if len(six) > 1:
        return Families.DUAL
    return next((Families.IPV6 if each else Families.IPV4 for each in six), None)


def _ports(written: KubernetesService) -> tuple[Port, ...]:
    return tuple(
        Port(
            number=port.port,
            name=port.name or "",
            protocol=protocol_of(port.port, port.name or "", port.app_protocol, port.protocol or "TCP"),
            target=port.target_port if port.target_port not in (None, "", 0) else port.port,
        )
        for port in written.spec.ports
    )


def target_port_of(port: Port, named: tuple[tuple[str, int], ...]) -> int | None:
    """The number of the workload port that a service port leads to, None if it names one the workload lacks.

    `named` are the workload's container ports as `(name, number)`.
    """
    return port.target if isinstance(port.target, int) else dict(named).get(port.target)


def service_of(g: Graph, host: str) -> Service | None:
    """The service with the fully qualified name `host`."""
    found = service_of_host(host)
    return None if found is None else service(g, *found)


@query
def canonical_host(g: Graph, host: str) -> str:
    """`host`, or the host an ExternalName service leads to, followed to its end.

    Two ExternalNames that lead to each other are a cycle: the engine makes that a failure of those hosts alone.
    """
    found = service_of(g, host)
    if found is None or found.alias_of is None:
        return host
    return canonical_host(g, resolve(found.alias_of, found.namespace))


Egress = tuple[tuple[str, str], ...]
"""What a proxy may see: pairs of namespace (or `*`) and host pattern, in canonical order (Istio: Sidecar.egress)."""

EVERYTHING: Egress = (("*", "*"),)


@query
def visible_services(g: Graph, client: str, egress: Egress, provider: str) -> tuple[str, ...]:
    """Names of the services of namespace `provider` that a proxy of namespace `client` with this egress sees."""
    patterns = tuple(pattern for namespace, pattern in egress if namespace in ("*", provider))
    if not patterns:
        return ()
    seen = []
    for name in SERVICE_NAMES(g, provider):
        found = service(g, provider, name)
        if found is None or not visible(found.exported, client):
            continue
        if any(matches(pattern, found.host) for pattern in patterns):
            seen.append(name)
    return tuple(seen)


@query
def provider_namespaces(g: Graph, egress: Egress) -> tuple[str, ...]:
    """Namespaces that have services and that the egress admits."""
    admitted = {namespace for namespace, _ in egress}
    return tuple(namespace for namespace in SERVICE_NAMESPACES(g, None) if "*" in admitted or namespace in admitted)

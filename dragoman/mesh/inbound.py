"""The ports on which a workload is reached: those of the services that select it.

Istio: pilot/pkg/networking/core/listener_inbound.go (buildInboundChainConfigs).
"""

from __future__ import annotations

from dataclasses import dataclass

from dragoman.engine import Graph, query
from dragoman.mesh.inputs import SERVICE_NAMES
from dragoman.mesh.labels import Labels
from dragoman.mesh.protocol import Protocol
from dragoman.mesh.services import service, target_port_of


@dataclass(frozen=True, slots=True)
class InboundPort:
    """One workload port, by its number, and the service port that leads to it."""

    number: int
    service_port: int
    protocol: Protocol
    namespace: str
    service: str
    host: str


@query
def inbound_ports(
    g: Graph, namespace: str, labels: Labels, ports: tuple[tuple[str, int], ...]
) -> tuple[InboundPort, ...]:
    """Workload ports in ascending order. Where two services lead to one port, the older one names its protocol."""
    found: dict[int, InboundPort] = {}
    selecting = [
        candidate
        for name in SERVICE_NAMES(g, namespace)
        if (candidate := service(g, namespace, name)) is not None
        and candidate.selector
        and candidate.selector <= labels
    ]
    for candidate in sorted(selecting, key=lambda candidate: candidate.age):
        for port in candidate.ports:
            number = target_port_of(port, ports)
            if number is not None and port.protocol is not Protocol.UDP:
                found.setdefault(
                    number,
                    InboundPort(number, port.number, port.protocol, namespace, candidate.name, candidate.host),
                )
    return tuple(found[number] for number in sorted(found))

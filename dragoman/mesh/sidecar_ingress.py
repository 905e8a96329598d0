"""Where a sidecar listens for its application and how it reaches it, as a Sidecar resource says (`ingress`).

Istio API: Sidecar.ingress; pilot/pkg/networking/core/listener_inbound.go. Where nothing captures traffic and no Sidecar
speaks of ports, the ports of the workload's services are bound on the workload's own address.
"""

from __future__ import annotations

from dataclasses import dataclass

from crds.sidecar import CaptureMode
from dragoman.engine import Graph, query
from dragoman.mesh.families import Families, is_ipv6
from dragoman.mesh.inbound import InboundPort, inbound_ports
from dragoman.mesh.protocol import named_protocol
from dragoman.mesh.proxies import InboundView, sidecar_of
from dragoman.mesh.workloads import Interception

OWN_ADDRESSES = Families.DUAL.wildcards
"""Istio's spelling of "the pod's own address" in defaultEndpoint."""


class EndpointError(ValueError):
    """A `defaultEndpoint` that is neither `address:port` nor `unix:///path`."""


@dataclass(frozen=True, slots=True)
class IngressPort:
    """One port to listen on. `bind` is empty where traffic is captured; `endpoint` is the application's address and
    port (an empty address: the one that was dialled), or a Unix socket's path and 0; None: just what was dialled."""

    number: int
    bind: tuple[str, ...]
    port: InboundPort
    endpoint: tuple[str, int] | None


@query
def ingress_ports(g: Graph, view: InboundView) -> tuple[IngressPort, ...]:
    """Ports of the Sidecar resource in their order, else the services' ports of an uncaptured workload.

    Where there are any, the proxy listens on no others: to the rest it is passthrough (Istio API: Sidecar.ingress).
    """
    sidecar = sidecar_of(g, view.namespace, view.labels)
    services = {port.number: port for port in inbound_ports(g, view.namespace, view.labels, view.ports)}
    by_service_port = {port.service_port: port for port in services.values()}
    uncaptured = view.mode is Interception.NONE
    loopback = view.families.loopbacks[0]
    if sidecar is None or not sidecar.spec.ingress:
        if not uncaptured:
            return ()
        return tuple(IngressPort(n, view.bind, port, (loopback, n)) for n, port in services.items())
    found = []
    for written in sidecar.spec.ingress:
        number = written.port.number or 0
        known = services.get(number) or by_service_port.get(number)
        protocol = named_protocol(written.port.protocol or "") if written.port.protocol else None
        port = InboundPort(
            number,
            known.service_port if known is not None else number,
            protocol or (known.protocol if known is not None else named_protocol("")),
            view.namespace,
            known.service if known is not None else "",
            known.host if known is not None else "",
        )
        alone = uncaptured or written.capture_mode is CaptureMode.NONE
        bind = ((written.bind,) if written.bind else view.bind or view.families.wildcards) if alone else ()
        endpoint = _endpoint(written.default_endpoint, view)
        if endpoint is None and alone:
            endpoint = (loopback, number)  # nothing was dialled but the proxy itself
        found.append(IngressPort(number, bind, port, endpoint))
    return tuple(found)


def _endpoint(written: str | None, view: InboundView) -> tuple[str, int] | None:
    if not written:
        return None
    if written.startswith("unix://"):
        return written.removeprefix("unix://"), 0
    address, colon, port = written.rpartition(":")
    if not colon or not port.isdigit():
        raise EndpointError(f"defaultEndpoint {written!r}: expected address:port or unix:///path")
    address = address.removeprefix("[").removesuffix("]")
    if address in OWN_ADDRESSES:
        return _one_of(view.bind, address) if view.bind else "", int(port)
    if address in Families.DUAL.loopbacks:
        address = _one_of(view.families.loopbacks, address)
    return address, int(port)


def _one_of(addresses: tuple[str, ...], like: str) -> str:
    """The address of the same family, or the first (Istio: pilot/pkg/networking/core/listener_inbound.go)."""
    return next((each for each in addresses if is_ipv6(each) is is_ipv6(like)), addresses[0])

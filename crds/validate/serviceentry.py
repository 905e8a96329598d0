"""ServiceEntry (Istio: ValidateServiceEntry)."""

from collections.abc import Iterator

from crds.codes import problem
from crds.problem import Problem
from crds.serviceentry import Resolution, ServiceEntry, ServiceEntrySpec
from crds.validate import attachment, bounds, names
from crds.validate.workloadentry import workload_entry

PROTOCOLS = frozenset(
    ("HTTP", "HTTPS", "GRPC", "GRPC-WEB", "GRPC_WEB", "HTTP2", "MONGO", "MYSQL", "REDIS", "TCP", "TLS", "UDP")
)
_OPAQUE = frozenset(("TCP", "MONGO", "MYSQL", "REDIS", ""))
_NAMED_HOSTS = frozenset(("HTTP", "HTTPS", "GRPC", "GRPC-WEB", "GRPC_WEB", "HTTP2", "TLS"))
_DNS = (Resolution.DNS, Resolution.DNS_ROUND_ROBIN)


def check(obj: ServiceEntry) -> Iterator[Problem]:
    spec = obj.spec
    resolution = spec.resolution or Resolution.NONE
    yield from _hosts(spec, resolution)
    for index, address in enumerate(spec.addresses):
        yield from bounds.cidr(address, f"spec.addresses[{index}]")
        if "/" in address and resolution not in (Resolution.NONE, Resolution.STATIC):
            yield problem("DRG0311", f"spec.addresses[{index}]", f"a CIDR block does not go with {resolution}")
    yield from _ports(spec)
    yield from _endpoints(spec, resolution)
    yield from names.visibility(spec.export_to, "spec.exportTo")
    yield from attachment.networking_selector(spec.workload_selector, "spec.workloadSelector")
    if resolution is Resolution.NONE and spec.workload_selector is not None:
        yield problem("DRG0406", "spec.workloadSelector", "NONE selects no workloads", "use STATIC")
    if resolution is not Resolution.NONE and len(spec.hosts) > 1:
        for index, port in enumerate(spec.ports):
            if (port.protocol or "").upper() not in _NAMED_HOSTS:
                message = "several hosts cannot be told apart on a port that is neither HTTP nor TLS"
                yield problem("DRG0311", f"spec.ports[{index}].protocol", message, "write one ServiceEntry per host")
    opaque = any((port.protocol or "").upper() in _OPAQUE for port in spec.ports)
    if opaque and not spec.addresses and resolution is Resolution.NONE:
        message = "without addresses a TCP port takes all traffic of its number"
        yield problem("DRG0408", "spec.addresses", message, "add the addresses of the service")


def _hosts(spec: ServiceEntrySpec, resolution: Resolution) -> Iterator[Problem]:
    if not spec.hosts:
        yield problem("DRG0308", "spec.hosts", "a service needs a host")
    for index, host in enumerate(spec.hosts):
        path = f"spec.hosts[{index}]"
        if host == "*":
            yield problem("DRG0301", path, "* would be every service", "name the host")
            continue
        yield from names.host(host, path, ip=True)
        if host in spec.hosts[:index]:
            yield problem("DRG0309", path, f"{host!r} is listed twice")
        if resolution is Resolution.DYNAMIC_DNS and not host.startswith("*"):
            yield problem("DRG0311", path, "DYNAMIC_DNS is for wildcards", "use DNS")
        elif resolution in _DNS and not spec.endpoints and host.startswith("*"):
            yield problem(
                "DRG0311", path, "a wildcard cannot be resolved", "name endpoints, or use DYNAMIC_DNS or NONE"
            )


def _ports(spec: ServiceEntrySpec) -> Iterator[Problem]:
    numbers: set[int] = set()
    seen: set[str] = set()
    for index, port in enumerate(spec.ports):
        path = f"spec.ports[{index}]"
        yield from bounds.port(port.number, f"{path}.number")
        yield from bounds.port(port.target_port, f"{path}.targetPort")
        if not names.is_dns_label(port.name):
            yield problem("DRG0301", f"{path}.name", f"{port.name!r} is not the name of a port")
        if port.protocol and port.protocol.upper() not in PROTOCOLS:
            yield problem("DRG0314", f"{path}.protocol", f"{port.protocol!r} is not a protocol")
        if port.number in numbers:
            yield problem("DRG0309", f"{path}.number", f"there is a port {port.number} already")
        if port.name in seen:
            yield problem("DRG0309", f"{path}.name", f"there is a port {port.name!r} already")
        numbers.add(port.number)
        seen.add(port.name)


def _endpoints(spec: ServiceEntrySpec, resolution: Resolution) -> Iterator[Problem]:
    if spec.endpoints and spec.workload_selector is not None:
        yield problem("DRG0307", "spec", "endpoints and workloadSelector exclude each other", "keep one of them")
    if spec.endpoints and resolution in (Resolution.NONE, Resolution.DYNAMIC_DNS):
        remedy = "use STATIC or DNS"
        yield problem("DRG0311", "spec.endpoints", f"resolution {resolution} takes no endpoints", remedy)
    if resolution is Resolution.DNS_ROUND_ROBIN and len(spec.endpoints) > 1:
        yield problem("DRG0311", "spec.endpoints", "DNS_ROUND_ROBIN takes one endpoint", "use DNS")
    if resolution is Resolution.DYNAMIC_DNS and spec.workload_selector is not None:
        yield problem("DRG0311", "spec.workloadSelector", "DYNAMIC_DNS selects no workloads")
    port_names = {port.name for port in spec.ports}
    for index, endpoint in enumerate(spec.endpoints):
        path = f"spec.endpoints[{index}]"
        yield from workload_entry(endpoint, path)
        address = endpoint.address or ""
        if resolution is Resolution.STATIC and not (names.is_ip(address) or address.startswith("unix://")):
            yield problem("DRG0310", f"{path}.address", f"{address!r} is not an IP address, as STATIC asks", "use DNS")
        if resolution in _DNS and address.startswith("unix://"):
            yield problem("DRG0311", f"{path}.address", "a UNIX socket is not resolved", "use STATIC")
        for name in endpoint.ports:
            if name not in port_names:
                yield problem("DRG0314", f"{path}.ports[{name}]", f"there is no port {name!r} in spec.ports")

"""Sidecar (Istio: ValidateSidecar)."""

from collections.abc import Iterator

from crds.codes import problem
from crds.problem import Problem
from crds.sidecar import CaptureMode, IstioEgressListener, IstioIngressListener, Sidecar, SidecarPort
from crds.validate import attachment, bounds, names, routes
from crds.validate.gateway import PROTOCOLS
from crds.validate.servertls import server_tls
from crds.validate.trafficpolicy import connection_pool

_LOCAL = frozenset(("127.0.0.1", "0.0.0.0", "[::1]", "[::]"))  # noqa: S104 - compared with, never bound


def check(obj: Sidecar) -> Iterator[Problem]:
    spec = obj.spec
    yield from attachment.networking_selector(spec.workload_selector, "spec.workloadSelector")
    if not (spec.ingress or spec.egress or spec.outbound_traffic_policy or spec.inbound_connection_pool):
        yield problem("DRG0308", "spec", "the Sidecar says nothing", "add ingress, egress or outboundTrafficPolicy")
    ports: set[int] = set()
    for index, ingress in enumerate(spec.ingress):
        path = f"spec.ingress[{index}]"
        number = ingress.port.number or 0
        if number in ports:
            yield problem("DRG0309", f"{path}.port.number", f"port {number} has a listener already")
        ports.add(number)
        yield from _ingress(ingress, path)
    yield from _egress(spec.egress)
    if spec.inbound_connection_pool is not None:
        yield from connection_pool(spec.inbound_connection_pool, "spec.inboundConnectionPool")
    if spec.outbound_traffic_policy is not None and spec.outbound_traffic_policy.egress_proxy is not None:
        path = "spec.outboundTrafficPolicy.egressProxy"
        proxy = spec.outbound_traffic_policy.egress_proxy
        yield from routes.destination(proxy, path)
        if proxy.port is None:
            yield problem("DRG0316", f"{path}.port", "the egress proxy needs a port")


def _port(port: SidecarPort, path: str) -> Iterator[Problem]:
    yield from bounds.port(port.number or 0, f"{path}.number")
    if (port.protocol or "").upper() not in PROTOCOLS:
        remedy = f"one of {', '.join(sorted(PROTOCOLS - {'GRPC_WEB'}))}"
        yield problem("DRG0314", f"{path}.protocol", f"{port.protocol!r} is not a protocol", remedy)
    if port.target_port is not None:
        yield problem("DRG0401", f"{path}.targetPort", "deprecated and ignored", "remove it")


def _bind(bind: str | None, path: str) -> Iterator[Problem]:
    if bind and not (names.is_ip(bind) or bind.startswith(("unix:///", "unix://@"))):
        yield problem("DRG0310", path, f"{bind!r} is neither an IP address nor unix:///path")


def _ingress(listener: IstioIngressListener, path: str) -> Iterator[Problem]:
    yield from _port(listener.port, f"{path}.port")
    yield from _bind(listener.bind, f"{path}.bind")
    if listener.bind and listener.bind.startswith("unix:"):
        yield problem("DRG0314", f"{path}.bind", "an ingress listener cannot bind a UNIX socket", "use an IP address")
    if listener.default_endpoint:
        yield from _endpoint(listener.default_endpoint, f"{path}.defaultEndpoint")
    if listener.tls is not None:
        yield from server_tls(listener.tls, f"{path}.tls")
    if listener.connection_pool is not None:
        yield from connection_pool(listener.connection_pool, f"{path}.connectionPool")


def _endpoint(text: str, path: str) -> Iterator[Problem]:
    """Istio: validateSidecarIngressDefaultEndpoint. Loopback, or a wildcard that stands for the pod's own address."""
    if text.startswith(("unix:///", "unix://@")):
        return
    address, _, port = text.rpartition(":")
    if not port.isdecimal() or not (address in _LOCAL or _is_loopback(address)):
        remedy = "127.0.0.1:PORT, [::1]:PORT, 0.0.0.0:PORT, [::]:PORT or unix:///path"
        yield problem("DRG0314", path, f"{text!r} is not an endpoint of the workload itself", remedy)
    else:
        yield from bounds.port(int(port), path)


def _is_loopback(address: str) -> bool:
    return names.is_ip(address) and address.startswith("127.")


def _egress(listeners: tuple[IstioEgressListener, ...]) -> Iterator[Problem]:
    catch_all: int | None = None
    seen: set[tuple[int | None, str | None]] = set()
    for index, listener in enumerate(listeners):
        path = f"spec.egress[{index}]"
        if listener.port is not None:
            yield from _port(listener.port, f"{path}.port")
            place = (listener.port.number, listener.bind)
            if place in seen:
                yield problem("DRG0309", f"{path}.port.number", f"port {listener.port.number} has a listener already")
            seen.add(place)
        else:
            if catch_all is not None:
                yield problem("DRG0309", path, f"spec.egress[{catch_all}] has no port either", "keep one of them")
            catch_all = index
            if listener.bind:
                yield problem("DRG0316", f"{path}.port", "a listener that binds an address needs a port")
            if listener.capture_mode is CaptureMode.NONE:
                yield problem("DRG0316", f"{path}.port", "a listener that captures nothing needs a port")
        yield from _bind(listener.bind, f"{path}.bind")
        if not listener.hosts:
            yield problem("DRG0308", f"{path}.hosts", "an egress listener needs hosts", 'use "*/*" for all')
        for at, host in enumerate(listener.hosts):
            yield from _egress_host(host, f"{path}.hosts[{at}]")


def _egress_host(text: str, path: str) -> Iterator[Problem]:
    namespace, slash, domain = text.partition("/")
    if not slash:
        yield problem("DRG0301", path, f"{text!r} names no namespace", "namespace/host, ./host or */host")
        return
    # A leading ~ excludes what the other entries import; alone it is the namespace that does not exist.
    if namespace not in ("*", ".", "~") and not names.is_dns_label(namespace.removeprefix("~")):
        yield problem("DRG0301", path, f"{namespace!r} is not a namespace")
    yield from names.host(domain, path)

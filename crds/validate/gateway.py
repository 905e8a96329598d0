"""Gateway (Istio: ValidateGateway)."""

from collections.abc import Iterator

from crds.codes import problem
from crds.gateway import Gateway, Server
from crds.problem import Problem
from crds.servertls import ServerTLSSettings
from crds.validate import bounds, names
from crds.validate.servertls import server_tls

PROTOCOLS = frozenset(("HTTP", "HTTPS", "GRPC", "GRPC-WEB", "GRPC_WEB", "HTTP2", "MONGO", "TCP", "TLS"))
_TLS = frozenset(("HTTPS", "TLS"))
_PLAIN_HTTP = frozenset(("HTTP", "HTTP2", "GRPC", "GRPC-WEB", "GRPC_WEB"))


def check(obj: Gateway) -> Iterator[Problem]:
    if not obj.spec.servers:
        yield problem("DRG0308", "spec.servers", "a gateway needs a server")
    yield from names.labels(obj.spec.selector, "spec.selector")
    seen: set[str] = set()
    for index, server in enumerate(obj.spec.servers):
        path = f"spec.servers[{index}]"
        if server.port.name in seen:
            yield problem("DRG0309", f"{path}.port.name", f"there is a port {server.port.name!r} already")
        seen.add(server.port.name)
        yield from _server(server, path)


def _server(server: Server, path: str) -> Iterator[Problem]:
    yield from bounds.port(server.port.number, f"{path}.port.number")
    protocol = server.port.protocol.upper()
    if protocol not in PROTOCOLS:
        remedy = f"one of {', '.join(sorted(PROTOCOLS - {'GRPC_WEB'}))}"
        yield problem("DRG0314", f"{path}.port.protocol", f"{server.port.protocol!r} is not a protocol", remedy)
    if not server.port.name:
        yield problem("DRG0308", f"{path}.port.name", "the port has no name")
    if server.port.target_port is not None:
        yield problem("DRG0401", f"{path}.port.targetPort", "deprecated and ignored", "remove it")
    if server.bind and not (names.is_ip(server.bind) or server.bind.startswith(("unix:///", "unix://@"))):
        yield problem("DRG0310", f"{path}.bind", f"{server.bind!r} is neither an IP address nor unix:///path")
    if not server.hosts:
        yield problem("DRG0308", f"{path}.hosts", "a server needs hosts", 'use "*" for all')
    for at, host in enumerate(server.hosts):
        yield from gateway_host(host, f"{path}.hosts[{at}]")
    if protocol in PROTOCOLS:
        yield from _tls(protocol, server.tls, path)


def gateway_host(host: str, path: str) -> Iterator[Problem]:
    """`dnsName` or `namespace/dnsName`, the namespace being `*`, `.` or a name."""
    namespace, slash, domain = host.rpartition("/")
    if slash and namespace not in ("*", ".") and not names.is_dns_label(namespace):
        yield problem("DRG0301", path, f"{namespace!r} is not a namespace", "namespace/host, ./host or */host")
    yield from names.host(domain, path, ip=True)


def _tls(protocol: str, tls: ServerTLSSettings | None, path: str) -> Iterator[Problem]:
    if protocol in _TLS:
        if tls is None:
            yield problem("DRG0316", f"{path}.tls", f"{protocol} needs tls settings", "add tls.mode")
        elif tls.https_redirect:
            yield problem("DRG0311", f"{path}.tls.httpsRedirect", f"{protocol} has nothing to redirect", "remove it")
    elif tls is not None:
        if ServerTLSSettings(https_redirect=tls.https_redirect) != tls:
            yield problem("DRG0311", f"{path}.tls", f"{protocol} is not served over TLS", "use HTTPS or TLS")
        elif tls.https_redirect and protocol not in _PLAIN_HTTP:
            yield problem("DRG0311", f"{path}.tls.httpsRedirect", f"{protocol} cannot redirect", "remove it")
    if tls is not None:
        yield from server_tls(tls, f"{path}.tls")

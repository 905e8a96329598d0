"""VirtualService (Istio: ValidateVirtualService)."""

from collections.abc import Iterator, Sequence

import msgspec

from crds.codes import problem
from crds.problem import Problem
from crds.validate import bounds, names, routes
from crds.validate.httproute import http_route
from crds.virtualservice import HTTPRoute, L4MatchAttributes, TLSMatchAttributes, VirtualService, VirtualServiceSpec


def check(obj: VirtualService) -> Iterator[Problem]:
    spec = obj.spec
    if spec.hosts:
        yield from _hosts(spec)
    else:
        yield from _delegate(spec)
    yield from routes.gateways(spec.gateways, "spec.gateways")
    yield from names.visibility(spec.export_to, "spec.exportTo")
    if not (spec.http or spec.tls or spec.tcp):
        yield problem("DRG0308", "spec", "there is no route", "add http, tls or tcp")
    for index, route in enumerate(spec.http):
        yield from http_route(route, f"spec.http[{index}]", delegate=not spec.hosts)
        if not spec.gateways or "mesh" in spec.gateways:
            yield from _claims(route, f"spec.http[{index}]")
    yield from _reachability(spec.http)
    for index, tls in enumerate(spec.tls):
        path = f"spec.tls[{index}]"
        if not tls.match:
            yield problem("DRG0308", f"{path}.match", "a TLS route needs a match", "add one with sniHosts")
        for at, match in enumerate(tls.match):
            yield from _sni(spec.hosts, match, f"{path}.match[{at}]")
            yield from _layer4(match, f"{path}.match[{at}]")
        if not tls.route:
            yield problem("DRG0308", f"{path}.route", "a TLS route needs a destination")
        yield from routes.destinations(tls.route, f"{path}.route")
    for index, tcp in enumerate(spec.tcp):
        path = f"spec.tcp[{index}]"
        for at, l4_match in enumerate(tcp.match):
            yield from _layer4(l4_match, f"{path}.match[{at}]")
        if not tcp.route:
            yield problem("DRG0308", f"{path}.route", "a TCP route needs a destination")
        yield from routes.destinations(tcp.route, f"{path}.route")


def _hosts(spec: VirtualServiceSpec) -> Iterator[Problem]:
    for index, host in enumerate(spec.hosts):
        path = f"spec.hosts[{index}]"
        if host == "*" and (not spec.gateways or "mesh" in spec.gateways):
            yield problem(
                "DRG0301", path, "* would take all traffic of the mesh", "name hosts, or bind to a gateway only"
            )
        else:
            yield from names.host(host, path, ip=True)
        for earlier in spec.hosts[:index]:
            if _within(host, earlier) or _within(earlier, host):
                # Envoy refuses a route configuration in which a domain stands twice.
                yield problem("DRG0309", path, f"{host!r} is a duplicate of {earlier!r}", "remove one of them")


def _delegate(spec: VirtualServiceSpec) -> Iterator[Problem]:
    """Without hosts it can only be delegated to; the delegating object says where it holds."""
    if spec.gateways:
        yield problem("DRG0311", "spec.gateways", "a VirtualService without hosts takes no gateways", "add hosts")
    for field, held in (("tls", spec.tls), ("tcp", spec.tcp)):
        if held:
            yield problem("DRG0311", f"spec.{field}", "a VirtualService without hosts has http routes only")


def _claims(route: HTTPRoute, path: str) -> Iterator[Problem]:
    """Routing by JWT claims needs the route to be chosen after authentication, which only gateways do."""
    for index, match in enumerate(route.match):
        for field, named in (("headers", match.headers), ("withoutHeaders", match.without_headers)):
            for name in named:
                if name.startswith("@request.auth.claims"):
                    where = f"{path}.match[{index}].{field}[{name}]"
                    yield problem("DRG0311", where, "JWT claims route at gateways only", "bind to a gateway")


def _reachability(http: Sequence[HTTPRoute]) -> Iterator[Problem]:
    catch_all: int | None = None
    for index, route in enumerate(http):
        if catch_all is not None:
            message = f"never reached: spec.http[{catch_all}] matches every request"
            yield problem("DRG0402", f"spec.http[{index}]", message, "put the route without match last")
        elif not route.match:
            catch_all = index
    seen: dict[str, int] = {}
    for index, route in enumerate(http):
        for at, match in enumerate(route.match):
            first = seen.setdefault(repr(msgspec.structs.replace(match, name=None)), index)
            if first != index:
                message = f"the same match as in spec.http[{first}], which comes first"
                yield problem("DRG0403", f"spec.http[{index}].match[{at}]", message)


def _sni(hosts: Sequence[str], match: TLSMatchAttributes, path: str) -> Iterator[Problem]:
    if not match.sni_hosts:
        yield problem("DRG0308", f"{path}.sniHosts", "a TLS match needs sniHosts", "name the hosts to route by SNI")
    for index, sni in enumerate(match.sni_hosts):
        where = f"{path}.sniHosts[{index}]"
        yield from names.host(sni, where)
        if not any(_within(sni, host) for host in hosts):
            yield problem("DRG0311", where, f"{sni!r} is not among the hosts of this object", "add it to spec.hosts")


def _within(sni: str, host: str) -> bool:
    return host == "*" or sni == host or (host.startswith("*") and sni.endswith(host[1:]))


def _layer4(match: L4MatchAttributes | TLSMatchAttributes, path: str) -> Iterator[Problem]:
    yield from routes.subnets(match.destination_subnets, f"{path}.destinationSubnets")
    yield from bounds.port(match.port, f"{path}.port")
    yield from names.labels(match.source_labels, f"{path}.sourceLabels")
    yield from routes.gateways(match.gateways, f"{path}.gateways")

"""Routes of a VirtualService as lines: which requests, and what becomes of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from crds.destination import Destination
from crds.stringmatch import StringMatch
from crds.virtualservice import (
    HTTPMatchRequest,
    HTTPRoute,
    HTTPRouteDestination,
    L4MatchAttributes,
    RouteDestination,
    TLSMatchAttributes,
    VirtualService,
)


def lines(written: VirtualService) -> list[str]:
    """A line for each route, in the order in which they are tried."""
    found = [f"{_http_matches(route.match)} -> {_http_action(route)}" for route in written.spec.http]
    found += [f"TLS {_tls_matches(route.match)} -> {_weights(route.route)}" for route in written.spec.tls]
    found += [f"TCP {_l4_matches(route.match)} -> {_weights(route.route)}" for route in written.spec.tcp]
    return found


def destinations(written: VirtualService) -> Iterator[Destination]:
    """Where its routes, and their mirrors, lead."""
    for route in written.spec.http:
        yield from (each.destination for each in route.route)
        yield from (each.destination for each in route.mirrors)
        if route.mirror is not None:
            yield route.mirror
    for tls in written.spec.tls:
        yield from (each.destination for each in tls.route)
    for tcp in written.spec.tcp:
        yield from (each.destination for each in tcp.route)


def _http_matches(found: Iterable[HTTPMatchRequest]) -> str:
    return " or ".join(map(_http_match, found)) or "all requests"


def _http_match(match: HTTPMatchRequest) -> str:
    parts = [
        f"{name} {_text(value)}"
        for name, value in (
            ("path", match.uri),
            ("scheme", match.scheme),
            ("method", match.method),
            ("authority", match.authority),
        )
        if value is not None
    ]
    parts += [f"header {name} {_text(value)}" for name, value in match.headers.items()]
    parts += [f"not header {name} {_text(value)}" for name, value in match.without_headers.items()]
    parts += [f"query {name} {_text(value)}" for name, value in match.query_params.items()]
    parts += _place(match.port, match.gateways, match.source_namespace, match.source_labels)
    return ", ".join(parts) or "all requests"


def _place(
    port: int | None, gateways: Iterable[str], source_namespace: str | None, source_labels: Mapping[str, str]
) -> list[str]:
    parts = [f"port {port}"] if port is not None else []
    if names := ", ".join(gateways):
        parts.append(f"at {names}")
    if source_namespace:
        parts.append(f"from namespace {source_namespace}")
    if source_labels:
        parts.append("from " + ",".join(f"{key}={value}" for key, value in source_labels.items()))
    return parts


def _text(match: StringMatch) -> str:
    if match.exact is not None:
        return f"= {match.exact}"
    if match.prefix is not None:
        return f"{match.prefix}*"
    return f"~ {match.regex}" if match.regex is not None else "present"


def _tls_matches(found: Iterable[TLSMatchAttributes]) -> str:
    matches = (", ".join([f"SNI {' '.join(each.sni_hosts)}", *_connection(each)]) for each in found)
    return " or ".join(matches) or "all connections"


def _l4_matches(found: Iterable[L4MatchAttributes]) -> str:
    return " or ".join(", ".join(_connection(each)) for each in found) or "all connections"


def _connection(match: TLSMatchAttributes | L4MatchAttributes) -> list[str]:
    place = _place(match.port, match.gateways, match.source_namespace, match.source_labels)
    return [*match.destination_subnets, *place]


def _http_action(route: HTTPRoute) -> str:
    if route.redirect is not None:
        code = route.redirect.redirect_code or 301
        return f"redirect {code} to {route.redirect.authority or 'the same host'}{route.redirect.uri or ''}"
    if route.direct_response is not None:
        return f"answer {route.direct_response.status}"
    if route.delegate is not None:
        return f"delegate to VirtualService {route.delegate.name}"
    extras = [
        name
        for name, value in (("timeout", route.timeout), ("retries", route.retries), ("fault", route.fault))
        if value is not None
    ]
    mirrors = [each.destination for each in route.mirrors] + ([route.mirror] if route.mirror is not None else [])
    extras += [f"mirror to {_where(each)}" for each in mirrors]
    return _weights(route.route) + (f" ({', '.join(extras)})" if extras else "")


def _weights(found: Iterable[HTTPRouteDestination | RouteDestination]) -> str:
    listed = tuple(found)
    if len(listed) == 1:
        return _where(listed[0].destination)
    return ", ".join(f"{each.weight or 0}% {_where(each.destination)}" for each in listed)


def _where(destination: Destination) -> str:
    subset = f" subset {destination.subset}" if destination.subset else ""
    number = destination.port.number if destination.port is not None else None
    return destination.host + (f":{number}" if number else "") + subset

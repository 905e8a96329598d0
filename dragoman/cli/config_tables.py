"""Resources as lines of tables, with the columns of istioctl's `proxy-config`."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

from cryptography import x509

Resource = Mapping[str, Any]
Row = tuple[str, ...]


class Table(NamedTuple):
    """Columns, and the lines of one resource."""

    columns: Sequence[str]
    rows: Callable[[Resource], Iterator[Row]]


def resources(dump: Mapping[str, Any], section: str) -> list[dict[str, Any]]:
    """The resources of a section in a config dump, without the dump's own framing."""
    message, entries, path = _PLACES[section]
    found = next(each for each in dump["configs"] if each["@type"].endswith(message))
    return [_at(entry, path) for entry in found.get(entries, ())]


_PLACES: Mapping[str, tuple[str, str, tuple[str, ...]]] = {
    "clusters": (".ClustersConfigDump", "dynamicActiveClusters", ("cluster",)),
    "listeners": (".ListenersConfigDump", "dynamicListeners", ("activeState", "listener")),
    "routes": (".RoutesConfigDump", "dynamicRouteConfigs", ("routeConfig",)),
    "endpoints": (".EndpointsConfigDump", "dynamicEndpointConfigs", ("endpointConfig",)),
    "secrets": (".SecretsConfigDump", "dynamicActiveSecrets", ("secret",)),
}


def _at(entry: Any, path: tuple[str, ...]) -> dict[str, Any]:
    for step in path:
        entry = entry[step]
    return {key: value for key, value in entry.items() if key != "@type"}


def _clusters(cluster: Resource) -> Iterator[Row]:
    direction, port, subset, host = _name_parts(cluster["name"])
    yield host, port, subset, direction, cluster.get("type", "STATIC")


def _name_parts(name: str) -> tuple[str, str, str, str]:
    """Direction, port, subset and host out of a cluster's name, `outbound|80|v1|host`."""
    parts = name.split("|")
    if len(parts) != 4:
        return "-", "-", "-", name
    direction, port, subset, host = parts
    return direction, port, subset or "-", host or "-"


def _listeners(listener: Resource) -> Iterator[Row]:
    address = listener.get("address", {}).get("socketAddress", {})
    for chain in (*listener.get("filterChains", ()), *_default_chain(listener)):
        yield (
            address.get("address", ""),
            str(address.get("portValue", "")),
            _matched(chain.get("filterChainMatch", {})),
            _destination(chain),
        )


def _default_chain(listener: Resource) -> tuple[Resource, ...]:
    return (listener["defaultFilterChain"],) if "defaultFilterChain" in listener else ()


def _matched(match: Resource) -> str:
    parts = []
    if "destinationPort" in match:
        parts.append(f"Port: {match['destinationPort']}")
    if "prefixRanges" in match:
        ranges = (f"{each['addressPrefix']}/{each.get('prefixLen', 0)}" for each in match["prefixRanges"])
        parts.append(f"Addr: {','.join(ranges)}")
    if "serverNames" in match:
        parts.append(f"SNI: {','.join(match['serverNames'])}")
    if "transportProtocol" in match:
        parts.append(f"Trans: {match['transportProtocol']}")
    if "applicationProtocols" in match:
        parts.append(f"App: {','.join(match['applicationProtocols'])}")
    return "; ".join(parts) or "ALL"


def _destination(chain: Resource) -> str:
    for each in reversed(chain.get("filters", ())):
        config = each.get("typedConfig", {})
        if "rds" in config:
            return f"Route: {config['rds']['routeConfigName']}"
        if "routeConfig" in config:
            return f"Inline Route: {config['routeConfig'].get('name', '')}".rstrip()
        if "cluster" in config:
            return f"Cluster: {config['cluster']}"
        if "weightedClusters" in config:
            weights = config["weightedClusters"]["clusters"]
            return "Cluster: " + ", ".join(f"{each['name']} ({each['weight']})" for each in weights)
    return "-"


def _routes(configuration: Resource) -> Iterator[Row]:
    for host in configuration.get("virtualHosts", ()):
        domains = host.get("domains", ())
        more = f" + {len(domains) - 2} more" if len(domains) > 2 else ""
        for route in host.get("routes", ()):
            yield (
                configuration["name"],
                host["name"],
                ", ".join(domains[:2]) + more,
                _route_match(route.get("match", {})),
                _route_action(route),
            )


def _route_match(match: Resource) -> str:
    path = next((f"{match[key]}{mark}" for key, mark in _PATHS.items() if key in match), "")
    if "safeRegex" in match:
        path = f"regex {match['safeRegex'].get('regex', '')}"
    conditions = [header["name"] for header in match.get("headers", ())]
    conditions += [f"?{parameter['name']}" for parameter in match.get("queryParameters", ())]
    return path + (f" [{', '.join(conditions)}]" if conditions else "")


_PATHS = {"prefix": "*", "path": "", "pathSeparatedPrefix": "/*"}


def _route_action(route: Resource) -> str:
    if "redirect" in route:
        return "redirect"
    if "directResponse" in route:
        return f"status {route['directResponse'].get('status', '')}"
    action = route.get("route", {})
    if "weightedClusters" in action:
        weights = action["weightedClusters"]["clusters"]
        return ", ".join(f"{each['name']} ({each.get('weight', 0)})" for each in weights)
    return str(action.get("cluster") or action.get("clusterHeader") or "-")


def _endpoints(assignment: Resource) -> Iterator[Row]:
    for locality in assignment.get("endpoints", ()):
        place = locality.get("locality", {})
        name = "/".join(place[part] for part in ("region", "zone", "subZone") if place.get(part))
        for endpoint in locality.get("lbEndpoints", ()):
            address = endpoint["endpoint"]["address"]
            socket = address.get("socketAddress")
            shown = f"{socket['address']}:{socket['portValue']}" if socket else address.get("pipe", {}).get("path", "")
            health = endpoint.get("healthStatus", "UNKNOWN")
            yield shown, health, name or "-", str(endpoint.get("loadBalancingWeight", 1)), assignment["clusterName"]


def _secrets(secret: Resource) -> Iterator[Row]:
    kinds = {"tlsCertificate": "Cert Chain", "validationContext": "CA"}
    field = next((field for field in kinds if field in secret), None)
    if field is None:
        yield secret["name"], "-", "-", "-", "-", "-"
        return
    holder = secret[field]["certificateChain" if field == "tlsCertificate" else "trustedCa"]
    certificate = x509.load_pem_x509_certificates(base64.b64decode(holder["inlineBytes"]))[0]
    not_before, not_after = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    valid = not_before <= datetime.now(UTC) <= not_after
    yield (
        secret["name"],
        kinds[field],
        str(valid).lower(),
        f"{certificate.serial_number:x}",
        f"{not_after:%Y-%m-%dT%H:%M:%SZ}",
        f"{not_before:%Y-%m-%dT%H:%M:%SZ}",
    )


TABLES: Mapping[str, Table] = {
    "clusters": Table(("service fqdn", "port", "subset", "direction", "type"), _clusters),
    "listeners": Table(("addresses", "port", "match", "destination"), _listeners),
    "routes": Table(("name", "vhost name", "domains", "match", "destination"), _routes),
    "endpoints": Table(("endpoint", "status", "locality", "weight", "cluster"), _endpoints),
    "secrets": Table(("resource name", "type", "valid cert", "serial number", "not after", "not before"), _secrets),
}

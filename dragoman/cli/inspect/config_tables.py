"""What a proxy has as lines of tables, with the columns of istioctl's `proxy-config`, further ones last.

Content is protobuf's canonical JSON, with names in camel case; of Envoy's own, see `config_dump.canonical`.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

from cryptography import x509

Content = Mapping[str, Any]
Row = tuple[str, ...]


class Entry(NamedTuple):
    """A resource of a config dump."""

    content: Content
    state: str = "ACTIVE"
    """`WARMING` where Envoy has it and does not use it yet."""


class Table(NamedTuple):
    """Columns, and the lines of one resource."""

    columns: Sequence[str]
    rows: Callable[[Entry], Iterator[Row]]


def _clusters(entry: Entry) -> Iterator[Row]:
    cluster = entry.content
    name = cluster_name(cluster["name"])
    shape = cluster.get("type") or cluster.get("clusterType", {}).get("name") or "STATIC"
    yield name.host or "-", name.port, name.subset or "-", name.direction, shape, _configured_by(cluster)


class ClusterName(NamedTuple):
    """The parts of a cluster's name, `outbound|80|v1|host`; of any other name it is the host."""

    direction: str
    port: str
    subset: str
    host: str


def cluster_name(name: str) -> ClusterName:
    """The parts of a name (Istio: pilot/pkg/model/cluster.go, BuildSubsetKey)."""
    parts = name.split("|")
    return ClusterName(*parts) if len(parts) == 4 else ClusterName("-", "-", "", name)


def _configured_by(content: Content) -> str:
    """`name.namespace` of the object that Istio's metadata names as the origin of its traffic settings."""
    path: str = content.get("metadata", {}).get("filterMetadata", {}).get("istio", {}).get("config", "")
    parts = path.split("/")  # /apis/GROUP/VERSION/namespaces/NAMESPACE/KIND/NAME
    return f"{parts[-1]}.{parts[-3]}" if len(parts) == 8 else ""


def _listeners(entry: Entry) -> Iterator[Row]:
    listener = entry.content
    addresses, port = listener_addresses(listener)
    address = ",".join(addresses)
    chains = listener.get("filterChains", ())
    default = (listener["defaultFilterChain"],) if "defaultFilterChain" in listener else ()
    for chain in (*chains, *default):
        yield address, port, _matched(chain.get("filterChainMatch", {})), _destination(chain)
    if not chains and not default:
        yield address, port, "ALL", "-"


def listener_addresses(listener: Content) -> tuple[tuple[str, ...], str]:
    """Addresses and port of a listener; of one that has none, its name."""
    address = listener.get("address", {})
    socket = address.get("socketAddress")
    if socket is None:
        return (address.get("pipe", {}).get("path") or listener.get("name", ""),), ""
    others = (each["address"].get("socketAddress", {}) for each in listener.get("additionalAddresses", ()))
    return tuple(each.get("address", "") for each in (socket, *others)), str(socket.get("portValue", ""))


def _matched(match: Content) -> str:
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


def _destination(chain: Content) -> str:
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


def _routes(entry: Entry) -> Iterator[Row]:
    configuration = entry.content
    for host in configuration.get("virtualHosts", ()):
        domains = host.get("domains", ())
        more = f" + {len(domains) - 2} more" if len(domains) > 2 else ""
        for route in host.get("routes", ()):
            yield (
                configuration.get("name", ""),
                host["name"],
                ", ".join(domains[:2]) + more,
                _route_match(route.get("match", {})),
                _configured_by(route),
                _route_action(route),
            )


def _route_match(match: Content) -> str:
    path = next((f"{match[key]}{mark}" for key, mark in _PATHS.items() if key in match), "")
    if "safeRegex" in match:
        path = f"regex {match['safeRegex'].get('regex', '')}"
    conditions = [header["name"] for header in match.get("headers", ())]
    conditions += [f"?{parameter['name']}" for parameter in match.get("queryParameters", ())]
    return path + (f" [{', '.join(conditions)}]" if conditions else "")


_PATHS = {"prefix": "*", "path": "", "pathSeparatedPrefix": "/*"}


def _route_action(route: Content) -> str:
    if "redirect" in route:
        return "redirect"
    if "directResponse" in route:
        return f"status {route['directResponse'].get('status', '')}"
    action = route.get("route", {})
    if "weightedClusters" in action:
        weights = action["weightedClusters"]["clusters"]
        return ", ".join(f"{each['name']} ({each.get('weight', 0)})" for each in weights)
    return str(action.get("cluster") or action.get("clusterHeader") or "-")


def _endpoints(entry: Entry) -> Iterator[Row]:
    """Of an assignment of the control plane, or of what Envoy says of the hosts of a cluster."""
    if "hostStatuses" in entry.content:
        yield from _hosts(entry.content)
        return
    assignment = entry.content
    for locality in assignment.get("endpoints", ()):
        place = _place(locality.get("locality", {}))
        for each in locality.get("lbEndpoints", ()):
            shown = address_text(each.get("endpoint", {}).get("address", {}))
            health = each.get("healthStatus", "UNKNOWN")
            weight = str(each.get("loadBalancingWeight", 1))
            yield shown, health, "-", assignment.get("clusterName", ""), place, weight


def _hosts(status: Content) -> Iterator[Row]:
    for host in status["hostStatuses"]:
        health = host.get("healthStatus", {})
        outlier = "FAILED" if health.get("failedOutlierCheck") else "OK"
        yield (
            address_text(host["address"]),
            health.get("edsHealthStatus", "UNKNOWN"),
            outlier,
            status["name"],
            _place(host.get("locality", {})),
            str(host.get("weight", 1)),
        )


def address_text(address: Content) -> str:
    """`IP:PORT`, or the path of a socket."""
    if socket := address.get("socketAddress"):
        host = socket.get("address", "")
        return f"[{host}]:{socket.get('portValue', '')}" if ":" in host else f"{host}:{socket.get('portValue', '')}"
    internal: Content = address.get("envoyInternalAddress", {})
    return str(address.get("pipe", {}).get("path", "") or internal.get("serverListenerName", ""))


def _place(locality: Content) -> str:
    return "/".join(locality[part] for part in ("region", "zone", "subZone") if locality.get(part)) or "-"


def _secrets(entry: Entry) -> Iterator[Row]:
    secret = entry.content
    kinds = {"tlsCertificate": "Cert Chain", "validationContext": "CA"}
    field = next((field for field in kinds if field in secret), None)
    found = list(dict.fromkeys(each for source in _sources(secret) for each in _certificates(source)))
    kind = kinds[field] if field else "-"
    if not found:
        yield secret["name"], kind, entry.state, "-", "-", "-", "-"
        return
    # A chain begins with the certificate that matters; of several roots each does.
    for certificate in found[:1] if kind == "Cert Chain" else found:
        not_before, not_after = certificate.not_valid_before_utc, certificate.not_valid_after_utc
        yield (
            secret["name"],
            kind,
            entry.state,
            str(not_before <= datetime.now(UTC) <= not_after).lower(),
            f"{certificate.serial_number:x}",
            f"{not_after:%Y-%m-%dT%H:%M:%SZ}",
            f"{not_before:%Y-%m-%dT%H:%M:%SZ}",
        )


def _sources(secret: Content) -> Iterator[Content]:
    """Where the certificates of a secret stand: several places where each trust domain has its own roots (Envoy:
    SPIFFECertValidatorConfig)."""
    yield secret.get("tlsCertificate", {}).get("certificateChain", {})
    validation = secret.get("validationContext", {})
    yield validation.get("trustedCa", {})
    for domain in validation.get("customValidatorConfig", {}).get("typedConfig", {}).get("trustDomains", ()):
        yield domain.get("trustBundle", {})


def _certificates(source: Content) -> Sequence[x509.Certificate]:
    """Certificates in a DataSource; none where it is a file of the proxy's, or blotted out."""
    try:
        text = base64.b64decode(source.get("inlineBytes", ""), validate=True) or source.get("inlineString", "").encode()
        return x509.load_pem_x509_certificates(text)
    except (ValueError, binascii.Error, x509.InvalidVersion):
        return ()


TABLES: Mapping[str, Table] = {
    "clusters": Table(("service fqdn", "port", "subset", "direction", "type", "destination rule"), _clusters),
    "listeners": Table(("addresses", "port", "match", "destination"), _listeners),
    "routes": Table(("name", "vhost name", "domains", "match", "virtual service", "destination"), _routes),
    "endpoints": Table(("endpoint", "status", "outlier check", "cluster", "locality", "weight"), _endpoints),
    "secrets": Table(
        ("resource name", "type", "status", "valid cert", "serial number", "not after", "not before"), _secrets
    ),
}

"""What holds for requests to a service, as clients of one namespace see it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Final

from crds.clienttls import ClientTLSMode
from crds.gateway import Gateway, Server
from crds.meta import ObjectKey
from crds.trafficpolicy import TrafficPolicy
from crds.virtualservice import VirtualService
from dragoman.debug.descriptions import routes
from dragoman.debug.descriptions.objects import Described
from dragoman.debug.plane import without_empty
from dragoman.engine import Graph, QueryFailed, consult
from dragoman.mesh.endpoints import Endpoint, Health, endpoints
from dragoman.mesh.exports import exports, visible
from dragoman.mesh.gateway_merge import BoundServer
from dragoman.mesh.gateways import hosts_served, virtual_services_of
from dragoman.mesh.hosts import resolve
from dragoman.mesh.inputs import GATEWAYS, VIRTUAL_SERVICES_BY_HOST
from dragoman.mesh.labels import Labels, labels_of
from dragoman.mesh.policies import MtlsMode, mtls_mode, namespace_mtls_mode
from dragoman.mesh.protocol import Protocol
from dragoman.mesh.rules import Rule, destination_rules, merged_rule, virtual_service
from dragoman.mesh.services import Service, service, service_of
from dragoman.mesh.settings import mesh_config

_PLAIN: Final = (ClientTLSMode.DISABLE, ClientTLSMode.SIMPLE, ClientTLSMode.MUTUAL)


def describe_service(described: Described, namespace: str, name: str, client: str) -> dict[str, Any] | None:
    """A service as clients in namespace `client` see it; None where there is none of that name."""
    g = described.graph
    try:
        found = service(g, namespace, name)
    except QueryFailed as error:
        return {"service": f"{name}.{namespace}", "warnings": [f"it cannot be read: {error}"]}
    if found is None:
        return None
    reached = {port.number: _endpoints(g, found, port.name) for port in found.ports}
    rule, rules = _rule(g, found, client)
    routed = virtual_service(g, client, found.host)
    warnings = [
        *_service_warnings(found, client),
        *_endpoint_warnings(found, reached),
        *_route_warnings(g, found, client, routed),
        *_rule_warnings(g, found, rule, reached),
    ]
    return without_empty(
        {
            "service": f"{name}.{namespace}",
            "host": found.host,
            "seenFrom": client,
            "addresses": list(found.addresses) or (["headless"] if found.headless else []),
            "aliasOf": found.alias_of,
            "ports": [
                {
                    "port": port.number,
                    "name": port.name,
                    "protocol": str(port.protocol),
                    "targetPort": port.target,
                    "endpoints": _counts(reached[port.number]),
                }
                for port in found.ports
            ],
            "mutualTLS": {
                "servers": namespace_mtls_mode(g, namespace).value,
                "from": described.origins(namespace_mtls_mode.call(namespace), "PeerAuthentication"),
                "clients": _client_tls(rule, reached),
            },
            "virtualService": None
            if routed is None
            else described.name(routed.key) | {"hosts": list(routed.spec.hosts), "routes": routes.lines(routed)},
            "destinationRules": described.names(rules),
            "trafficPolicy": _policy(rule.traffic_policy) if rule is not None else [],
            "subsets": _subsets(rule, reached),
            "gateways": list(_exposures(described, found)),
            "warnings": warnings,
            "problems": described.problems((ObjectKey("Service", namespace, name),)),
        }
    )


def _endpoints(g: Graph, found: Service, port: str) -> tuple[Endpoint, ...]:
    try:
        return endpoints(g, found.namespace, found.name, port)
    except QueryFailed:
        return ()


def _rule(g: Graph, found: Service, client: str) -> tuple[Rule | None, tuple[ObjectKey, ...]]:
    """The destination rules for clients that none of them selects by label."""
    keys = destination_rules(g, client, frozenset(), found.namespace, found.host)
    return merged_rule(g, keys), tuple(ObjectKey("DestinationRule", *key) for key in keys)


def _counts(found: tuple[Endpoint, ...]) -> dict[str, int]:
    counts = {health.value: sum(each.health is health for each in found) for health in Health}
    return {name: count for name, count in counts.items() if count} | {"mutualTLS": sum(e.mtls for e in found)}


def _client_tls(rule: Rule | None, reached: dict[int, tuple[Endpoint, ...]]) -> str:
    """What clients speak to it."""
    mode = _tls_mode(rule)
    if mode is not None:
        return f"{mode} (DestinationRule)"
    every = [each for found in reached.values() for each in found]
    if not every:
        return "automatic"
    able = sum(each.mtls for each in every)
    return "automatic: " + (
        "mutual TLS" if able == len(every) else "plaintext" if not able else f"mutual TLS to {able} of {len(every)}"
    )


def _tls_mode(rule: Rule | None) -> ClientTLSMode | None:
    policy = rule.traffic_policy if rule is not None else None
    return policy.tls.mode if policy is not None and policy.tls is not None else None


def _policy(policy: TrafficPolicy | None) -> list[str]:
    """The names of the settings in force."""
    if policy is None:
        return []
    settings = (
        ("load balancer", policy.load_balancer),
        ("connection pool", policy.connection_pool),
        ("outlier detection", policy.outlier_detection),
        ("TLS", policy.tls),
        ("settings of ports", policy.port_level_settings),
    )
    return [name for name, value in settings if value]


def _subsets(rule: Rule | None, reached: dict[int, tuple[Endpoint, ...]]) -> list[dict[str, Any]]:
    return [
        {
            "name": subset.name,
            "labels": dict(subset.labels),
            "endpoints": len({each.address for each in _selected(reached, labels_of(subset.labels))}),
        }
        for subset in (rule.subsets if rule is not None else ())
    ]


def _selected(reached: dict[int, tuple[Endpoint, ...]], labels: Labels) -> Iterator[Endpoint]:
    return (each for found in reached.values() for each in found if labels <= each.labels)


def _exposures(described: Described, found: Service) -> Iterator[dict[str, Any]]:
    """The servers of Gateways whose routes lead to the service."""
    g = described.graph
    for gateway in consult(g, GATEWAYS, None):
        for routed in _leading_to(g, gateway, found):
            for server in gateway.spec.servers:
                hosts = hosts_served(_bound(gateway, server), routed)
                if hosts:
                    yield {
                        "gateway": described.name(gateway.key),
                        "port": server.port.number,
                        "protocol": server.port.protocol,
                        "tls": str(server.tls.mode) if server.tls is not None and server.tls.mode is not None else "",
                        "hosts": list(hosts),
                        "selector": dict(gateway.spec.selector),
                        "virtualService": described.name(routed.key),
                        "routes": routes.lines(routed),
                    }


def _at_gateways(g: Graph, found: Service) -> tuple[VirtualService, ...]:
    """The VirtualServices of gateways that lead to a service."""
    listed = (each for gateway in consult(g, GATEWAYS, None) for each in _leading_to(g, gateway, found))
    return tuple({each.key: each for each in listed}.values())


def _leading_to(g: Graph, gateway: Gateway, found: Service) -> Iterator[VirtualService]:
    for routed in virtual_services_of(g, f"{gateway.namespace}/{gateway.name}"):
        if any(resolve(each.host, routed.namespace) == found.host for each in routes.destinations(routed)):
            yield routed


def _bound(gateway: Gateway, server: Server) -> BoundServer:
    return BoundServer(
        f"{gateway.namespace}/{gateway.name}", server.port.number, server.port.number, server.bind or "", server
    )


def _service_warnings(found: Service, client: str) -> Iterator[str]:
    if not visible(found.exported, client):
        yield f"it is not exported to namespace {client}: its proxies do not know it"
    for port in found.ports:
        if port.protocol is Protocol.AUTO:
            yield (
                f"port {port.number} does not say what it speaks: that is found out for each connection (name it "
                "http-…, grpc-…, tcp-…, or set appProtocol)"
            )


def _endpoint_warnings(found: Service, reached: dict[int, tuple[Endpoint, ...]]) -> Iterator[str]:
    if found.alias_of is not None:
        return
    for port in found.ports:
        listed = reached[port.number]
        if not listed:
            yield f"port {port.number} has no endpoints: requests are answered 503"
        elif not any(each.health is Health.HEALTHY for each in listed):
            yield f"port {port.number} has no healthy endpoint"


def _route_warnings(g: Graph, found: Service, client: str, routed: VirtualService | None) -> Iterator[str]:
    for each in _at_gateways(g, found):
        yield from _destination_warnings(g, each.namespace, each)
    if routed is None:
        return
    default = mesh_config(g).default_virtual_service_export_to
    for other in consult(g, VIRTUAL_SERVICES_BY_HOST, found.host):
        exported = exports(other.spec.export_to, other.namespace, default)
        if other.key != routed.key and visible(exported, client):
            yield f"{other.key} names the host, too, and has no effect on it: {routed.key} comes first"
    yield from _destination_warnings(g, client, routed)


def _destination_warnings(g: Graph, client: str, routed: VirtualService) -> Iterator[str]:
    """Routes that lead nowhere."""
    seen = set()
    for destination in routes.destinations(routed):
        host = resolve(destination.host, routed.namespace)
        if (host, destination.subset) in seen:
            continue
        seen.add((host, destination.subset))
        target = service_of(g, host)
        if target is None:
            yield f"{routed.key} leads to {destination.host}, which is no service: requests are answered 503"
        elif destination.subset:
            rule, _ = _rule(g, target, client)
            if rule is None or rule.subset(destination.subset) is None:
                yield (
                    f"{routed.key} leads to subset {destination.subset!r} of {destination.host}, which no "
                    "DestinationRule has: requests are answered 503"
                )


def _rule_warnings(
    g: Graph, found: Service, rule: Rule | None, reached: dict[int, tuple[Endpoint, ...]]
) -> Iterator[str]:
    if rule is None:
        return
    for subset in rule.subsets:
        if any(reached.values()) and not any(_selected(reached, labels_of(subset.labels))):
            yield f"subset {subset.name!r} has no endpoints"
    mode = _tls_mode(rule)
    strict, refusing = _by_mode(g, reached.values())
    if mode in _PLAIN and strict:
        yield (
            f"clients speak {mode} (DestinationRule {rule.namespace}/{rule.name}), but {strict} of its endpoints "
            "accept mutual TLS only (PeerAuthentication): requests to them fail"
        )
    if mode is ClientTLSMode.ISTIO_MUTUAL and refusing:
        yield (
            f"clients speak mutual TLS (DestinationRule {rule.namespace}/{rule.name}), but {refusing} of its "
            "endpoints cannot: requests to them fail"
        )


def _by_mode(g: Graph, reached: Iterable[tuple[Endpoint, ...]]) -> tuple[int, int]:
    """How many endpoints accept mutual TLS only, and how many do not speak it."""
    every = [each for found in reached for each in found]
    strict = sum(
        each.mtls and mtls_mode(g, each.namespace, each.labels, each.port) is MtlsMode.STRICT for each in every
    )
    return strict, sum(not each.mtls for each in every)

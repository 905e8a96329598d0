"""Destinations of routes: the cluster a VirtualService's destination means (Istio: route.go, GetDestinationCluster)."""

from __future__ import annotations

from typing import NamedTuple

from crds.destination import Destination
from dragoman.engine import Graph, query
from dragoman.mesh.exports import visible
from dragoman.mesh.hosts import resolve
from dragoman.mesh.labels import Labels
from dragoman.mesh.rules import RuleKeys, destination_rules, merged_rule
from dragoman.mesh.services import Service, canonical_host, service_of
from translators.hash_policies import hash_policy
from translators.names import outbound_cluster
from translators.protocol_options import follows_client
from translators.route_action import Resolve, Target
from translators.traffic_policies import policy_in_force


class Client(NamedTuple):
    """The facets of a proxy that decide how it sees others: namespace, and the labels that some rule reads."""

    namespace: str
    labels: Labels


def resolver(g: Graph, client: Client, owner: str, port: int) -> Resolve:
    """How destinations in an object of namespace `owner` resolve for requests that `client` sends to `port`."""

    def resolved(destination: Destination) -> Target:
        number = destination.port.number if destination.port is not None else None
        return target(g, client, resolve(destination.host, owner), destination.subset or "", number or 0, port)

    return resolved


@query
def target(g: Graph, client: Client, host: str, subset: str, number: int, default: int) -> Target:
    """The target of `host` on port `number`; 0 stands for the service's only port, else for `default`.

    An ExternalName is followed to the service it leads to. A host that is no service still gives the name of a cluster
    (requests to it fail with 503 until it exists).
    """
    end = canonical_host(g, host)
    found = service_of(g, end)
    if found is None or not visible(found.exported, client.namespace):
        return Target(outbound_cluster(number or default, subset, end))
    port = number or _only_port(found) or default
    return target_under(g, found, subset, port, rules_for(g, client, found))


def target_under(g: Graph, found: Service, subset: str, number: int, rules: RuleKeys) -> Target:
    """The target of a service's port under the given DestinationRules."""
    policy = policy_in_force(merged_rule(g, rules), subset, number)
    port = found.port(number)
    return Target(
        outbound_cluster(number, subset, found.host),
        hash_policy(policy.load_balancer),
        follows_client=port is not None and follows_client(port.protocol, policy.connection_pool),
    )


def rules_for(g: Graph, client: Client, service: Service) -> RuleKeys:
    """The DestinationRules that hold for a service as `client` sees it."""
    return destination_rules(g, client.namespace, client.labels, service.namespace, service.host)


def _only_port(service: Service) -> int | None:
    return service.ports[0].number if len(service.ports) == 1 else None

"""Traffic rules: which VirtualService and which DestinationRule hold for a host as one client sees it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from crds.destinationrule import DestinationRule, Subset
from crds.meta import ObjectKey
from crds.trafficpolicy import TrafficPolicy
from crds.virtualservice import VirtualService
from dragoman.engine import Graph, consult, query
from dragoman.mesh.credentials import uses_of
from dragoman.mesh.exports import PUBLIC, exports, visible
from dragoman.mesh.hosts import wildcard_over, wildcards_of
from dragoman.mesh.inputs import DESTINATION_RULE_HOSTS, DESTINATION_RULES, OBJECTS, VIRTUAL_SERVICES_BY_HOST, chosen
from dragoman.mesh.labels import Labels, selects
from dragoman.mesh.settings import mesh_config, root_namespace


@query
def virtual_service(g: Graph, client: str, host: str) -> VirtualService | None:
    """The VirtualService whose mesh routes hold for `host` as seen from namespace `client`.

    An exact host beats a wildcard and a longer wildcard a shorter one; of those, rules private to the client come
    first, then those exported to it by name, then public ones, oldest first (Istio:
    pilot/pkg/model/virtualservice.go, SelectVirtualServices).
    """
    default = mesh_config(g).default_virtual_service_export_to
    for pattern in (host, *consult(g, _wildcards_routed, wildcard_over(host))):
        listed: tuple[VirtualService, ...] = consult(g, VIRTUAL_SERVICES_BY_HOST, pattern)
        ranked = [
            (_closeness(exported, candidate.metadata.namespace, client), index, candidate)
            for index, candidate in enumerate(listed)
            if visible(exported := exports(candidate.spec.export_to, candidate.metadata.namespace, default), client)
        ]
        if ranked:
            return chosen(g, min(ranked, key=lambda entry: entry[:2])[2])
    return None


@query
def _wildcards_routed(g: Graph, nearest: str) -> tuple[str, ...]:
    """The wildcard and those above it that VirtualServices name: nearly always none, which the hosts below share."""
    return tuple(pattern for pattern in wildcards_of(nearest) if consult(g, VIRTUAL_SERVICES_BY_HOST, pattern))


def _closeness(exported: frozenset[str], owner: str, client: str) -> int:
    if PUBLIC in exported:
        return 2
    return 0 if exported == {owner} and owner == client else 1


@dataclass(frozen=True, slots=True)
class Rule:
    """What DestinationRules say of one host: rules of one host and namespace are merged into one."""

    traffic_policy: TrafficPolicy | None
    subsets: tuple[Subset, ...]
    name: str
    namespace: str
    selects: bool
    """Whether it holds for selected workloads only."""
    names_credentials: bool
    """Whether it needs Secrets, so that it matters who the client is."""

    def subset(self, name: str) -> Subset | None:
        return next((subset for subset in self.subsets if subset.name == name), None)


RuleKeys = tuple[tuple[str, str], ...]
"""`(namespace, name)` of the DestinationRules that together hold for a host, oldest first; none where there is none."""


@query
def destination_rules(g: Graph, client: str, labels: Labels, provider: str, host: str) -> RuleKeys:
    """The rules for `host`, of a service in namespace `provider`, as a proxy of namespace `client` sees them.

    The first level that has a match wins, without inheritance: the client's namespace, the service's, the root
    (Istio: pilot/pkg/model/push_context.go, destinationRule). A rule for selected workloads beats one for all.
    Clients in different namespaces for whom the same rules hold share everything that is made from them.
    """
    root = root_namespace(g)
    default = mesh_config(g).default_destination_rule_export_to
    own = () if client == root else (client,)
    for level in dict.fromkeys((*own, provider, root)):
        if not consult(g, _has_destination_rules, level):
            continue
        for pattern in (host, *consult(g, _wildcards_ruled, level, wildcard_over(host))):
            listed = consult(g, DESTINATION_RULES, (level, pattern))
            rules = tuple(rule for rule in listed if applies(rule, client, default, labels))
            if rules:
                selected = tuple(rule for rule in rules if rule.spec.workload_selector is not None)
                return tuple((rule.namespace, rule.name) for rule in selected or rules)
    return ()


@query
def _has_destination_rules(g: Graph, level: str) -> bool:
    """Whether a namespace has rules at all: most hosts need not be looked up in most namespaces."""
    return bool(consult(g, DESTINATION_RULE_HOSTS, level))


@query
def _wildcards_ruled(g: Graph, level: str, nearest: str) -> tuple[str, ...]:
    """The wildcard and those above it for which a namespace has rules."""
    return tuple(pattern for pattern in wildcards_of(nearest) if consult(g, DESTINATION_RULES, (level, pattern)))


def applies(rule: DestinationRule, client: str, default: Iterable[str], labels: Labels) -> bool:
    """Whether a client in namespace `client` sees a rule, and is among the workloads that it selects if it selects any:
    a selector picks workloads of the rule's own namespace."""
    selector = rule.spec.workload_selector
    if selector is not None and (rule.namespace != client or not selects(selector.match_labels, labels)):
        return False
    return rule.namespace == client or visible(exports(rule.spec.export_to, rule.namespace, default), client)


@query
def merged_rule(g: Graph, keys: RuleKeys) -> Rule | None:
    """Several rules of one host as one: subsets add up, the first of a name stays; the policy is that of the oldest
    rule that has one (Istio: pilot/pkg/model/destination_rule.go, mergeDestinationRule)."""
    found = [
        rule for key in keys if isinstance(rule := OBJECTS(g, ObjectKey("DestinationRule", *key)), DestinationRule)
    ]
    if not found:
        return None
    subsets: dict[str, Subset] = {}
    for rule in found:
        for subset in rule.spec.subsets:
            subsets.setdefault(subset.name, subset)
    policy = next((rule.spec.traffic_policy for rule in found if rule.spec.traffic_policy is not None), None)
    return Rule(
        policy,
        tuple(subsets.values()),
        found[0].name,
        found[0].namespace,
        selects=found[0].spec.workload_selector is not None,
        names_credentials=any(any(uses_of(rule)) for rule in found),
    )

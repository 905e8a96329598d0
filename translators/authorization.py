"""AuthorizationPolicies that hold for a workload → RBAC filters, and the names its TCP ports accept.

DENY is checked before ALLOW; with no ALLOW policy everything else passes, with one only what it matches (Istio:
pilot/pkg/security/authz/builder). CUSTOM, until external authorizers are supported, denies what it would have asked
about, as Istio does for an unknown provider; AUDIT and dry-run policies decide nothing.
"""

from __future__ import annotations

from envoy_data_plane.envoy.config.listener.v3 import Filter
from envoy_data_plane.envoy.config.rbac.v3 import Policy, Rbac, RbacAction
from envoy_data_plane.envoy.extensions.filters.http.rbac.v3 import Rbac as HttpRbac
from envoy_data_plane.envoy.extensions.filters.network.http_connection_manager.v3 import HttpFilter
from envoy_data_plane.envoy.extensions.filters.network.rbac.v3 import Rbac as NetworkRbac

from crds.authorizationpolicy import Action, AuthorizationPolicy
from dragoman.codec import pack
from dragoman.engine import Graph, query
from dragoman.mesh.labels import Labels
from dragoman.mesh.policies import authorization_policies
from dragoman.mesh.settings import mesh_config
from translators import peer_names
from translators.peer_names import PeerNames
from translators.rbac_rules import Scope, rbac_policy
from translators.trust_domains import TrustDomains

HTTP_FILTER = "envoy.filters.http.rbac"
NETWORK_FILTER = "envoy.filters.network.rbac"

DRY_RUN = "istio.io/dry-run"


@query
def trust_domains(g: Graph) -> TrustDomains:
    mesh = mesh_config(g)
    return TrustDomains(mesh.trust_domain, mesh.trust_domain_aliases)


@query
def policies_in_force(g: Graph, namespace: str, labels: Labels) -> tuple[AuthorizationPolicy, ...]:
    """The policies of a workload that decide something."""
    return tuple(
        policy
        for policy in authorization_policies(g, namespace, labels)
        if policy.spec.action is not Action.AUDIT and policy.metadata.annotations.get(DRY_RUN) != "true"
    )


def mesh_peers(g: Graph) -> PeerNames:
    """Any workload of the mesh: what a policy says of requests is for RBAC to decide."""
    return peer_names.peer_names((), 0, trust_domains(g))


@query
def tcp_peers(g: Graph, namespace: str, labels: Labels, port: int) -> PeerNames:
    """The workloads that may complete the handshake on a TCP port."""
    return peer_names.peer_names(policies_in_force(g, namespace, labels), port, trust_domains(g))


@query
def admits_unidentified(g: Graph, namespace: str, labels: Labels, port: int) -> bool:
    """Whether a plaintext peer may be connected to a TCP port; it hears no greeting otherwise."""
    return peer_names.admits_unidentified(policies_in_force(g, namespace, labels), port)


def http_filters(g: Graph, namespace: str, labels: Labels) -> tuple[HttpFilter, ...]:
    """Filters that decide requests, in the order in which they must stand."""
    return tuple(
        HttpFilter(name=HTTP_FILTER, typed_config=pack(HttpRbac(rules=rules)))
        for rules in _rules(g, namespace, labels, http=True)
    )


def network_filters(g: Graph, namespace: str, labels: Labels, port: int) -> tuple[Filter, ...]:
    """Filters that decide connections whose bytes are passed on, at the first byte from the client."""
    return tuple(
        Filter(name=NETWORK_FILTER, typed_config=pack(NetworkRbac(rules=rules, stat_prefix="tcp.")))
        for rules in _rules(g, namespace, labels, http=False)
    )


def _rules(g: Graph, namespace: str, labels: Labels, *, http: bool) -> list[Rbac]:
    found = policies_in_force(g, namespace, labels)
    denying = [p for p in found if p.spec.action in (Action.DENY, Action.CUSTOM)]
    allowing = [p for p in found if p.spec.action in (None, Action.ALLOW)]
    rules = []
    denied = _policies(g, denying, http=http)
    if denied:
        rules.append(Rbac(action=RbacAction.DENY, policies=denied))
    if allowing:
        # Without a policy that can match, an ALLOW filter lets nothing through: that is what "allow nothing" means.
        rules.append(Rbac(action=RbacAction.ALLOW, policies=_policies(g, allowing, http=http)))
    return rules


def _policies(g: Graph, listed: list[AuthorizationPolicy], *, http: bool) -> dict[str, Policy]:
    found = {}
    for written in listed:
        denies = written.spec.action in (Action.DENY, Action.CUSTOM)
        scope = Scope(written.namespace, http, denies, trust_domains(g))
        for index, rule in enumerate(written.spec.rules):
            policy = rbac_policy(rule, scope)
            if policy is not None:
                found[f"ns[{written.namespace}]-policy[{written.name}]-rule[{index}]"] = policy
    return found

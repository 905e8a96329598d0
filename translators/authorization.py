"""AuthorizationPolicies that hold for a workload → RBAC filters, and the names its TCP ports accept.

CUSTOM is asked first, AUDIT notes, DENY is checked before ALLOW; with no ALLOW policy everything else passes, with one
only what it matches. Policies under `istio.io/dry-run` only note what they would have decided (Istio:
pilot/pkg/security/authz/builder).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import msgspec
from envoy_data_plane.envoy.config.listener.v3 import Filter
from envoy_data_plane.envoy.config.rbac.v3 import Policy, Rbac, RbacAction
from envoy_data_plane.envoy.extensions.filters.http.rbac.v3 import Rbac as HttpRbac
from envoy_data_plane.envoy.extensions.filters.network.http_connection_manager.v3 import HttpFilter
from envoy_data_plane.envoy.extensions.filters.network.rbac.v3 import Rbac as NetworkRbac

from crds.authorizationpolicy import Action, AuthorizationPolicy
from dragoman.codec import Ref, pack
from dragoman.engine import Graph, query
from dragoman.mesh.authorizers import Authorizer, authorizer
from dragoman.mesh.labels import Labels
from dragoman.mesh.policies import authorization_policies
from dragoman.mesh.settings import mesh_config
from translators import ext_authz, peer_names
from translators.peer_names import PeerNames
from translators.rbac_rules import Scope, rbac_policy
from translators.trust_domains import TrustDomains

HTTP_FILTER = "envoy.filters.http.rbac"
NETWORK_FILTER = "envoy.filters.network.rbac"

_ORDER = ((Action.AUDIT, RbacAction.LOG), (Action.DENY, RbacAction.DENY), (Action.ALLOW, RbacAction.ALLOW))
_SHADOW_PREFIXES = {Action.DENY: "istio_dry_run_deny_", Action.ALLOW: "istio_dry_run_allow_"}


@query
def trust_domains(g: Graph) -> TrustDomains:
    mesh = mesh_config(g)
    return TrustDomains(mesh.trust_domain, mesh.trust_domain_aliases)


@query
def policies_in_force(g: Graph, namespace: str, labels: Labels) -> tuple[AuthorizationPolicy, ...]:
    """The policies of a workload that are no dry run.

    CUSTOM that cannot be asked denies what it matches: its provider or the provider's service is unknown, or the
    workload's policies name several (Istio: builder.go, getBadDenyRules).
    """
    listed = tuple(p for p in authorization_policies(g, namespace, labels) if not p.dry_run)
    asked = _provider(listed)
    if asked is not None and authorizer(g, asked) is not None:
        return listed
    return tuple(_denying(policy) if policy.spec.action is Action.CUSTOM else policy for policy in listed)


def _provider(policies: Iterable[AuthorizationPolicy]) -> str | None:
    """The one provider that the policies name."""
    names = {
        policy.spec.provider.name if policy.spec.provider is not None else None
        for policy in policies
        if policy.spec.action is Action.CUSTOM
    }
    return names.pop() if len(names) == 1 else None


def _denying(policy: AuthorizationPolicy) -> AuthorizationPolicy:
    return msgspec.structs.replace(policy, spec=msgspec.structs.replace(policy.spec, action=Action.DENY))


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


@dataclass(frozen=True, slots=True)
class _Rules:
    """What one RBAC filter is told: rules that decide, and rules that only note what they would decide."""

    enforced: Rbac | None
    shadow: Rbac | None
    shadow_prefix: str = ""


def custom_http_filters(g: Graph, namespace: str, labels: Labels) -> tuple[HttpFilter, ...]:
    """Filters that ask an external authorizer; before authentication of tokens, which it may replace."""
    asked = _asked(g, namespace, labels)
    if asked is None:
        return ()
    rules = _custom_rules(g, namespace, labels, http=True)
    return (_http_filter(rules), ext_authz.http_filter(asked, HTTP_FILTER)) if rules is not None else ()


def http_filters(g: Graph, namespace: str, labels: Labels) -> tuple[HttpFilter, ...]:
    """Filters that decide requests, in the order in which they must stand."""
    return tuple(_http_filter(rules) for rules in _rules(g, namespace, labels, http=True))


def network_filters(g: Graph, namespace: str, labels: Labels, port: int) -> tuple[Filter, ...]:
    """Filters that decide connections whose bytes are passed on, at the first byte from the client.

    An HTTP provider is not asked about connections (Istio: extauthz.go).
    """
    filters = []
    asked = _asked(g, namespace, labels)
    custom = _custom_rules(g, namespace, labels, http=False) if asked is not None else None
    if asked is not None and custom is not None:
        asking = ext_authz.network_filter(asked, NETWORK_FILTER)
        if asking is not None:
            filters += [_network_filter(custom), asking]
    filters += [_network_filter(rules) for rules in _rules(g, namespace, labels, http=False)]
    return tuple(filters)


def references(g: Graph, namespace: str, labels: Labels, *, http: bool) -> frozenset[Ref]:
    """What the filters name: the cluster of the authorizer that is asked about requests, or about connections."""
    asked = _asked(g, namespace, labels)
    if asked is None or _custom_rules(g, namespace, labels, http=http) is None:
        return frozenset()
    if not http and ext_authz.network_filter(asked, NETWORK_FILTER) is None:
        return frozenset()
    return frozenset((ext_authz.reference(asked),))


def _asked(g: Graph, namespace: str, labels: Labels) -> Authorizer | None:
    name = _provider(policies_in_force(g, namespace, labels))
    return None if name is None else authorizer(g, name)


def _custom_rules(g: Graph, namespace: str, labels: Labels, *, http: bool) -> _Rules | None:
    custom = [p for p in policies_in_force(g, namespace, labels) if p.spec.action is Action.CUSTOM]
    provider = _provider(custom)
    policies = _policies(g, custom, http=http)
    if not policies:
        return None
    named = {f"{ext_authz.POLICY_PREFIX}{provider}-{name}": policy for name, policy in policies.items()}
    return _Rules(None, Rbac(action=RbacAction.DENY, policies=named), ext_authz.SHADOW_PREFIX)


def _rules(g: Graph, namespace: str, labels: Labels, *, http: bool) -> list[_Rules]:
    enforced = policies_in_force(g, namespace, labels)
    dry = tuple(policy for policy in authorization_policies(g, namespace, labels) if policy.dry_run)
    found = []
    for action, rbac_action in _ORDER:
        rules = _rbac(g, enforced, action, rbac_action, http=http)
        prefix = _SHADOW_PREFIXES.get(action)
        shadow = _rbac(g, dry, action, rbac_action, http=http) if prefix is not None else None
        if rules is not None or shadow is not None:
            found.append(_Rules(rules, shadow, prefix or "" if shadow is not None else ""))
    return found


def _rbac(
    g: Graph, policies: Iterable[AuthorizationPolicy], action: Action, rbac_action: RbacAction, *, http: bool
) -> Rbac | None:
    listed = [policy for policy in policies if (policy.spec.action or Action.ALLOW) is action]
    rules = _policies(g, listed, http=http)
    # Without a rule that can match, an ALLOW filter lets nothing through: that is what "allow nothing" means.
    return Rbac(action=rbac_action, policies=rules) if rules or (listed and action is Action.ALLOW) else None


def _http_filter(rules: _Rules) -> HttpFilter:
    rbac = HttpRbac(rules=rules.enforced, shadow_rules=rules.shadow, shadow_rules_stat_prefix=rules.shadow_prefix)
    return HttpFilter(name=HTTP_FILTER, typed_config=pack(rbac))


def _network_filter(rules: _Rules) -> Filter:
    rbac = NetworkRbac(
        rules=rules.enforced,
        shadow_rules=rules.shadow,
        shadow_rules_stat_prefix=rules.shadow_prefix,
        stat_prefix="tcp.",
    )
    return Filter(name=NETWORK_FILTER, typed_config=pack(rbac))


def _policies(g: Graph, listed: Iterable[AuthorizationPolicy], *, http: bool) -> dict[str, Policy]:
    found = {}
    for written in listed:
        # What cannot be told must not let anything through: it is asked about, noted or denied rather.
        denies = written.spec.action not in (None, Action.ALLOW)
        scope = Scope(written.namespace, http, denies, trust_domains(g))
        for index, rule in enumerate(written.spec.rules):
            policy = rbac_policy(rule, scope)
            if policy is not None:
                found[f"ns[{written.namespace}]-policy[{written.name}]-rule[{index}]"] = policy
    return found

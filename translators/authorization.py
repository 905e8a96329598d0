"""AuthorizationPolicies that hold for a workload → RBAC filters, and the names its TCP ports accept.

CUSTOM is asked first, AUDIT notes, DENY is checked before ALLOW; with no ALLOW policy everything else passes, with one
only what it matches. Policies under `istio.io/dry-run` only note what they would have decided (Istio:
pilot/pkg/security/authz/builder).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

import msgspec
from envoy_data_plane.envoy.config.listener.v3 import Filter
from envoy_data_plane.envoy.config.rbac.v3 import Rbac, RbacAction
from envoy_data_plane.envoy.extensions.filters.http.rbac.v3 import Rbac as HttpRbac
from envoy_data_plane.envoy.extensions.filters.network.http_connection_manager.v3 import HttpFilter
from envoy_data_plane.envoy.extensions.filters.network.rbac.v3 import Rbac as NetworkRbac

from crds.authorizationpolicy import Action, AuthorizationPolicy
from crds.meta import ObjectKey
from dragoman.codec import Ref, encode, frame, pack
from dragoman.engine import Graph, query
from dragoman.mesh.authorizers import Authorizer, authorizer
from dragoman.mesh.inputs import OBJECTS
from dragoman.mesh.labels import Labels
from dragoman.mesh.policies import authorization_policies
from dragoman.mesh.settings import mesh_config
from translators import ext_authz, peer_names
from translators.peer_names import PeerNames
from translators.rbac_rules import Scope, rbac_policy
from translators.trust_domains import TrustDomains

# Envoy: config/rbac/v3/rbac.proto, extensions/filters/{http,network}/rbac/v3/rbac.proto
_POLICIES, _RULES, _SHADOW_RULES = 2, 1, 2

HTTP_FILTER = "envoy.filters.http.rbac"
NETWORK_FILTER = "envoy.filters.network.rbac"

_SHADOW_PREFIXES = {RbacAction.DENY: "istio_dry_run_deny_", RbacAction.ALLOW: "istio_dry_run_allow_"}

_UNASKED = "-deny-due-to-bad-CUSTOM-action"
"""Ends the names of rules that deny because nobody can be asked: what Envoy notes of a request says so, as Istio's."""

Keys = tuple[ObjectKey, ...]


@dataclass(frozen=True, slots=True)
class InForce:
    """The policies of a workload by what they do; those under `istio.io/dry-run` only note it."""

    audit: Keys = ()
    deny: Keys = ()
    allow: Keys = ()
    noted_deny: Keys = ()
    noted_allow: Keys = ()
    ask: Keys = ()
    provider: str = ""
    """Of those that `ask`."""


@query
def trust_domains(g: Graph) -> TrustDomains:
    mesh = mesh_config(g)
    return TrustDomains(mesh.trust_domain, mesh.trust_domain_aliases)


@query
def in_force(g: Graph, namespace: str, labels: Labels) -> InForce:
    """The policies of a workload.

    CUSTOM that cannot be asked denies what it matches: its provider or the provider's service is unknown, or the
    workload's policies name several (Istio: builder.go, getBadCustomDenyRules). A dry run of CUSTOM asks nobody.
    """
    by_action: dict[tuple[Action, bool], list[ObjectKey]] = {}
    providers = set()
    for policy in authorization_policies(g, namespace, labels):
        action = policy.spec.action or Action.ALLOW
        dry = bool(policy.dry_run)
        by_action.setdefault((action, dry), []).append(policy.key)
        if action is Action.CUSTOM and not dry:
            providers.add(policy.spec.provider.name if policy.spec.provider is not None else None)

    def keys(action: Action, *, dry: bool = False) -> Keys:
        return tuple(by_action.get((action, dry), ()))

    provider = next(iter(providers)) if len(providers) == 1 else None
    asked = provider is not None and authorizer(g, provider) is not None
    custom = keys(Action.CUSTOM)
    return InForce(
        audit=keys(Action.AUDIT),
        deny=keys(Action.DENY) if asked else (*keys(Action.DENY), *custom),
        allow=keys(Action.ALLOW),
        noted_deny=keys(Action.DENY, dry=True),
        noted_allow=keys(Action.ALLOW, dry=True),
        ask=custom if asked else (),
        provider=provider if asked and provider is not None else "",
    )


def mesh_peers(g: Graph) -> PeerNames:
    """Any workload of the mesh: what a policy says of requests is for RBAC to decide."""
    return peer_names.peer_names((), 0, trust_domains(g))


def tcp_peers(g: Graph, namespace: str, labels: Labels, port: int) -> PeerNames:
    """The workloads that may complete the handshake on a TCP port."""
    held = in_force(g, namespace, labels)
    return _peer_names(g, held.allow, held.deny, port)


def admits_unidentified(g: Graph, namespace: str, labels: Labels, port: int) -> bool:
    """Whether a plaintext peer may be connected to a TCP port; it hears no greeting otherwise."""
    held = in_force(g, namespace, labels)
    return _admits_unidentified(g, held.allow, held.deny, port)


@query
def _peer_names(g: Graph, allow: Keys, deny: Keys, port: int) -> PeerNames:
    return peer_names.peer_names(_deciding(g, allow, deny), port, trust_domains(g))


@query
def _admits_unidentified(g: Graph, allow: Keys, deny: Keys, port: int) -> bool:
    return peer_names.admits_unidentified(_deciding(g, allow, deny), port)


def _deciding(g: Graph, allow: Keys, deny: Keys) -> list[AuthorizationPolicy]:
    return [*(_policy(g, key) for key in allow), *(_denying(_policy(g, key)) for key in deny)]


def _policy(g: Graph, key: ObjectKey) -> AuthorizationPolicy:
    return cast("AuthorizationPolicy", OBJECTS(g, key))


def _denying(policy: AuthorizationPolicy) -> AuthorizationPolicy:
    if policy.spec.action is Action.DENY:
        return policy
    return msgspec.structs.replace(policy, spec=msgspec.structs.replace(policy.spec, action=Action.DENY))


@dataclass(frozen=True, slots=True)
class _Rules:
    """What one RBAC filter is told, encoded: rules that decide, and rules that only note what they would decide."""

    enforced: bytes | None
    shadow: bytes | None
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
    provider = in_force(g, namespace, labels).provider
    return authorizer(g, provider) if provider else None


def _custom_rules(g: Graph, namespace: str, labels: Labels, *, http: bool) -> _Rules | None:
    held = in_force(g, namespace, labels)
    rules = _rbac(g, held.ask, RbacAction.DENY, http, f"{ext_authz.POLICY_PREFIX}{held.provider}-")
    return None if rules is None else _Rules(None, rules, ext_authz.SHADOW_PREFIX)


def _rules(g: Graph, namespace: str, labels: Labels, *, http: bool) -> list[_Rules]:
    held = in_force(g, namespace, labels)
    found = []
    for action, keys, noted in (
        (RbacAction.LOG, held.audit, ()),
        (RbacAction.DENY, held.deny, held.noted_deny),
        (RbacAction.ALLOW, held.allow, held.noted_allow),
    ):
        rules, shadow = _rbac(g, keys, action, http, ""), _rbac(g, noted, action, http, "")
        if rules is not None or shadow is not None:
            found.append(_Rules(rules, shadow, _SHADOW_PREFIXES[action] if shadow is not None else ""))
    return found


@query
def _rbac(g: Graph, keys: Keys, action: RbacAction, http: bool, prefix: str) -> bytes | None:
    """The encoded rules of these policies, under names that begin with `prefix`: made once for all workloads that the
    same policies hold for. None where there is nothing to match.

    Without a rule that can match, an ALLOW filter lets nothing through: that is what "allow nothing" means.
    """
    rules = {}
    for key in keys:
        unasked = not prefix and _policy(g, key).spec.action is Action.CUSTOM
        for name, policy in _compiled(g, key, http):
            rules[prefix + name + (_UNASKED if unasked else "")] = policy
    if not rules and not (keys and action is RbacAction.ALLOW):
        return None
    entries = (frame(1, name.encode()) + frame(2, rules[name]) for name in sorted(rules))
    return encode(Rbac(action=action)) + b"".join(frame(_POLICIES, entry) for entry in entries)


@query
def _compiled(g: Graph, key: ObjectKey, http: bool) -> tuple[tuple[str, bytes], ...]:
    """The rules of one policy, by name and encoded."""
    written = _policy(g, key)
    # What cannot be told must not let anything through: it is asked about, noted or denied rather.
    denies = written.spec.action not in (None, Action.ALLOW)
    scope = Scope(written.namespace, http, denies, trust_domains(g))
    compiled = ((index, rbac_policy(rule, scope)) for index, rule in enumerate(written.spec.rules))
    return tuple(
        (f"ns[{written.namespace}]-policy[{written.name}]-rule[{index}]", encode(policy))
        for index, policy in compiled
        if policy is not None
    )


def _http_filter(rules: _Rules) -> HttpFilter:
    rest = HttpRbac(shadow_rules_stat_prefix=rules.shadow_prefix)
    return HttpFilter(name=HTTP_FILTER, typed_config=_packed(rules, rest))


def _network_filter(rules: _Rules) -> Filter:
    rest = NetworkRbac(shadow_rules_stat_prefix=rules.shadow_prefix, stat_prefix="tcp.")
    return Filter(name=NETWORK_FILTER, typed_config=_packed(rules, rest))


def _packed(rules: _Rules, rest: HttpRbac | NetworkRbac) -> Any:
    """The filter's message with its rules, which are there encoded; both filters number them alike."""
    packed = pack(rest)
    for number, held in ((_SHADOW_RULES, rules.shadow), (_RULES, rules.enforced)):
        if held is not None:
            packed.value = frame(number, held) + packed.value
    return packed

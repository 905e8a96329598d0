"""One rule of an AuthorizationPolicy → one Envoy RBAC policy (Istio: pilot/pkg/security/authz/model).

Inside a source or an operation all fields must hold and one value of each; `from`, `to` and `when` must all hold.
What cannot be told errs to the closed side: an ALLOW rule with such a condition never matches, a DENY rule matches on
the rest of it. That is how Istio treats conditions on requests where only bytes are seen, and how conditions are
treated that are not translated yet (`crds.support` reports those).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial

from envoy_data_plane.envoy.config.rbac.v3 import Permission, PermissionSet, Policy, Principal, PrincipalSet
from envoy_data_plane.envoy.type.matcher.v3 import StringMatcher

from crds.authorizationpolicy import Condition, Operation, Rule, Source
from translators import rbac_matchers as matchers
from translators.trust_domains import TrustDomains

_KEYED = re.compile(r"([\w.\-]+)((?:\[[^\[\]]+\])+)")
_HEADER = re.compile(r"request\.headers\[([^\[\]]+)\]")
_BRACKETS = re.compile(r"\[([^\[\]]+)\]")
_CLAIMS = {"request.auth.audiences": "aud", "request.auth.presenter": "azp"}
_EXPERIMENTAL = "experimental."
_FILTERS = "experimental.envoy.filters."


@dataclass(frozen=True, slots=True)
class Scope:
    """What rules are translated for."""

    namespace: str
    """The policy's."""
    http: bool
    """Requests are seen, not only bytes."""
    denies: bool
    trust_domains: TrustDomains


class _NeverMatchesError(Exception):
    """The rule has a condition that cannot be told, and matching without it would let too much through."""


@dataclass(slots=True)
class _Terms:
    """Conditions of which all must hold, sorted into Envoy's two kinds."""

    permissions: list[Permission] = field(default_factory=list)
    principals: list[Principal] = field(default_factory=list)


def rbac_policy(rule: Rule, scope: Scope) -> Policy | None:
    """The rule, None where it can never match."""
    try:
        when = _Terms()
        for condition in rule.when:
            _condition(when, condition, scope)
        sources = [_source(item.source or Source(), scope) for item in rule.from_] or [_Terms()]
        operations = [_operation(item.operation or Operation(), scope) for item in rule.to] or [_Terms()]
    except _NeverMatchesError:
        return None
    return Policy(
        permissions=[_all_permissions([*terms.permissions, *when.permissions]) for terms in operations],
        principals=[_all_principals([*terms.principals, *when.principals]) for terms in sources],
    )


def _source(source: Source, scope: Scope) -> _Terms:
    terms = _Terms()
    own = partial(matchers.service_account, policy_namespace=scope.namespace)
    _who(terms, source.principals, source.not_principals, partial(_spellings, scope))
    _who(terms, source.namespaces, source.not_namespaces, lambda value: [matchers.namespace(value)])
    _who(terms, source.service_accounts, source.not_service_accounts, lambda value: [own(value)])
    _who(terms, source.trust_domains, source.not_trust_domains, lambda value: [matchers.trust_domain(value)])
    _addresses(terms, source.ip_blocks, source.not_ip_blocks, "source.ip")
    _addresses(terms, source.remote_ip_blocks, source.not_remote_ip_blocks, "remote.ip")
    if (source.request_principals or source.not_request_principals) and not scope.http:
        _untellable(scope)
    else:
        _some(terms.principals, source.request_principals, source.not_request_principals, matchers.request_principal)
    return terms


def _operation(operation: Operation, scope: Scope) -> _Terms:
    terms = _Terms()
    _what(terms, operation.ports, operation.not_ports, lambda value: Permission(destination_port=int(value)))
    if not scope.http and (operation.hosts or operation.not_hosts):
        _untellable(scope)
    else:
        # Which of several hosts is meant cannot be told: what denies looks at each, what lets in at all as one.
        _what(terms, operation.hosts, (), _host(among_others=scope.denies))
        _what(terms, (), operation.not_hosts, _host(among_others=not scope.denies))
    requests: tuple[tuple[Sequence[str], Sequence[str], Callable[[str], Permission]], ...] = (
        (operation.methods, operation.not_methods, lambda value: Permission(header=matchers.header(":method", value))),
        (operation.paths, operation.not_paths, matchers.path),
    )
    for values, not_values, make in requests:
        if (values or not_values) and not scope.http:
            _untellable(scope)
        else:
            _what(terms, values, not_values, make)
    return terms


def _host(*, among_others: bool) -> Callable[[str], Permission]:
    return lambda value: Permission(header=matchers.host(value, among_others=among_others))


def _condition(terms: _Terms, condition: Condition, scope: Scope) -> None:
    values, not_values = condition.values, condition.not_values
    match condition.key:
        case "source.ip" | "remote.ip" as key:
            _addresses(terms, values, not_values, key)
        case "source.principal":
            _who(terms, values, not_values, partial(_spellings, scope))
        case "source.namespace":
            _who(terms, values, not_values, lambda value: [matchers.namespace(value)])
        case "source.serviceAccount":
            own = partial(matchers.service_account, policy_namespace=scope.namespace)
            _who(terms, values, not_values, lambda value: [own(value)])
        case "source.trustDomain":
            _who(terms, values, not_values, lambda value: [matchers.trust_domain(value)])
        case "destination.ip":
            _what(terms, values, not_values, lambda value: Permission(destination_ip=matchers.cidr(value)))
        case "destination.port":
            _what(terms, values, not_values, lambda value: Permission(destination_port=int(value)))
        case "connection.sni":
            _what(
                terms,
                values,
                not_values,
                lambda value: Permission(requested_server_name=matchers.string_matcher(value)),
            )
        case key if scope.http and (header := _HEADER.fullmatch(key)) is not None:
            _header(terms, header.group(1), values, not_values, denies=scope.denies)
        case key:
            made = _of_metadata(key)
            make = made if made is not None or not scope.http else _of_request(key)
            if make is None:
                _untellable(scope)
            else:
                _some(terms.principals, values, not_values, make)


def _header(terms: _Terms, name: str, values: Sequence[str], not_values: Sequence[str], *, denies: bool) -> None:
    """A header may come several times. What denies is met by one of its values, what lets in must be met by all: an
    application may read another one than Envoy matched."""
    found = [Principal(header=matchers.header(name, value)) for value in values]
    shunned = [Principal(header=matchers.header(name, value)) for value in not_values]
    other = matchers.other_header(name, not_values if denies else values)
    others = [] if other is None else [Principal(header=other)]
    if values:
        terms.principals.append(_any_principal(found))
        if others and not denies:
            terms.principals.append(Principal(not_id=others[0]))
    if not_values:
        none_of_them = Principal(not_id=_any_principal(shunned))
        terms.principals.append(_any_principal([none_of_them, *(others if denies else [])]))


def _of_metadata(key: str) -> Callable[[str], Iterable[Principal]] | None:
    """How a value of what another filter noted is matched: also filters of connections note things (MySQL's tables)."""
    keyed = _KEYED.fullmatch(key)
    if keyed is None or not keyed.group(1).startswith(_FILTERS):
        return None
    names = _BRACKETS.findall(keyed.group(2))
    if len(names) != 1:
        return None
    filter_name = keyed.group(1).removeprefix(_EXPERIMENTAL)
    return lambda value: [matchers.filter_metadata(filter_name, names[0], value)]


def _of_request(key: str) -> Callable[[str], Iterable[Principal]] | None:
    """How a value of a key is matched that only requests have; None for a key that is not known."""
    if key == "request.auth.principal":
        return matchers.request_principal
    if key in _CLAIMS:
        return lambda value: [matchers.claim((_CLAIMS[key],), value)]
    keyed = _KEYED.fullmatch(key)
    if keyed is None:
        return None
    names = tuple(_BRACKETS.findall(keyed.group(2)))
    match keyed.group(1):
        case "request.auth.claims":
            return lambda value: [matchers.claim(names, value)]
    return None


def _untellable(scope: Scope) -> None:
    if not scope.denies:
        raise _NeverMatchesError


def _spellings(scope: Scope, value: str) -> list[StringMatcher]:
    return [matchers.string_matcher(v, matchers.SPIFFE) for v in scope.trust_domains.spellings(value)]


def _who(
    terms: _Terms, values: Sequence[str], not_values: Sequence[str], names: Callable[[str], Iterable[StringMatcher]]
) -> None:
    _some(terms.principals, values, not_values, lambda value: [matchers.principal(name) for name in names(value)])


def _addresses(terms: _Terms, values: Sequence[str], not_values: Sequence[str], kind: str) -> None:
    def make(value: str) -> list[Principal]:
        block = matchers.cidr(value)
        return [Principal(direct_remote_ip=block) if kind == "source.ip" else Principal(remote_ip=block)]

    _some(terms.principals, values, not_values, make)


def _some(
    into: list[Principal],
    values: Sequence[str],
    not_values: Sequence[str],
    make: Callable[[str], Iterable[Principal]],
) -> None:
    """One of `values`, and none of `not_values`."""
    if values:
        into.append(_any_principal([p for value in values for p in make(value)]))
    if not_values:
        into.append(Principal(not_id=_any_principal([p for value in not_values for p in make(value)])))


def _what(terms: _Terms, values: Sequence[str], not_values: Sequence[str], make: Callable[[str], Permission]) -> None:
    if values:
        terms.permissions.append(_any_permission([make(value) for value in values]))
    if not_values:
        terms.permissions.append(Permission(not_rule=_any_permission([make(value) for value in not_values])))


def _any_permission(rules: list[Permission]) -> Permission:
    return rules[0] if len(rules) == 1 else Permission(or_rules=PermissionSet(rules=rules))


def _any_principal(ids: list[Principal]) -> Principal:
    if not ids:
        return Principal(not_id=Principal(any=True))
    return ids[0] if len(ids) == 1 else Principal(or_ids=PrincipalSet(ids=ids))


def _all_permissions(rules: list[Permission]) -> Permission:
    return Permission(and_rules=PermissionSet(rules=rules)) if rules else Permission(any=True)


def _all_principals(ids: list[Principal]) -> Principal:
    return Principal(and_ids=PrincipalSet(ids=ids)) if ids else Principal(any=True)

"""Who may complete a TLS handshake, from policies on TCP ports.

Envoy's RBAC for TCP runs at the client's first byte; an application that speaks first would have greeted a denied peer
by then. So rules by identity alone are also compiled into the names that the server's TLS context accepts. Envoy takes
a list of matchers of which one must match, with no negation: what a DENY forbids is turned around, into an expression
that matches every other name (see `complements`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from envoy_data_plane.envoy.extensions.transport_sockets.tls.v3 import (
    SubjectAltNameMatcher,
    SubjectAltNameMatcherSanType,
)
from envoy_data_plane.envoy.type.matcher.v3 import RegexMatcher, StringMatcher

from crds.authorizationpolicy import Action, AuthorizationPolicy, Rule, Source
from translators.complements import MAX_EXPRESSION, Name, complement
from translators.rbac_matchers import SPIFFE
from translators.trust_domains import TrustDomains

PeerNames = tuple[SubjectAltNameMatcher, ...]

_NOBODY = "spiffe://"
"""No certificate has this name: the list that lets nobody in. An empty list would let everybody in."""


@dataclass(frozen=True, slots=True)
class Peers:
    """All whose name one of `names` covers and none of `but`."""

    names: tuple[Name, ...]
    but: tuple[Name, ...] = ()


def mesh_names(trust_domains: TrustDomains) -> tuple[Name, ...]:
    """Everybody of the mesh."""
    return tuple(Name(f"{SPIFFE}{domain}/", whole=False) for domain in trust_domains.all)


def peer_names(policies: Iterable[AuthorizationPolicy], port: int, trust_domains: TrustDomains) -> PeerNames:
    """The names that may connect to a TCP `port`: all that the policies let in, and where rules look at nothing but who
    connects and where to, no others. What rules say beyond that is left to RBAC."""
    listed = tuple(policies)
    left = [(name, peers.but) for peers in _allowed(listed, port, trust_domains) for name in peers.names]
    for policy in listed:
        if policy.spec.action is not Action.DENY:
            continue
        for rule in policy.spec.rules:
            for denied in _peers(rule, policy.namespace, port, trust_domains, denies=True) or ():
                left = [entry for name, but in left for entry in _without(name, but, denied)]
    if not left:
        return (_uri(StringMatcher(exact=_NOBODY)),)
    return tuple(_uri(_matcher(name, but)) for name, but in dict.fromkeys(left))


def admits_unidentified(policies: Iterable[AuthorizationPolicy], port: int) -> bool:
    """Whether a peer without a certificate of the mesh may be let in to a TCP `port`: False only where rules that look
    at nothing but who connects and where to keep out everybody without a name."""
    allowing = denying = False
    can_match = False
    for policy in policies:
        if policy.spec.action in (Action.AUDIT, Action.CUSTOM):
            continue
        denies = policy.spec.action is Action.DENY
        allowing |= not denies
        for rule in policy.spec.rules:
            if not _concerns(rule, port, denies=denies):
                continue
            sources = [item.source or Source() for item in rule.from_] or [Source()]
            nameless = [source for source in sources if not _names_somebody(source)]
            if denies:
                denying |= not rule.when and any(not _looks_further(source) for source in nameless)
            else:
                can_match |= bool(nameless)
    return not denying and (can_match or not allowing)


def _names_somebody(source: Source) -> bool:
    """Whether only peers with a name can match."""
    return bool(source.principals or source.namespaces or source.service_accounts or source.trust_domains)


def _looks_further(source: Source) -> bool:
    """Whether more than names decides."""
    return any(
        (
            source.ip_blocks,
            source.not_ip_blocks,
            source.remote_ip_blocks,
            source.not_remote_ip_blocks,
            source.request_principals,
            source.not_request_principals,
        )
    )


def _without(name: Name, but: tuple[Name, ...], denied: Peers) -> Iterator[tuple[Name, tuple[Name, ...]]]:
    """What of `name` without `but` is not among the denied: what their names do not cover, and what they except."""
    if not any(other.covers(name) for other in denied.names):
        yield name, (*but, *denied.names)
    for kept in _intersection((name,), denied.but):
        if not any(other.covers(kept) for other in but):
            yield kept, but


def _allowed(policies: tuple[AuthorizationPolicy, ...], port: int, trust_domains: TrustDomains) -> tuple[Peers, ...]:
    allowing = [policy for policy in policies if policy.spec.action in (None, Action.ALLOW)]
    everybody = (Peers(mesh_names(trust_domains)),)
    if not allowing:
        return everybody
    allowed: list[Peers] = []
    for policy in allowing:
        for rule in policy.spec.rules:
            peers = _peers(rule, policy.namespace, port, trust_domains, denies=False)
            if peers is None:
                return everybody
            allowed += peers
    return tuple(allowed)


def _peers(
    rule: Rule, namespace: str, port: int, trust_domains: TrustDomains, *, denies: bool
) -> tuple[Peers, ...] | None:
    """Who matches a rule on `port`; None where that is not a matter of names alone."""
    if not _concerns(rule, port, denies=denies):
        return ()
    if rule.when:
        return None
    found: list[Peers] = []
    for item in rule.from_:
        peers = _source(item.source or Source(), namespace, trust_domains)
        if peers is None:
            return None
        found.append(peers)
    return tuple(found) if rule.from_ else (Peers(mesh_names(trust_domains)),)


def _concerns(rule: Rule, port: int, *, denies: bool) -> bool:
    """Whether a rule can match connections to `port` (see `rbac_rules` for conditions on requests)."""
    for item in rule.to:
        operation = item.operation
        if operation is None:
            return True
        requests = (
            *operation.hosts,
            *operation.not_hosts,
            *operation.methods,
            *operation.not_methods,
            *operation.paths,
            *operation.not_paths,
        )
        if requests and not denies:
            return False
        if (not operation.ports or str(port) in operation.ports) and str(port) not in operation.not_ports:
            return True
    return not rule.to


def _source(source: Source, namespace: str, trust_domains: TrustDomains) -> Peers | None:
    """Who a source is: all of its fields must hold, so that their names are intersected; None where more than names
    decides."""
    if _looks_further(source):
        return None
    found = mesh_names(trust_domains)
    but: list[Name] = []
    fields: tuple[tuple[Sequence[str], Sequence[str], Callable[[str], tuple[Name, ...] | None]], ...] = (
        (source.principals, source.not_principals, lambda value: _principal(value, trust_domains)),
        (source.namespaces, source.not_namespaces, lambda value: _namespace(value, trust_domains)),
        (
            source.service_accounts,
            source.not_service_accounts,
            lambda value: _account(value, namespace, trust_domains),
        ),
        (source.trust_domains, source.not_trust_domains, _trust_domain),
    )
    for values, not_values, names_of in fields:
        names, not_names = _all_names(values, names_of), _all_names(not_values, names_of)
        if names is None or not_names is None:
            return None
        but += not_names
        if values:
            found = _intersection(found, names)
    return Peers(tuple(name for name in found if not any(other.covers(name) for other in but)), tuple(but))


def _all_names(values: Iterable[str], names_of: Callable[[str], tuple[Name, ...] | None]) -> tuple[Name, ...] | None:
    found: list[Name] = []
    for value in values:
        names = names_of(value)
        if names is None:
            return None
        found += names
    return tuple(found)


def _principal(value: str, trust_domains: TrustDomains) -> tuple[Name, ...] | None:
    if value == "*":
        return mesh_names(trust_domains)
    if value.startswith("*"):
        return None
    whole = not value.endswith("*")
    return tuple(Name(SPIFFE + v, whole) for v in trust_domains.spellings(value.removesuffix("*")))


def _namespace(value: str, trust_domains: TrustDomains) -> tuple[Name, ...] | None:
    if "*" in value.removesuffix("*"):
        return None
    end = value.removesuffix("*") if value.endswith("*") else f"{value}/"
    return tuple(Name(f"{SPIFFE}{domain}/ns/{end}", whole=False) for domain in trust_domains.all)


def _account(value: str, namespace: str, trust_domains: TrustDomains) -> tuple[Name, ...]:
    scope, slash, account = value.rpartition("/")
    scope = scope if slash else namespace
    return tuple(Name(f"{SPIFFE}{domain}/ns/{scope}/sa/{account}") for domain in trust_domains.all)


def _trust_domain(value: str) -> tuple[Name, ...] | None:
    return None if "*" in value else (Name(f"{SPIFFE}{value}/", whole=False),)


def _intersection(one: tuple[Name, ...], other: tuple[Name, ...]) -> tuple[Name, ...]:
    both = []
    for a in one:
        for b in other:
            if a.covers(b):
                both.append(b)
            elif b.covers(a):
                both.append(a)
    return tuple(dict.fromkeys(both))


def _matcher(name: Name, denied: Iterable[Name]) -> StringMatcher:
    if name.whole:
        return StringMatcher(exact=name.text)
    inside = [Name(d.text.removeprefix(name.text), d.whole) for d in dict.fromkeys(denied) if name.covers(d)]
    if not inside:
        return StringMatcher(prefix=name.text)
    expression = re.escape(name.text) + (complement(inside) or "")
    if len(expression) > MAX_EXPRESSION:
        return StringMatcher(prefix=name.text)
    return StringMatcher(safe_regex=RegexMatcher(regex=expression))


def _uri(matcher: StringMatcher) -> SubjectAltNameMatcher:
    return SubjectAltNameMatcher(san_type=SubjectAltNameMatcherSanType.URI, matcher=matcher)

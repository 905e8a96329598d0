"""Small translations as values: filter chain tables, traffic policies, limits, and rules on connections."""

from __future__ import annotations

import re
from typing import Any

import msgspec
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from crds.authorizationpolicy import Rule as PolicyRule
from crds.decode import decode
from dragoman.mesh.policies import MtlsMode
from dragoman.mesh.protocol import Protocol
from dragoman.mesh.rules import Rule
from translators.alpn import PLAIN_HTTP
from translators.filter_chains import RAW, TLS, chains, inspects_tls
from translators.rbac_matchers import request_principal
from translators.rbac_rules import Scope, rbac_policy
from translators.traffic_policies import PolicyInForce, policy_in_force
from translators.trust_domains import TrustDomains


@pytest.mark.parametrize("mode", MtlsMode)
@pytest.mark.parametrize("protocol", [protocol for protocol in Protocol if protocol is not Protocol.UDP])
def test_chains_of_a_port_are_what_its_mode_promises(mode: MtlsMode, protocol: Protocol) -> None:
    table = chains(mode, protocol)
    terminated = [chain for chain in table if chain.terminates]
    plaintext = [chain for chain in table if chain.transport == RAW]
    assert bool(terminated) is (mode is not MtlsMode.DISABLE)
    assert bool(plaintext) is (mode is not MtlsMode.STRICT)
    assert all(chain.terminates for chain in table) or mode is not MtlsMode.STRICT, "nothing unverified under STRICT"
    assert all(chain.transport == TLS for chain in terminated)
    assert len({(chain.transport, chain.alpn) for chain in table}) == len(table), "Envoy refuses equal matches"
    assert inspects_tls(table) is any(chain.transport == TLS for chain in table)
    if protocol is Protocol.AUTO:
        assert {chain.http for chain in table} == {True, False}
    else:
        assert {chain.http for chain in table} == {protocol.is_http}
        assert not any(chain.alpn == PLAIN_HTTP for chain in table), "a declared protocol is not looked for"


def rule(spec: str) -> Rule:
    head = {"apiVersion": "networking.istio.io/v1", "kind": "DestinationRule", "metadata": {"name": "a"}}
    decoded: Any = decode({**head, "spec": {"host": "a", **yaml.safe_load(spec)}})
    return Rule(decoded.spec.traffic_policy, decoded.spec.subsets, "a", "shop", selects=False, names_credentials=False)


_LEVELS = """
trafficPolicy:
  connectionPool: {tcp: {maxConnections: 1}}
  loadBalancer: {simple: RANDOM}
  portLevelSettings: [{port: {number: 81}, connectionPool: {tcp: {maxConnections: 2}}}]
subsets:
- {name: v1, trafficPolicy: {connectionPool: {tcp: {maxConnections: 3}}}}
- {name: v2, trafficPolicy: {portLevelSettings: [{port: {number: 80}, loadBalancer: {simple: ROUND_ROBIN}}]}}
"""


@pytest.mark.parametrize(
    ("subset", "port", "connections", "balancer"),
    [
        ("", 80, 1, "RANDOM"),
        ("", 81, 2, None),
        ("v1", 80, 3, "RANDOM"),
        ("v1", 81, 3, None),
        ("v2", 80, None, "ROUND_ROBIN"),
        ("v2", 81, 2, None),
        ("unknown", 80, 1, "RANDOM"),
    ],
)
def test_subsets_override_by_block_and_ports_replace(
    subset: str, port: int, connections: int | None, balancer: str | None
) -> None:
    found = policy_in_force(rule(_LEVELS), subset, port)
    tcp = found.connection_pool.tcp if found.connection_pool is not None else None
    assert (tcp.max_connections if tcp is not None else None) == connections
    assert (found.load_balancer.simple if found.load_balancer is not None else None) == balancer


def test_without_a_rule_there_is_no_policy() -> None:
    assert policy_in_force(None, "", 80) == PolicyInForce()


def policy(text: str, *, http: bool, denies: bool) -> Any:
    head = {"apiVersion": "security.istio.io/v1", "kind": "AuthorizationPolicy", "metadata": {"name": "a"}}
    decoded: Any = decode({**head, "spec": {"rules": [yaml.safe_load(text)]}})
    scope = Scope("shop", http, denies, TrustDomains("example.org", ("old.example.org",)))
    return rbac_policy(decoded.spec.rules[0], scope)


_OF_REQUESTS = [
    "{to: [{operation: {methods: [GET]}}]}",
    "{to: [{operation: {notMethods: [GET]}}]}",
    "{to: [{operation: {paths: [/a]}}]}",
    "{to: [{operation: {notPaths: [/a]}}]}",
    "{to: [{operation: {hosts: [a]}}]}",
    "{to: [{operation: {notHosts: [a]}}]}",
    '{when: [{key: "request.headers[x]", values: [a]}]}',
    "{from: [{source: {requestPrincipals: [a/b]}}]}",
    "{from: [{source: {notRequestPrincipals: [a/b]}}]}",
    "{when: [{key: request.auth.principal, values: [a/b]}]}",
    "{when: [{key: request.auth.audiences, notValues: [a]}]}",
    '{when: [{key: "request.auth.claims[a][b]", values: [a]}]}',
]


@pytest.mark.parametrize("text", _OF_REQUESTS)
def test_conditions_on_requests_close_where_only_bytes_are_seen(text: str) -> None:
    assert policy(text, http=False, denies=False) is None, "an ALLOW rule never matches"
    denied = policy(text, http=False, denies=True)
    assert denied.permissions[0].any, "a DENY rule matches on the rest: on everything"
    assert denied.principals[0].any
    assert policy(text, http=True, denies=False) is not None


@pytest.mark.parametrize("http", [True, False])
def test_what_a_filter_noted_is_told_of_requests_and_of_connections(http: bool) -> None:
    """MySQL's filter notes the tables of a statement, each with the list of its operations."""
    noted = policy(
        '{when: [{key: "experimental.envoy.filters.network.mysql_proxy[db.table]", values: ["[insert]", "all"]}]}',
        http=http,
        denies=False,
    )
    of_list, of_text = [
        each.sourced_metadata.metadata_matcher for each in noted.principals[0].and_ids.ids[0].or_ids.ids
    ]
    assert (of_list.filter, of_list.path[0].key) == ("envoy.filters.network.mysql_proxy", "db.table")
    assert of_list.value.list_match.one_of.string_match.exact == "insert"
    assert of_text.value.string_match.exact == "all"


@pytest.mark.parametrize("key", ["unheard.of", "request.headers[a][b]", "experimental.envoy.filters.a[b][c]"])
def test_conditions_that_cannot_be_told_close_everywhere(key: str) -> None:
    found: Any = msgspec.convert({"when": [{"key": key, "values": ["a"]}]}, PolicyRule)
    assert rbac_policy(found, Scope("shop", True, False, TrustDomains("example.org"))) is None
    assert rbac_policy(found, Scope("shop", True, True, TrustDomains("example.org"))) is not None


def says(principal: Any, claims: dict[str, str]) -> bool:
    """Whether a token with these claims is meant: what Envoy makes of the matchers of `request_principal`."""
    if principal.and_ids is not None:
        return all(says(each, claims) for each in principal.and_ids.ids)
    matcher = principal.sourced_metadata.metadata_matcher
    assert (matcher.filter, matcher.path[0].key) == ("envoy.filters.http.jwt_authn", "payload")
    text, wanted = claims[matcher.path[1].key], matcher.value.string_match
    for kind, value in (("exact", wanted.exact), ("prefix", wanted.prefix), ("suffix", wanted.suffix)):
        if value is not None:
            return {"exact": text.__eq__, "prefix": text.startswith, "suffix": text.endswith}[kind](value)
    return re.fullmatch(wanted.safe_regex.regex, text) is not None


_PART = st.text("ab/", min_size=1, max_size=4)


@given(issuer=_PART, subject=_PART, value=st.text("ab/", min_size=1, max_size=8), star=st.sampled_from("-<>*"))
def test_a_request_principal_is_the_text_of_issuer_and_subject(
    issuer: str, subject: str, value: str, star: str
) -> None:
    whole = f"{issuer}/{subject}"
    written = {"-": value, "<": f"*{value}", ">": f"{value}*", "*": "*"}[star]
    meant = {"-": whole == value, "<": whole.endswith(value), ">": whole.startswith(value), "*": True}[star]
    found = any(says(each, {"iss": issuer, "sub": subject}) for each in request_principal(written))
    assert found == meant


@pytest.mark.parametrize("domain", ["example.org", "old.example.org", "cluster.local"])
def test_a_principal_holds_under_every_name_of_the_mesh(domain: str) -> None:
    found = policy(f"{{from: [{{source: {{principals: [{domain}/ns/a/sa/b]}}}}]}}", http=False, denies=False)
    names = found.principals[0].and_ids.ids[0].or_ids.ids
    assert [name.authenticated.principal_name.exact for name in names] == [
        "spiffe://example.org/ns/a/sa/b",
        "spiffe://old.example.org/ns/a/sa/b",
    ]


def test_the_principal_of_another_mesh_is_only_itself() -> None:
    found = policy("{from: [{source: {principals: [other.org/ns/a/sa/b]}}]}", http=False, denies=False)
    assert found.principals[0].and_ids.ids[0].authenticated.principal_name.exact == "spiffe://other.org/ns/a/sa/b"


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("principals", "a/ns/b/sa/c"),
        ("namespaces", "a"),
        ("serviceAccounts", "a"),
        ("trustDomains", "a"),
        ("ipBlocks", "10.0.0.0/8"),
        ("remoteIpBlocks", "10.0.0.1"),
    ],
)
def test_the_negative_of_a_source_is_its_positive_turned_around(field: str, value: str) -> None:
    negative = f"not{field[0].upper()}{field[1:]}"
    positive = policy(f"{{from: [{{source: {{{field}: [{value}]}}}}]}}", http=True, denies=False)
    turned = policy(f"{{from: [{{source: {{{negative}: [{value}]}}}}]}}", http=True, denies=False)
    assert turned.principals[0].and_ids.ids[0].not_id == positive.principals[0].and_ids.ids[0]


@pytest.mark.parametrize(("field", "value"), [("methods", "GET"), ("paths", "/a*"), ("ports", '"80"')])
def test_the_negative_of_an_operation_is_its_positive_turned_around(field: str, value: str) -> None:
    negative = f"not{field[0].upper()}{field[1:]}"
    positive = policy(f"{{to: [{{operation: {{{field}: [{value}]}}}}]}}", http=True, denies=False)
    turned = policy(f"{{to: [{{operation: {{{negative}: [{value}]}}}}]}}", http=True, denies=False)
    assert turned.permissions[0].and_rules.rules[0].not_rule == positive.permissions[0].and_rules.rules[0]


_AUTHORITIES = {
    "a.b": (True, True),
    "A.B.:80": (True, True),
    "c": (False, False),
    "xa.b": (False, False),
    "c,a.b": (False, True),
    "a.b:80,c": (False, True),
}


@pytest.mark.parametrize("denies", [True, False])
@pytest.mark.parametrize("negated", [True, False])
@pytest.mark.parametrize("host", ["a.b", "a.*", "*.b", "*a.b"])
def test_a_request_with_several_hosts_is_told_by_each_to_deny_it_and_by_none_to_let_it_in(
    host: str, negated: bool, denies: bool
) -> None:
    field = "notHosts" if negated else "hosts"
    found = policy(f"{{to: [{{operation: {{{field}: ['{host}']}}}}]}}", http=True, denies=denies)
    term = found.permissions[0].and_rules.rules[0]
    expression = (term.not_rule if negated else term).header.string_match.safe_regex.regex
    for authority, (alone, among_others) in _AUTHORITIES.items():
        if authority == "xa.b" and host.startswith("*"):
            continue
        wanted = among_others if denies is not negated else alone
        assert (re.fullmatch(expression, authority) is not None) is wanted, authority


def holds(principal: Any, values: list[str]) -> bool:
    """What Envoy makes of matchers of a header with these values: it matches each by itself."""
    if principal.and_ids is not None:
        return all(holds(each, values) for each in principal.and_ids.ids)
    if principal.or_ids is not None:
        return any(holds(each, values) for each in principal.or_ids.ids)
    if principal.not_id is not None:
        return not holds(principal.not_id, values)
    assert principal.header.name == "x"
    if principal.header.present_match:
        return bool(values)
    return any(_is(principal.header.string_match, value) for value in values)


def _is(wanted: Any, text: str) -> bool:
    for kind, value in (("exact", wanted.exact), ("prefix", wanted.prefix), ("suffix", wanted.suffix)):
        if value is not None:
            return {"exact": text.__eq__, "prefix": text.startswith, "suffix": text.endswith}[kind](value)
    return re.fullmatch(wanted.safe_regex.regex, text) is not None


_TEXTS = st.lists(st.text("ab", min_size=1, max_size=3), max_size=3)


@given(values=_TEXTS, not_values=_TEXTS, written=_TEXTS, star=st.booleans(), denies=st.booleans())
def test_of_several_values_of_a_header_each_denies_and_all_let_in(
    values: list[str], not_values: list[str], written: list[str], star: bool, denies: bool
) -> None:
    end = "*" if star else ""
    condition = {"values": [v + end for v in values], "notValues": [v + end for v in not_values]}
    rule: Any = msgspec.convert({"when": [{"key": "request.headers[x]", **condition}]}, PolicyRule)
    found: Any = rbac_policy(rule, Scope("shop", True, denies, TrustDomains("example.org")))
    among = [any(text.startswith(v) if star else text == v for v in values) for text in written]
    shunned = [any(text.startswith(v) if star else text == v for v in not_values) for text in written]
    some, every = (any, all) if denies else (all, any)
    meets = not values or (bool(written) and some(among))
    avoids = not not_values or not written or not every(shunned)
    assert all(holds(principal, written) for principal in found.principals if not principal.any) is (meets and avoids)

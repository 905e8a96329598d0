"""RequestAuthentication → Envoy's JWT filter (Istio: pilot/pkg/security/authn/policy_applier.go).

A request with a token that no rule verifies is refused (401); one without a token passes, and it is for
AuthorizationPolicy to ask for one, unless a rule says that its token must be there. Headers that rules write are taken
from every request first, whoever sent them (Envoy: source/extensions/filters/http/jwt_authn/extractor.cc).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import timedelta
from typing import Final

from envoy_data_plane.envoy.config.core.v3 import DataSource, HttpUri
from envoy_data_plane.envoy.config.route.v3 import RouteMatch
from envoy_data_plane.envoy.extensions.filters.http.jwt_authn.v3 import (
    JwtAuthentication,
    JwtClaimToHeader,
    JwtHeader,
    JwtProvider,
    JwtProviderNormalizePayload,
    JwtRequirement,
    JwtRequirementAndList,
    JwtRequirementOrList,
    RemoteJwks,
    RequirementRule,
)
from envoy_data_plane.envoy.extensions.filters.network.http_connection_manager.v3 import HttpFilter
from envoy_data_plane.google.protobuf import Empty

from crds import jwks
from crds.requestauthentication import JWTRule, Presence
from dragoman.codec import CLUSTER, Ref, pack
from dragoman.engine import Graph, query
from dragoman.mesh.labels import Labels
from dragoman.mesh.request_authentications import (
    FETCH_TIMEOUT,
    KeyServer,
    fetched_by_control_plane,
    fetched_keys,
    jwt_rules,
    key_server,
    key_source,
)
from translators.claims import JWT_FILTER, PAYLOAD
from translators.names import outbound_cluster

_SPACE_DELIMITED: Final = ("scope", "permission")
"""Claims that are lists written as one text (Istio: policy_applier.go; RFC 8693, section 4.2)."""

_CACHED: Final = timedelta(minutes=5)
"""How long Envoy keeps keys that it fetched itself (Istio: policy_applier.go)."""

NOBODYS_KEYS: Final = (
    '{"keys":[{"crv":"P-256","kid":"dragoman-no-keys-yet","kty":"EC",'
    '"x":"cfHovyneeHXPl8Rdnt_bcD5k3oG8iYgJ5dNmJ9gWvko","y":"ueTkydZbDzHFTr5ym_iy6PRk7tAQ6K75OdD2Ow6G7M4"}]}'
)
"""A key set whose private key nobody has: until the keys of an issuer were fetched its tokens are refused, and the
push goes on (Istio: jwks_resolver.go, FakeJwks). Envoy does not take an empty key set."""


def references(g: Graph, namespace: str, labels: Labels) -> frozenset[Ref]:
    """What the filter names: the clusters of services that Envoy fetches keys from."""
    servers = (_key_server(g, rule) for rule in jwt_rules(g, namespace, labels))
    return frozenset((CLUSTER, _cluster(server)) for server in servers if server is not None)


@query
def http_filters(g: Graph, namespace: str, labels: Labels, routes_by_claim: bool) -> tuple[HttpFilter, ...]:
    """The filter of a workload, none where no rule holds.

    `routes_by_claim`: routes may match claims, so they are chosen again once a token is verified.
    """
    rules = jwt_rules(g, namespace, labels)
    if not rules:
        return ()
    providers = {
        f"origins-{index}": _provider(g, rule, routes_by_claim=routes_by_claim) for index, rule in enumerate(rules)
    }
    authentication = JwtAuthentication(
        providers=providers,
        rules=[RequirementRule(match=RouteMatch(prefix="/"), requires=_requirement(rules))],
        # A browser sends no token with the request that asks whether it may (Fetch Standard, CORS-preflight fetch).
        bypass_cors_preflight=True,
    )
    return (HttpFilter(name=JWT_FILTER, typed_config=pack(authentication)),)


def _provider(g: Graph, rule: JWTRule, *, routes_by_claim: bool) -> JwtProvider:
    provider = JwtProvider(
        issuer=rule.issuer,
        audiences=list(rule.audiences),
        forward=bool(rule.forward_original_token),
        from_headers=[JwtHeader(name=h.name, value_prefix=h.prefix or "") for h in rule.from_headers],
        from_params=list(rule.from_params),
        from_cookies=list(rule.from_cookies),
        forward_payload_header=rule.output_payload_to_header or "",
        claim_to_headers=[
            JwtClaimToHeader(header_name=claim.header, claim_name=claim.claim) for claim in rule.output_claim_to_headers
        ],
        payload_in_metadata=PAYLOAD,
        normalize_payload_in_metadata=JwtProviderNormalizePayload(
            space_delimited_claims=list(dict.fromkeys((*_SPACE_DELIMITED, *rule.space_delimited_claims)))
        ),
        clear_route_cache=routes_by_claim,
    )
    server = _key_server(g, rule)
    if server is None:
        provider.local_jwks = DataSource(inline_string=_keys(g, rule) or NOBODYS_KEYS)
    else:
        provider.remote_jwks = RemoteJwks(
            http_uri=HttpUri(
                uri=server.uri,
                cluster=_cluster(server),
                timeout=rule.timeout or FETCH_TIMEOUT,
            ),
            cache_duration=_CACHED,
        )
    return provider


def _key_server(g: Graph, rule: JWTRule) -> KeyServer | None:
    source = key_source(rule)
    return None if source is None or source.discovered else key_server(g, source.uri)


def _cluster(server: KeyServer) -> str:
    return outbound_cluster(server.port, "", server.host)


def _keys(g: Graph, rule: JWTRule) -> str | None:
    source = key_source(rule)
    if source is None:
        return _inline_keys(rule.jwks)
    return fetched_keys(g, source) if fetched_by_control_plane(g, source) else None


def _inline_keys(written: str | None) -> str | None:
    """Keys in a rule, without those that Envoy cannot use: one set without any would cost the whole listener."""
    try:
        return jwks.read(written or "", shared_secrets=True).text
    except jwks.KeySetError:
        return None


def _requirement(rules: Sequence[JWTRule]) -> JwtRequirement:
    """What a request must bring.

    Without REQUIRED rules that is what Istio asks for: one token that is good is enough, whatever the others would say
    of it, and so is none. Envoy refuses a token where it looks for one of another issuer, so that rules which look at
    the same place are alternatives; one that is REQUIRED makes the token of another issuer there count as none.
    """
    named = [(JwtRequirement(provider_name=f"origins-{index}"), rule) for index, rule in enumerate(rules)]
    if all(rule.presence is not Presence.REQUIRED for rule in rules):
        return _none_required([name for name, _ in named])
    return _all(_of_one_place(group) for group in _by_place(named))


_Named = tuple[JwtRequirement, JWTRule]


def _by_place(named: Sequence[_Named]) -> list[list[_Named]]:
    """The rules in groups that look for tokens at the same places."""
    groups: list[tuple[frozenset[str], list[_Named]]] = []
    for name, rule in named:
        places, members = _places(rule), [(name, rule)]
        for group in [group for group in groups if group[0] & places]:
            groups.remove(group)
            places, members = places | group[0], [*group[1], *members]
        groups.append((places, members))
    return [members for _, members in groups]


def _places(rule: JWTRule) -> frozenset[str]:
    headers = [f"header {header.name.lower()}" for header in rule.from_headers]
    places = [
        *headers,
        *(f"param {name}" for name in rule.from_params),
        *(f"cookie {name}" for name in rule.from_cookies),
    ]
    # Envoy: JwtProvider.from_headers, where none of the three is given.
    return frozenset(places or ("header authorization", "param access_token"))


def _of_one_place(group: Sequence[_Named]) -> JwtRequirement:
    required = [name for name, rule in group if rule.presence is Presence.REQUIRED]
    optional = [name for name, rule in group if rule.presence is not Presence.REQUIRED]
    if not required:
        return _none_required(optional)
    ignored = JwtRequirement(allow_missing_or_failed=Empty())
    return _all([_any(required), *(_any([name, ignored]) for name in optional)])


def _none_required(names: Sequence[JwtRequirement]) -> JwtRequirement:
    missing = JwtRequirement(allow_missing=Empty())
    each = [_any([name, missing]) for name in names]
    return each[0] if len(each) == 1 else _any([*names, _all(each)])


def _any(requirements: Sequence[JwtRequirement]) -> JwtRequirement:
    if len(requirements) == 1:
        return requirements[0]
    return JwtRequirement(requires_any=JwtRequirementOrList(requirements=list(requirements)))


def _all(requirements: Iterable[JwtRequirement]) -> JwtRequirement:
    listed = list(requirements)
    if len(listed) == 1:
        return listed[0]
    return JwtRequirement(requires_all=JwtRequirementAndList(requirements=listed))

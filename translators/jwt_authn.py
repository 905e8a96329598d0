"""RequestAuthentication → Envoy's JWT filter (Istio: pilot/pkg/security/authn/policy_applier.go).

A request with a token that no rule verifies is refused (401); one without a token passes, and it is for
AuthorizationPolicy to ask for one, unless a rule says that its token must be there.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from envoy_data_plane.envoy.config.core.v3 import DataSource
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
    RequirementRule,
)
from envoy_data_plane.envoy.extensions.filters.network.http_connection_manager.v3 import HttpFilter
from envoy_data_plane.google.protobuf import Empty

from crds import jwks
from crds.requestauthentication import JWTRule, Presence
from dragoman.codec import pack
from dragoman.engine import Graph
from dragoman.mesh.labels import Labels
from dragoman.mesh.request_authentications import fetched_keys, jwt_rules, key_source
from translators.claims import JWT_FILTER, PAYLOAD

_SPACE_DELIMITED: Final = ("scope", "permission")
"""Claims that are lists written as one text (Istio: policy_applier.go; RFC 8693, section 4.2)."""

NOBODYS_KEYS: Final = (
    '{"keys":[{"crv":"P-256","kid":"dragoman-no-keys-yet","kty":"EC",'
    '"x":"cfHovyneeHXPl8Rdnt_bcD5k3oG8iYgJ5dNmJ9gWvko","y":"ueTkydZbDzHFTr5ym_iy6PRk7tAQ6K75OdD2Ow6G7M4"}]}'
)
"""A key set whose private key nobody has: until the keys of an issuer were fetched its tokens are refused, and the
push goes on (Istio: jwks_resolver.go, FakeJwks). Envoy does not take an empty key set."""


def http_filters(g: Graph, namespace: str, labels: Labels, *, routes_by_claim: bool) -> tuple[HttpFilter, ...]:
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
    source = key_source(rule)
    keys = _inline_keys(rule.jwks) if source is None else fetched_keys(g, source)
    return JwtProvider(
        issuer=rule.issuer,
        audiences=list(rule.audiences),
        local_jwks=DataSource(inline_string=keys or NOBODYS_KEYS),
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


def _inline_keys(written: str | None) -> str | None:
    """Keys in a rule, without those that Envoy cannot use: one set without any would cost the whole listener."""
    try:
        return jwks.read(written or "", shared_secrets=True).text
    except jwks.KeySetError:
        return None


def _requirement(rules: Sequence[JWTRule]) -> JwtRequirement:
    names = [JwtRequirement(provider_name=f"origins-{index}") for index in range(len(rules))]
    each = [
        name if rule.presence is Presence.REQUIRED else _or_missing(name)
        for name, rule in zip(names, rules, strict=True)
    ]
    if len(each) == 1:
        return each[0]
    all_of_them = JwtRequirement(requires_all=JwtRequirementAndList(requirements=each))
    if any(rule.presence is Presence.REQUIRED for rule in rules):
        return all_of_them
    # One token that is good is enough, whatever the others would say of it.
    return JwtRequirement(requires_any=JwtRequirementOrList(requirements=[*names, all_of_them]))


def _or_missing(name: JwtRequirement) -> JwtRequirement:
    missing = JwtRequirement(allow_missing=Empty())
    return JwtRequirement(requires_any=JwtRequirementOrList(requirements=[name, missing]))

"""Cross-origin resource sharing (Istio: route.go, TranslateCORSPolicy)."""

from __future__ import annotations

from envoy_data_plane.envoy.extensions.filters.http.cors.v3 import CorsPolicy as EnvoyCorsPolicy
from envoy_data_plane.envoy.type.matcher.v3 import RegexMatcher, StringMatcher

from crds.virtualservice import CorsPolicy, UnmatchedPreflights
from translators.fractions import ALWAYS, of_requests
from translators.string_matchers import string_matcher

FILTER = "envoy.filters.http.cors"

_ANY_ORIGIN = StringMatcher(safe_regex=RegexMatcher(regex=".*"))


def cors_policy(policy: CorsPolicy) -> EnvoyCorsPolicy:
    """The settings of a route for Envoy's CORS filter."""
    origins = [
        string_matcher(origin, f"corsPolicy.allowOrigins[{index}]") or _ANY_ORIGIN
        for index, origin in enumerate(policy.allow_origins)
    ] or [_ANY_ORIGIN if origin == "*" else StringMatcher(exact=origin) for origin in policy.allow_origin]
    preflights = policy.unmatched_preflights
    return EnvoyCorsPolicy(
        allow_origin_string_match=origins,
        filter_enabled=of_requests(ALWAYS),
        allow_methods=",".join(policy.allow_methods),
        allow_headers=",".join(policy.allow_headers),
        expose_headers=",".join(policy.expose_headers),
        max_age="" if policy.max_age is None else str(int(policy.max_age.total_seconds())),
        allow_credentials=policy.allow_credentials,
        forward_not_matching_preflights=(
            None if preflights in (None, UnmatchedPreflights.UNSPECIFIED) else preflights is UnmatchedPreflights.FORWARD
        ),
    )

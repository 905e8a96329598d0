"""Claims of verified tokens: where Envoy's JWT filter leaves them, and how conditions on them are matched.

The filter writes the payload of a token it verified into dynamic metadata; a claim is text or a list of texts (Istio:
pilot/pkg/security/authz/matcher, MetadataStringMatcher and MetadataListMatcher).
"""

from __future__ import annotations

from collections.abc import Sequence

from envoy_data_plane.envoy.type.matcher.v3 import (
    ListMatcher,
    MetadataMatcher,
    MetadataMatcherPathSegment,
    OrMatcher,
    StringMatcher,
    ValueMatcher,
)

JWT_FILTER = "envoy.filters.http.jwt_authn"
PAYLOAD = "payload"
"""The key in the filter's metadata that the payload stands under."""


def claim_matcher(keys: Sequence[str], matcher: StringMatcher | None, *, invert: bool = False) -> MetadataMatcher:
    """A claim, at the end of the path `keys`, that is this text or a list with it; None: that is there at all."""
    if matcher is None:
        value = ValueMatcher(present_match=True)
    else:
        text = ValueMatcher(string_match=matcher)
        among = ValueMatcher(list_match=ListMatcher(one_of=text))
        value = ValueMatcher(or_match=OrMatcher(value_matchers=[text, among]))
    segments = [MetadataMatcherPathSegment(key=key) for key in (PAYLOAD, *keys)]
    return MetadataMatcher(filter=JWT_FILTER, path=segments, value=value, invert=invert)

"""Istio's StringMatch as Envoy's StringMatcher."""

from __future__ import annotations

from envoy_data_plane.envoy.type.matcher.v3 import StringMatcher

from crds.stringmatch import StringMatch
from translators.regexes import regex_matcher


def string_matcher(match: StringMatch, path: str) -> StringMatcher | None:
    """None where any value will do (Istio: pilot/pkg/networking/core/route/route.go, canBeConvertedToPresentMatch).

    An empty prefix also means any value: Envoy refuses to load it (StringMatcher.prefix has a least length of 1).
    """
    if match.exact is not None:
        return StringMatcher(exact=match.exact)
    if match.prefix:
        return StringMatcher(prefix=match.prefix)
    if match.regex is not None and match.regex != "*":
        return StringMatcher(safe_regex=regex_matcher(match.regex, f"{path}.regex"))
    return None

"""Regular expressions for Envoy, whose engine is RE2."""

from __future__ import annotations

from envoy_data_plane.envoy.type.matcher.v3 import RegexMatcher

from crds.regex import refusal
from translators.untranslatable import UntranslatableError


def regex_matcher(text: str, path: str) -> RegexMatcher:
    """Raises `UntranslatableError` at `path` for an expression that Envoy would refuse.

    Validation asks the same. But Envoy rejects a whole route configuration for one bad expression, without saying
    which, so what came another way must not get there.
    """
    if not text:
        raise UntranslatableError(path, "a regular expression must not be empty")
    if reason := refusal(text):
        raise UntranslatableError(path, f"RE2 refuses the regular expression: {reason}")
    return RegexMatcher(regex=text)

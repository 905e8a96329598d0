"""Regular expressions for Envoy, whose engine is RE2."""

from __future__ import annotations

import re

from envoy_data_plane.envoy.type.matcher.v3 import RegexMatcher

from crds.validate import bounds
from translators.untranslatable import UntranslatableError


def regex_matcher(text: str, path: str) -> RegexMatcher:
    """Raises `UntranslatableError` at `path` for an expression that RE2 would refuse.

    Validation asks the same. But Envoy rejects a whole route configuration for one bad expression, without saying
    which, so what came another way must not get there.
    """
    if not text:
        raise UntranslatableError(path, "a regular expression must not be empty")
    for problem in bounds.regex(text, path):
        raise UntranslatableError(path, problem.message)
    return RegexMatcher(regex=text)


def groups(text: str) -> int:
    """How many groups an expression captures: opening brackets that are neither escaped, nor in a class, nor `(?:`."""
    bare = re.sub(r"\\.|\[\^?\]?(?:\\.|[^\]\\])*\]", "", text, flags=re.DOTALL)
    return len(re.findall(r"\((?!\?)|\(\?P?<(?![=!])", bare))

r"""Regular expressions for Envoy, whose engine is RE2.

Envoy rejects a whole route configuration for one expression that RE2 cannot read, without saying which. What RE2 has
not (github.com/google/re2, "Syntax": look-around, backreferences, atomic groups, possessive quantifiers, conditionals)
and what no engine reads is refused here, so that only the virtual host that asked for it stands still.
"""

from __future__ import annotations

import re

from envoy_data_plane.envoy.type.matcher.v3 import RegexMatcher

from translators.untranslatable import UntranslatableError

MAX_LENGTH = 1024
"""Istio: pkg/config/validation, regexMatchSize."""
_MAX_REPEAT = 1000
"""RE2's limit for `{n,m}`."""

_ESCAPE = re.compile(r"\\(?:Q.*?(?:\\E|$)|.)", re.DOTALL)
_CLASS = re.compile(r"\[\^?\]?(?:\[:\^?\w+:\]|\\.|[^\]\\])*\]", re.DOTALL)
_FOREIGN = re.compile(
    r"\(\?(?:=|!|<=|<!|>|\(|\||#|P=|P>|&|R|[+-]?\d)|[*+?}]\+|\(\*[A-Z]",
)
_REPEAT = re.compile(r"\{(\d+)(?:,(\d*))?\}")
_ONLY_RE2 = re.compile(r"\\(?:p\{\^?\w+\}|P\{\^?\w+\}|p[A-Z]|P[A-Z]|C|z|a)|\[\[:\^?\w+:\]\]|\(\?U\)|\(\?<(?![=!])")
_ESCAPES_RE2_LACKS = re.compile(r"\\(?:[1-9]|[gkKGZNRXhHuU](?![\w{]*\})|[gk][{<])")


def regex_matcher(text: str, path: str) -> RegexMatcher:
    """Raises `UntranslatableError` at `path` for an expression that RE2 would refuse."""
    refuse(text, path)
    return RegexMatcher(regex=text)


def refuse(text: str, path: str) -> None:
    """Raise `UntranslatableError` at `path` if RE2 would refuse `text`."""
    if not text:
        raise UntranslatableError(path, "a regular expression must not be empty")
    if len(text) > MAX_LENGTH:
        raise UntranslatableError(path, f"a regular expression has at most {MAX_LENGTH} characters")
    unescaped = _ESCAPE.sub("x", text)
    bare = _CLASS.sub("x", unescaped)
    foreign = _ESCAPES_RE2_LACKS.search(text.replace("\\\\", "")) or _FOREIGN.search(bare)
    if foreign is not None:
        raise UntranslatableError(path, f"RE2 has no {foreign.group()!r} (look-around, backreferences and the like)")
    for low, high in _REPEAT.findall(bare):
        if max(int(low), int(high or 0)) > _MAX_REPEAT:
            raise UntranslatableError(path, f"RE2 repeats at most {_MAX_REPEAT} times")
    try:
        re.compile(_ONLY_RE2.sub("x", text))
    except (re.error, OverflowError) as error:
        raise UntranslatableError(path, f"not a regular expression: {error}") from None


def groups(text: str) -> int:
    """How many groups an expression captures."""
    return re.compile(_ONLY_RE2.sub("x", text)).groups

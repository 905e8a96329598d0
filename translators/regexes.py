"""Regular expressions for Envoy, whose engine is RE2."""

from __future__ import annotations

import re

from envoy_data_plane.envoy.type.matcher.v3 import RegexMatcher

from crds.validate import bounds
from translators.untranslatable import UntranslatableError

MAX_REPEAT = 1000
"""RE2 refuses more repetitions than this, those of repetitions inside each other multiplied (RE2: kMaxRepeat)."""

MAX_SIZE = 32768
"""Instructions that Envoy lets an expression have (runtime `re2.max_program_size.error_level`, as Istio sets it)."""

_TOKEN = re.compile(
    r"(?P<escape>\\(?:[pP]\{[^}]*\}|x\{[^}]*\}|.))|(?P<set>\[\^?\]?(?:\[:\^?\w*:\]|\\.|[^\]\\])*\])"
    r"|(?P<open>\((?:\?(?:P?<\w+>|[a-zA-Z^-]*:?))?)|(?P<close>\))|(?P<repeat>\{\d+(?:,\d*)?\}|[*+?])|(?P<sign>.)",
    re.DOTALL,
)
_POSIX = re.compile(r"\[:\^?(?:alnum|alpha|ascii|blank|cntrl|digit|graph|lower|print|punct|space|upper|word|xdigit):\]")
_WIDE = 10  # about what a set of UTF-8 characters compiles to


def regex_matcher(text: str, path: str) -> RegexMatcher:
    """Raises `UntranslatableError` at `path` for an expression that RE2 would refuse.

    Validation asks much the same. But Envoy rejects a whole route configuration for one bad expression, without saying
    which, so what came another way must not get there.
    """
    if not text:
        raise UntranslatableError(path, "a regular expression must not be empty")
    for problem in bounds.regex(text, path):
        raise UntranslatableError(path, problem.message)
    for name in re.findall(r"\[:\^?\w*:\]", text):
        if not _POSIX.fullmatch(name):
            raise UntranslatableError(path, f"RE2 has no class {name}")
    repeated, size, _ = measure(text)
    if repeated > MAX_REPEAT:
        raise UntranslatableError(path, f"repeats {repeated} times in all, RE2 at most {MAX_REPEAT}")
    if size > MAX_SIZE:
        raise UntranslatableError(path, f"compiles to about {size} instructions, Envoy takes {MAX_SIZE}")
    return RegexMatcher(regex=text)


def measure(text: str) -> tuple[int, int, int]:
    """How often the most repeated part repeats, how large the expression is about, and how many groups it captures."""
    groups = 0
    outer: list[tuple[int, int]] = []
    repeated, size = 1, 0  # of the group that is open
    last = (1, 0)  # the part that a quantifier would repeat
    for token in _TOKEN.finditer(text):
        kind, word = token.lastgroup, token.group()
        if kind == "open":
            groups += word == "(" or word.endswith(">")
            outer.append((repeated, size))
            repeated, size = 1, 0
            last = (1, 0)
        elif kind == "close" and outer:
            last = (repeated, size)
            repeated, size = outer.pop()
        elif kind == "repeat":
            most = _most(word)
            size -= last[1]
            last = (last[0] * most, (last[1] + 1) * most)
        else:
            last = (1, _WIDE if kind == "set" or word == "." else len(word.encode()))
        if kind != "open":
            repeated, size = max(repeated, last[0]), size + last[1]
    return repeated, size, groups


def _most(quantifier: str) -> int:
    """How often a quantifier is unrolled: an open end is a loop."""
    if not quantifier.startswith("{"):
        return 1
    least, comma, most = quantifier[1:-1].partition(",")
    return max(int(most or least) if comma else int(least), 1)

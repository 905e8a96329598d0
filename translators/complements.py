"""Every text but some: an expression where Envoy's matchers have no negation.

RE2 has no look-ahead, so the complement is spelled out character by character.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

MAX_EXPRESSION = 4096
"""Longest complement in characters that is worth it: RE2 compiles it wherever it stands."""


@dataclass(frozen=True, slots=True)
class Name:
    """A name, or with `whole` False everything that begins with it."""

    text: str
    whole: bool = True

    def covers(self, other: Name) -> bool:
        if self.whole:
            return other.whole and self.text == other.text
        return other.text.startswith(self.text)


def complement(names: Iterable[Name]) -> str | None:
    """An RE2 expression for every text that none of `names` covers; None where they cover every text."""
    listed = list(names)
    if any(not name.text and not name.whole for name in listed):
        return None
    ends = any(not name.text for name in listed)
    by_first: dict[str, list[Name]] = {}
    for name in listed:
        if name.text:
            by_first.setdefault(name.text[0], []).append(Name(name.text[1:], name.whole))
    if not by_first:
        return ".+" if ends else ".*"
    options = [] if ends else [""]
    options.append(f"[^{''.join(map(_in_class, sorted(by_first)))}].*")
    for first, rest in sorted(by_first.items()):
        other = complement(rest)
        if other is not None:
            options.append(re.escape(first) + other)
    return f"(?:{'|'.join(options)})"


def _in_class(character: str) -> str:
    return f"\\{character}" if character in "\\]^-[" else character

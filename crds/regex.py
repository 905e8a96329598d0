"""Regular expressions as Envoy reads them: with RE2, in Latin-1 (a sign beyond ASCII is the bytes of its UTF-8)."""

from __future__ import annotations

import re
from functools import cache

import re2

MAX_SIZE = 32768
"""Instructions that Envoy lets an expression have (runtime `re2.max_program_size.error_level`, as Istio sets it)."""

_LONGEST_REASON = 80


def refusal(text: str) -> str:
    """Why Envoy refuses an expression, and with it the whole configuration that it stands in; empty if it takes it."""
    try:
        size = re2.compile(text.encode(), _options()).programsize
    except re2.error as error:
        reason = error.args[0].decode(errors="replace")  # it quotes what RE2 cannot read: perhaps the whole expression
        return reason if len(reason) <= _LONGEST_REASON else f"{reason[:_LONGEST_REASON]}…"
    if size > MAX_SIZE:
        return f"it compiles to {size} instructions, Envoy takes {MAX_SIZE}"
    return ""


def unknown_group(substitution: str, text: str) -> str:
    r"""The first reference of a substitution to a group that its expression, one that RE2 takes, does not have.

    Rewrites know `\0` to `\9`, and `\\` for the sign; Envoy refuses a configuration for any other.
    """
    captured = re2.compile(text.encode(), _options()).groups
    for reference in re.findall(r"\\(.?)", substitution, re.DOTALL):
        if reference != "\\" and not (reference.isascii() and reference.isdigit() and int(reference) <= captured):
            return f"\\{reference}"
    return ""


@cache
def _options() -> re2.Options:
    options = re2.Options()
    options.encoding = re2.Options.Encoding.LATIN1
    options.log_errors = False
    return options

"""Text that becomes part of a header: Envoy refuses some signs in it (Envoy: HttpHeaderName, HttpHeaderValue rules)."""

from __future__ import annotations

from translators.untranslatable import UntranslatableError


def one_line(text: str, path: str) -> str:
    """`text`, or `UntranslatableError` at `path` where it would end the header."""
    if any(sign in text for sign in "\0\r\n"):
        raise UntranslatableError(path, f"{text!r} must not contain line breaks or NUL")
    return text

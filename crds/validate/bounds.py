"""Numbers, durations, percentages, addresses, lines and regular expressions."""

from collections.abc import Iterator
from datetime import timedelta

from crds.codes import problem
from crds.problem import Problem
from crds.regex import refusal
from crds.stringmatch import StringMatch
from crds.validate.names import is_cidr

_MILLISECOND = timedelta(milliseconds=1)
_LONGEST_REGEX = 1024  # Istio: validateStringRegexp


def port(number: int | None, path: str) -> Iterator[Problem]:
    if number is not None and not 1 <= number <= 65535:
        yield problem("DRG0302", path, f"{number} is not a port", "ports go from 1 to 65535")


def duration(span: timedelta | None, path: str, *, at_least: timedelta = _MILLISECOND) -> Iterator[Problem]:
    """Istio: agent.ValidateDuration. Envoy's timers count milliseconds: a finer duration would be cut in silence."""
    if span is None:
        return
    if span < at_least:
        least = "0s" if not at_least else "1ms"
        yield problem("DRG0303", path, f"the duration must be at least {least}")
    elif span % _MILLISECOND:
        yield problem("DRG0303", path, "the duration must be a multiple of 1ms")


def percentage(value: float | None, path: str) -> Iterator[Problem]:
    if value is not None and not 0 <= value <= 100:
        yield problem("DRG0304", path, f"{value:g} is not a percentage", "percentages go from 0 to 100")


def not_negative(value: int | None, path: str) -> Iterator[Problem]:
    if value is not None and value < 0:
        yield problem("DRG0315", path, f"{value} is negative")


def cidr(text: str, path: str) -> Iterator[Problem]:
    if not is_cidr(text):
        yield problem("DRG0310", path, f"{text!r} is neither an IP address nor a CIDR block", "such as 10.0.0.0/8")


def one_line(text: str | None, path: str) -> Iterator[Problem]:
    """Text of a header or URL: Envoy refuses what would end it (Envoy: rules HTTP_HEADER_NAME, HTTP_HEADER_VALUE)."""
    if text and any(sign in text for sign in "\0\r\n"):
        remedy = "write it in one line; a block of YAML (|) ends in a line break, |- does not"
        yield problem("DRG0314", path, f"{text!r} has a line break or NUL in it", remedy)


def regex(pattern: str, path: str) -> Iterator[Problem]:
    """A pattern that Envoy's engine would refuse, and with it the whole route configuration."""
    if len(pattern) > _LONGEST_REGEX:
        yield problem("DRG0306", path, f"longer than {_LONGEST_REGEX} characters")
    elif reason := refusal(pattern):
        remedy = "RE2 has no look-around, backreferences or possessive repetition (RE2: Syntax)"
        yield problem("DRG0306", path, f"RE2 refuses the regular expression: {reason}", remedy)


def string_match(match: StringMatch | None, path: str) -> Iterator[Problem]:
    if match is None:
        return
    given = [name for name in ("exact", "prefix", "regex") if getattr(match, name) is not None]
    if len(given) > 1:
        yield problem("DRG0307", path, f"{' and '.join(given)} exclude each other", "keep one of them")
    if match.prefix == "":
        yield problem("DRG0308", f"{path}.prefix", "the prefix is empty", "leave the match out to match everything")
    if match.regex == "":
        yield problem("DRG0308", f"{path}.regex", "the regex is empty", "leave the match out to match everything")
    if match.regex:
        yield from regex(match.regex, f"{path}.regex")

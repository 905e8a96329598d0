"""Durations as Istio writes them: Go's syntax, of which protobuf's JSON syntax (`1.5s`) is a part."""

import datetime
import re
from decimal import ROUND_HALF_EVEN, Decimal

_UNITS = {
    "ns": Decimal("0.001"),
    "us": Decimal(1),
    "µs": Decimal(1),
    "μs": Decimal(1),
    "ms": Decimal(1_000),
    "s": Decimal(1_000_000),
    "m": Decimal(60_000_000),
    "h": Decimal(3_600_000_000),
}
_TERM = re.compile(r"(\d+\.?\d*|\.\d+)(ns|us|µs|μs|ms|s|m|h)", re.ASCII)
_DURATION = re.compile(rf"[-+]?(?:0|(?:{_TERM.pattern})+)", re.ASCII)
# Go keeps durations as int64 nanoseconds; what does not fit is refused there and so here.
_LIMIT_MICROSECONDS = Decimal(2**63) / 1000


class Duration(datetime.timedelta):
    """A `timedelta` that decodes from and encodes to Istio's duration strings.

    Resolution is one microsecond (Envoy's timers count milliseconds): nanoseconds are rounded to even.
    """

    __slots__ = ()

    @classmethod
    def parse(cls, text: str) -> "Duration":
        """Read Go's `time.ParseDuration` syntax: `1.5s`, `1h2m`, `10ms`, `-3s`, `0`.

        Raises ValueError with a text that says what a duration looks like.
        """
        if not _DURATION.fullmatch(text):
            raise ValueError(f"{text!r} is not a duration such as 10s, 1.5s, 250ms or 1h2m")
        microseconds = sum((Decimal(number) * _UNITS[unit] for number, unit in _TERM.findall(text)), Decimal(0))
        if microseconds >= _LIMIT_MICROSECONDS:
            raise ValueError(f"{text!r} is longer than the longest duration (about 292 years)")
        whole = int(microseconds.to_integral_value(ROUND_HALF_EVEN))
        return cls(microseconds=-whole if text.startswith("-") else whole)

    @property
    def text(self) -> str:
        """The canonical form, decimal seconds (`1.5s`): valid in Go and in protobuf's JSON alike."""
        sign = "-" if self < datetime.timedelta() else ""
        span = abs(self)
        seconds = span.days * 86_400 + span.seconds
        fraction = f".{span.microseconds:06d}".rstrip("0") if span.microseconds else ""
        return f"{sign}{seconds}{fraction}s"

"""Percentages as Envoy counts them."""

from __future__ import annotations

from envoy_data_plane.envoy.config.core.v3 import RuntimeFractionalPercent
from envoy_data_plane.envoy.type.v3 import FractionalPercent
from envoy_data_plane.envoy.type.v3 import FractionalPercentDenominatorType as Denominator

from crds.virtualservice import Percent
from translators.untranslatable import UntranslatableError

_PER_PERCENT = 10_000
_MILLION = 1_000_000


def fraction(percent: Percent, path: str) -> FractionalPercent:
    """Four decimal digits of a percentage count (Istio: translatePercentToFractionalPercent)."""
    value = percent.value or 0.0
    if not 0 <= value <= 100:
        raise UntranslatableError(f"{path}.value", f"{value} is not between 0 and 100")
    return FractionalPercent(numerator=min(round(value * _PER_PERCENT), _MILLION), denominator=Denominator.MILLION)


def whole_fraction(percent: int, path: str) -> FractionalPercent:
    if not 0 <= percent <= 100:
        raise UntranslatableError(path, f"{percent} is not between 0 and 100")
    return FractionalPercent(numerator=percent, denominator=Denominator.HUNDRED)


ALWAYS = FractionalPercent(numerator=100, denominator=Denominator.HUNDRED)


def of_requests(share: FractionalPercent) -> RuntimeFractionalPercent:
    """The share where Envoy would let an operator override it at run time; we name no key for that."""
    return RuntimeFractionalPercent(default_value=share)

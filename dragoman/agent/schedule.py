"""When a certificate is renewed, and when one that could not be had is asked for again. Pure: times are seconds."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Final

GRACE_RATIO: Final = 0.5  # Istio: SECRET_GRACE_PERIOD_RATIO
GRACE_JITTER: Final = 0.01  # Istio: SECRET_GRACE_PERIOD_RATIO_JITTER; pods started together drift apart
FIRST_PAUSE: Final = 1.0
LONGEST_PAUSE: Final = 60.0


@dataclass(frozen=True, slots=True)
class Validity:
    """Since when a certificate is there, as far as known, and until when it is valid, in seconds since 1970."""

    since: float
    until: float


def renewal(validity: Validity, rng: random.Random) -> float:
    """When to renew: at half of its life, give or take a hundredth."""
    left = GRACE_RATIO + rng.uniform(-GRACE_JITTER, GRACE_JITTER)
    return validity.until - (validity.until - validity.since) * left


def pause(failures: int, rng: random.Random) -> float:
    """How long to wait after so many failures in a row (at least one).

    A random part, no less than half, of a pause that doubles from a second to a minute: the pods of a mesh do not all
    come back to their control plane at once.
    """
    longest = min(LONGEST_PAUSE, FIRST_PAUSE * 2.0 ** min(failures - 1, 16))
    return longest * rng.uniform(0.5, 1.0)

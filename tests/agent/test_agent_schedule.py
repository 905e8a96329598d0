"""When the agent renews, and when it asks again."""

import random

from hypothesis import given
from hypothesis import strategies as st

from dragoman.agent.schedule import LONGEST_PAUSE, Validity, pause, renewal

seeds = st.integers().map(random.Random)


@given(seeds, st.floats(0, 1e9), st.floats(1, 1e7))
def test_a_certificate_is_renewed_at_half_of_its_life_give_or_take_a_hundredth(
    rng: random.Random, since: float, life: float
) -> None:
    at = renewal(Validity(since, since + life), rng)
    assert 0.489 * life <= at - since <= 0.511 * life


@given(seeds, st.integers(1, 10_000))
def test_pauses_grow_to_a_minute_and_never_vanish(rng: random.Random, failures: int) -> None:
    longest = min(LONGEST_PAUSE, 2.0 ** min(failures - 1, 10))
    assert longest / 2 <= pause(failures, rng) <= longest


def test_agents_that_fail_together_do_not_come_back_together() -> None:
    assert len({pause(5, random.Random(seed)) for seed in range(50)}) == 50  # noqa: S311 - jitter

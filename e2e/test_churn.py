"""Five hundred changes under load, and no request fails that neither the configuration before nor after would fail.

`CHURN_SEED=N` in the environment makes the random changes those of a seed that a failure has named.
"""

import os
import secrets
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from e2e.churn import report
from e2e.churn.cast import DRAIN_SECONDS, Cast, cast
from e2e.churn.run import churn
from e2e.churn.verdict import wrong

pytestmark = [pytest.mark.netns, pytest.mark.envoy, pytest.mark.asyncio(loop_scope="module")]

CHANGES = 500
FIXED_SEED = 20261121
LEAST_PER_SECOND = 200
"""Requests. Fewer are a failure of the machine, and are called that: then nothing was shown."""


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=["delta", "sotw"])
async def players(request: pytest.FixtureRequest) -> AsyncIterator[Cast]:
    async with cast(request.param) as made:
        yield made


@pytest.mark.parametrize("seed", ["fixed", "random"])
async def test_churn(players: Cast, seed: str, capsys: pytest.CaptureFixture[str]) -> None:
    number = FIXED_SEED if seed == "fixed" else int(os.environ.get("CHURN_SEED") or secrets.randbelow(2**31))
    load = await churn(players, number, CHANGES)
    with capsys.disabled():
        print(f"\nseed {number}: {report.summary(load, players.timeline)}")  # noqa: T201 - asked for
    failed = list(wrong(load.requests, players.timeline, DRAIN_SECONDS))
    assert not failed, await report.describe(players, number, failed)
    assert load.per_second >= LEAST_PER_SECOND, f"the machine was too slow: {load.per_second:.0f} requests/s"
    assert await players.control_plane.metric("pilot_total_xds_rejects") == 0
    assert await players.control_plane.metric("dragoman_xds_waits_given_up_total") == 0

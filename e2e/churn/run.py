"""A run of the churn: so many changes of a seed, each as soon as those before it are in force or nearly so."""

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator

from e2e.churn.cast import Cast
from e2e.churn.changes import changes
from e2e.churn.load import Load

PER_SECOND = 20
"""Changes, at most: that and `changes.HELD` say for how long a subset that lost its traffic keeps an endpoint."""

UNDERWAY = 10
"""Changes that may be on their way when the next is written: so many that the pace does not hang on each delivery, so
few that what is left of `changes.HELD` is longer than the longest delay."""

AFTERMATH = 2.0
"""Seconds of load after the last change: for what it held, and what it has still to remove."""


async def churn(cast: Cast, seed: int, count: int) -> Load:
    """Make `count` changes under load and return the load with all its requests.

    Raises AssertionError when a change does not come to be in force.
    """
    loop = asyncio.get_running_loop()
    async with followed(cast):
        await cast.reset()
        async with cast.load() as load:
            due = loop.time()
            for change in itertools.islice(changes(seed), count):
                await cast.underway(UNDERWAY)
                due = max(due, loop.time())
                await asyncio.sleep(due - loop.time())
                due += 1 / PER_SECOND
                await cast.apply(change)
                load.extras = cast.extras
            await cast.replaced()
            await cast.underway(0)
            await asyncio.sleep(AFTERMATH)
    return load


@contextlib.asynccontextmanager
async def followed(cast: Cast) -> AsyncIterator[None]:
    """While this lasts, the timeline of the cast says what is in force."""
    following = asyncio.create_task(cast.follow())
    try:
        yield
    finally:
        following.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await following

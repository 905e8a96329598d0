"""Streams begin a few at a time, and a slow one does not keep the others waiting."""

import asyncio

from xds.starts import Starts


async def test_beginnings_beyond_the_limit_wait_for_one_to_end() -> None:
    starts = Starts(limit=2, seconds=60)
    first, second = await starts.begin(), await starts.begin()
    third = asyncio.create_task(starts.begin())
    await asyncio.sleep(0)
    assert not third.done()
    first.end()
    (await third).end()
    second.end()


async def test_ending_twice_is_ending_once() -> None:
    starts = Starts(limit=1, seconds=60)
    first = await starts.begin()
    first.end()
    first.end()
    second = await starts.begin()
    third = asyncio.create_task(starts.begin())
    await asyncio.sleep(0)
    assert not third.done()
    second.end()
    (await third).end()


async def test_a_beginning_that_takes_too_long_makes_room() -> None:
    starts = Starts(limit=1, seconds=0.01)
    slow = await starts.begin()
    async with asyncio.timeout(60):
        next_ = await starts.begin()
    slow.end()
    waiting = asyncio.create_task(starts.begin())
    await asyncio.sleep(0)
    assert not waiting.done(), "the place of the slow one was given away already"
    next_.end()
    (await waiting).end()


async def test_whoever_gives_up_waiting_takes_no_place() -> None:
    starts = Starts(limit=1, seconds=60)
    first = await starts.begin()
    waiting = asyncio.create_task(starts.begin())
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    first.end()
    async with asyncio.timeout(60):
        (await starts.begin()).end()

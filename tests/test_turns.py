"""Who has much to do lets others go on."""

import asyncio
import time
from collections.abc import Iterator

from dragoman.turns import TURN, Round, in_turns


async def test_others_go_on_while_much_is_done() -> None:
    rounds = 0

    async def count_rounds() -> None:
        nonlocal rounds
        while True:
            rounds += 1
            await asyncio.sleep(0)

    def work() -> Iterator[int]:
        for number in range(10):
            until = time.perf_counter() + TURN
            while time.perf_counter() <= until:
                pass
            yield number

    others = asyncio.create_task(count_rounds())
    assert [number async for number in in_turns(work())] == list(range(10))
    others.cancel()
    assert rounds == 10


async def test_what_is_quick_is_done_in_one_turn() -> None:
    others = asyncio.create_task(asyncio.sleep(0))
    assert [number async for number in in_turns(range(3))] == [0, 1, 2]
    assert not others.done()
    await others


async def test_pieces_of_work_that_come_together_are_spread_over_rounds_in_the_order_of_coming() -> None:
    round_ = Round(TURN)
    rounds = [0]
    order = []

    async def count_rounds() -> None:
        while True:
            rounds.append(0)
            await asyncio.sleep(0)

    async def work(number: int) -> None:
        if round_.over:
            await round_.next()
        round_.used(TURN / 2)
        rounds[-1] += 1
        order.append(number)

    counting = asyncio.create_task(count_rounds())
    await asyncio.gather(*map(work, range(20)))
    counting.cancel()
    assert order == list(range(20))
    assert max(rounds) == 3
    assert sum(rounds) == 20

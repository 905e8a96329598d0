"""Who has much to do lets others go on."""

import asyncio
import time
from collections.abc import Iterator

from dragoman.turns import AT_ONCE, TURN, Round, in_turns


class Rounds:
    """Counts the rounds of the event loop, and what was done in each."""

    def __init__(self) -> None:
        self.done: list[list[int]] = [[]]

    async def count(self) -> None:
        while True:
            self.done.append([])
            await asyncio.sleep(0)


async def test_others_go_on_while_much_is_done() -> None:
    rounds = Rounds()

    def work() -> Iterator[int]:
        for number in range(10):
            until = time.perf_counter() + TURN
            while time.perf_counter() <= until:
                pass
            yield number

    others = asyncio.create_task(rounds.count())
    assert [number async for number in in_turns(work())] == list(range(10))
    others.cancel()
    assert len(rounds.done) == 11


async def test_what_is_quick_is_done_in_one_turn() -> None:
    others = asyncio.create_task(asyncio.sleep(0))
    assert [number async for number in in_turns(range(3))] == [0, 1, 2]
    assert not others.done()
    await others


async def test_pieces_of_work_that_come_together_are_spread_over_rounds_in_the_order_of_coming() -> None:
    round_, rounds = Round(TURN), Rounds()

    async def work(number: int) -> None:
        if round_.over:
            await round_.next()
        round_.used(TURN / 2)
        rounds.done[-1].append(number)

    counting = asyncio.create_task(rounds.count())
    await asyncio.gather(*map(work, range(40)))
    await work(40)
    counting.cancel()
    assert [number for done in rounds.done for number in done] == list(range(41))
    assert max(map(len, rounds.done)) <= AT_ONCE


async def test_who_gives_up_its_turn_keeps_nobody_from_theirs() -> None:
    round_ = Round(TURN)
    waiting = [asyncio.create_task(round_.next()) for _ in range(3 * AT_ONCE)]
    await asyncio.sleep(0)
    assert round_.over
    for turn in waiting[:-1]:
        turn.cancel()
    await asyncio.wait_for(waiting[-1], 60)
    assert not round_.over

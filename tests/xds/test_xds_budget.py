"""Room for bytes in flight: who waits for whom, and who is told to go."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from xds.budget import BURST, ByteBudget, Share

LARGE = 100 << 10


class Writer:
    """A stream that writes until it is released."""

    def __init__(self, budget: ByteBudget) -> None:
        self.stuck = asyncio.Event()
        self.share = Share(budget, self.stuck.set)

    @asynccontextmanager
    async def writing(self, size: int = LARGE) -> AsyncIterator[asyncio.Event]:
        """Begin a write; it has begun when the event is set, and ends with the context."""
        begun, ended = asyncio.Event(), asyncio.Event()

        async def write() -> None:
            await self.share.wait(size)
            begun.set()
            await ended.wait()
            self.share.end()

        task = asyncio.create_task(write())
        try:
            yield begun
        finally:
            ended.set()
            if not begun.is_set():
                task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def quick(self) -> None:
        """Write at once: from now on this counts as one that reads."""
        await self.share.wait(LARGE)
        self.share.end()


async def soon(event: asyncio.Event, seconds: float = 60.0) -> bool:
    try:
        await asyncio.wait_for(event.wait(), seconds)
    except TimeoutError:
        return False
    return True


async def test_large_writes_wait_for_room_and_small_ones_do_not():
    budget = ByteBudget(LARGE)
    first, second, small = Writer(budget), Writer(budget), Writer(budget)
    async with first.writing() as begun, second.writing() as waiting, small.writing(1000) as at_once:
        assert await soon(begun)
        assert await soon(at_once)
        assert not waiting.is_set()
        assert budget.waiting == 1


async def test_room_that_is_given_back_goes_to_the_next():
    budget = ByteBudget(LARGE)
    first, second = Writer(budget), Writer(budget)
    async with AsyncExitStack() as stack:
        async with first.writing() as begun:
            assert await soon(begun)
            begun = await stack.enter_async_context(second.writing())
        assert await soon(begun)
        assert budget.waiting == 0


async def test_one_that_is_larger_than_everything_is_written():
    writer = Writer(ByteBudget(1000))
    async with writer.writing(10 * LARGE) as begun:
        assert await soon(begun)


async def test_those_who_read_do_not_wait_for_newcomers_who_do_not():
    budget = ByteBudget(LARGE)
    reads, silent, another = Writer(budget), Writer(budget), Writer(budget)
    await reads.quick()
    async with silent.writing(), another.writing() as waiting:
        async with reads.writing() as begun:
            assert await soon(begun)
        assert not waiting.is_set()


async def test_one_that_read_before_and_stops_gives_its_room_back():
    budget = ByteBudget(LARGE, slow_after=0.05)
    stops, reads = Writer(budget), Writer(budget)
    await stops.quick()
    await reads.quick()
    async with stops.writing() as begun:
        assert await soon(begun)
        async with reads.writing() as after:
            assert await soon(after)
        assert not stops.stuck.is_set()


async def test_one_in_the_way_is_told_to_go():
    budget = ByteBudget(LARGE, slow_after=0.02, stuck_after=0.1)
    silent, waits = Writer(budget), Writer(budget)
    async with silent.writing(10 * LARGE), waits.writing():
        assert await soon(silent.stuck, 10.0), "before its bytes have taken their time: 1 MB at 64 KB/s"
        assert not waits.stuck.is_set()


async def test_one_in_nobodys_way_has_the_time_that_its_bytes_take():
    budget = ByteBudget(LARGE, slow_after=0.02, stuck_after=0.1)
    silent = Writer(budget)
    async with silent.writing():
        assert not await soon(silent.stuck, 0.5)
        assert await soon(silent.stuck), "100 KB at 64 KB/s"


async def test_small_write_gets_stuck_too():
    writer = Writer(ByteBudget(LARGE, stuck_after=0.05))
    async with writer.writing(10):
        assert await soon(writer.stuck)


async def test_small_message_that_goes_at_once_gets_stuck_too_and_one_that_ended_does_not():
    budget = ByteBudget(LARGE, stuck_after=0.05)
    reads, silent, later = Writer(budget), Writer(budget), Writer(budget)
    assert reads.share.begin(10)
    assert silent.share.begin(10)
    reads.share.end()
    assert await soon(silent.stuck)
    assert not reads.stuck.is_set()
    assert later.share.begin(10), "whoever begins after the others were looked at is looked at, too"
    assert await soon(later.stuck)
    assert not reads.share.begin(LARGE), "a large one waits for room"


async def test_waiting_that_is_given_up_takes_no_room():
    budget = ByteBudget(LARGE)
    first, gives_up, last = Writer(budget), Writer(budget), Writer(budget)
    async with first.writing() as begun:
        assert await soon(begun)
        task = asyncio.create_task(gives_up.quick())
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    async with last.writing() as begun:
        assert await soon(begun)


async def test_a_round_of_the_event_loop_hands_over_a_burst_and_no_more():
    """What else the loop has to do gets its turn between the bursts, and the order of coming is kept."""
    budget = ByteBudget(1 << 30)
    rounds: list[int] = []
    order: list[int] = []

    async def write(number: int) -> None:
        share = Share(budget, lambda: None)
        await share.wait(1 << 20)
        rounds[-1] += 1
        order.append(number)
        share.end()

    async def count_rounds() -> None:
        while True:
            rounds.append(0)
            await asyncio.sleep(0)

    counting = asyncio.create_task(count_rounds())
    await asyncio.gather(*(write(number) for number in range(20)))
    counting.cancel()
    await asyncio.gather(counting, return_exceptions=True)
    assert sum(rounds) == 20
    assert max(rounds) <= -(-BURST // (1 << 20))
    assert order == list(range(20))


async def test_whoever_gives_up_its_turn_keeps_no_room():
    budget = ByteBudget(1 << 30)
    writers = [asyncio.create_task(_write_once(budget)) for _ in range(20)]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    for writer in writers:
        writer.cancel()
    await asyncio.gather(*writers, return_exceptions=True)
    assert budget.quick.free == budget.others.free == 1 << 30
    await asyncio.wait_for(_write_once(budget), 60)


async def test_what_is_written_is_looked_for_in_the_round_in_which_it_can_go():
    budget = ByteBudget(1 << 30)
    done: list[tuple[str, int]] = []

    async def write(number: int) -> None:
        share = Share(budget, lambda: None)
        await share.turn()
        done.append(("looks", number))
        await share.wait(1 << 20)
        done.append(("writes", number))
        share.end()

    await asyncio.gather(*(write(number) for number in range(20)))
    assert done == [(what, number) for number in range(20) for what in ("looks", "writes")]


async def test_a_turn_that_is_not_used_delays_nobody_for_long():
    budget = ByteBudget(1 << 30)
    async with Writer(budget).writing(2 * BURST) as begun:
        assert await soon(begun)
        idle = [asyncio.create_task(Share(budget, lambda: None).turn()) for _ in range(10)]
        await asyncio.wait_for(asyncio.gather(*idle, _write_once(budget)), 60)


async def _write_once(budget: ByteBudget) -> None:
    share = Share(budget, lambda: None)
    await share.wait(1 << 20)
    share.end()

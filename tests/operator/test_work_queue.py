"""The queue of things to be put right."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from dragoman.kube import ApiError
from dragoman.operator.work_queue import TryAgainError, WorkQueue


@asynccontextmanager
async def running(work: Callable[[str], Awaitable[None]], workers: int = 2) -> AsyncIterator[WorkQueue[str]]:
    queue: WorkQueue[str] = WorkQueue(work, workers=workers)
    task = asyncio.create_task(queue.run())
    try:
        yield queue
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


class Work:
    """Remembers what was done; each goes on when `gate` is open."""

    def __init__(self) -> None:
        self.done: list[str] = []
        self.at_once = 0
        self.most = 0
        self.errors: list[Exception] = []
        self.gate = asyncio.Event()
        self.began = asyncio.Semaphore(0)
        self.ended = asyncio.Semaphore(0)

    async def __call__(self, key: str) -> None:
        self.at_once += 1
        self.most = max(self.most, self.at_once)
        self.began.release()
        try:
            await self.gate.wait()
            if self.errors:
                raise self.errors.pop(0)
            self.done.append(key)
        finally:
            self.at_once -= 1
            self.ended.release()


async def test_what_waits_is_done_once_and_what_is_being_done_once_more() -> None:
    work = Work()
    async with running(work, workers=1) as queue:
        queue.add("a")
        await work.began.acquire()
        queue.add("b")
        queue.add("b")
        queue.add("a")
        work.gate.set()
        async with asyncio.timeout(30):
            for _ in range(3):
                await work.ended.acquire()
        assert sorted(work.done) == ["a", "a", "b"]
        assert queue.idle


async def test_no_key_is_worked_on_twice_at_once_nor_more_than_there_are_workers() -> None:
    work = Work()
    async with running(work, workers=2) as queue:
        for key in "aabbccdd":
            queue.add(key)
        await work.began.acquire()
        await work.began.acquire()
        for key in "abcd":
            queue.add(key)
        work.gate.set()
        async with asyncio.timeout(30):
            while not queue.idle:
                await work.ended.acquire()
                await asyncio.sleep(0)
        assert work.most == 2
        assert set(work.done) == set("abcd")


@pytest.mark.parametrize("error", [ApiError(500, "", "down"), TryAgainError("not yet")])
async def test_what_fails_is_tried_again_by_itself(error: Exception) -> None:
    work = Work()
    work.errors = [error, error]
    work.gate.set()
    async with running(work) as queue:
        queue.add("a")
        async with asyncio.timeout(30):
            for _ in range(3):
                assert not queue.idle
                await work.ended.acquire()
        assert work.done == ["a"]


async def test_a_key_that_is_added_does_not_wait_for_its_pause() -> None:
    work = Work()
    work.errors = [ApiError(429, "", "later", {"retryAfterSeconds": 3600})]
    work.gate.set()
    async with running(work) as queue:
        queue.add("a")
        await work.ended.acquire()
        await asyncio.sleep(0)
        assert not queue.idle
        queue.add("a")
        async with asyncio.timeout(30):
            await work.ended.acquire()
        assert work.done == ["a"]


async def test_a_bug_ends_the_queue_rather_than_being_tried_for_ever() -> None:
    async def broken(key: str) -> None:
        raise LookupError(key)

    queue: WorkQueue[str] = WorkQueue(broken)
    queue.add("a")
    with pytest.raises(ExceptionGroup) as caught:
        await queue.run()
    assert caught.group_contains(LookupError)

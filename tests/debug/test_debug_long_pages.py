"""A page that lists a large mesh leaves streams their turn while it is made."""

import asyncio
import json
import time
from collections.abc import Iterator

from dragoman.debug.plane import long_page


def slowly(count: int) -> Iterator[int]:
    for number in range(count):
        until = time.monotonic() + 0.002
        while time.monotonic() < until:
            pass
        yield number


async def test_others_run_while_a_long_page_is_made() -> None:
    turns = 0

    async def others() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    task = asyncio.create_task(others())
    response = await long_page(slowly(100))
    task.cancel()
    assert json.loads(response.text or "") == list(range(100))
    assert turns >= 10, "0.2 s in slices of 5 ms"

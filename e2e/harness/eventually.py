"""Waiting for what a change of configuration leads to, as seen by those who make calls."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

T = TypeVar("T")


async def eventually(
    probe: Callable[[], Awaitable[T]], condition: Callable[[T], bool], *, steady: int = 10, seconds: float = 60
) -> T:
    """Call `probe` until its result meets the condition, then `steady` times more, where every result must meet it.

    Returns the last result. Raises AssertionError with the last result: when none met the condition in time, or when
    one did not after the first had. An exception of the probe (no answer came) is a result that meets no condition;
    `failing` is the probe for tests that wait for one. So is the answer of somebody else where the echo application's
    is looked at (ValueError): an Envoy says 503 until it can do better.
    """

    def met(result: T) -> bool:
        try:
            return condition(result)
        except ValueError:
            return False

    last: object = None
    try:
        async with asyncio.timeout(seconds):
            while True:
                try:
                    result = await probe()
                except (ConnectionError, TimeoutError, ValueError) as error:
                    last = error
                else:
                    last = result
                    if met(result):
                        break
                await asyncio.sleep(0.02)
    except TimeoutError:
        raise AssertionError(f"not within {seconds} seconds; the last result was {last!r}") from None
    for number in range(steady):
        result = await probe()
        assert met(result), f"{number} results later it was {result!r}"
    return result


async def failing(call: Awaitable[object]) -> Exception | None:
    """Why a call had no answer; None when it had one."""
    try:
        await call
    except (ConnectionError, TimeoutError) as error:
        return error
    return None

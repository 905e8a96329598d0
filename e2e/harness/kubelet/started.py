"""How it is known that a container's own program runs, rather than what makes its place."""

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

STARTED = "CONTAINER_STARTED"
"""The variable with the number of the pipe that `TELL` writes to."""
TELL = f'echo > /proc/self/fd/"${STARTED}"; unset {STARTED}'
"""For the shell, to be run right before the program."""


@contextlib.contextmanager
def started_signal() -> Iterator[tuple[Callable[[], Awaitable[None]], int]]:
    """A function that waits for the word, or for the end of the program; and the pipe to pass to the program."""
    read, write = os.pipe()
    with contextlib.ExitStack() as stack:
        reader = stack.enter_context(os.fdopen(read, "rb"))
        writer = stack.enter_context(os.fdopen(write, "wb"))

        async def written() -> None:
            writer.close()
            async with _connected(reader) as stream:
                await stream.read(1)

        yield written, write


@contextlib.asynccontextmanager
async def _connected(pipe: object) -> AsyncIterator[asyncio.StreamReader]:
    stream = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    transport, _ = await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(stream), pipe)
    try:
        yield stream
    finally:
        transport.close()

"""The load: four clients and a stranger at the gateway, each with a rate that does not depend on the answers.

It is made in the test's own process by what little HTTP and TCP it takes, so that it costs less than what it drives.
"""

import asyncio
import contextlib
import functools
import itertools
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from types import TracebackType
from typing import Self

from e2e.churn import verdict
from e2e.churn.http1 import Http1Connection, Response
from e2e.churn.http2 import Http2Connection, NotProcessedError
from e2e.churn.state import Extra
from e2e.churn.verdict import Probe, Request
from e2e.harness import Pod

LONGEST = 15.0
"""Seconds after which a request has failed."""

EXCHANGES = 10
"""Over one TCP connection, each of which costs two Envoys a handshake."""

_EXCHANGE_EVERY = 0.1

_VERSION = re.compile(rb'"version": "([^"]+)"')

_NUMBERS = itertools.count()
"""Of requests, whichever load they are of: the Envoys write all into one access log."""

Call = Callable[[str], Awaitable[Response]]


class Load:
    """`async with`: requests until the block ends, each with its outcome in `requests`.

    `pods` are the clients by workload name; the gateway is called at `gateway`, an address. `extras` are the services
    that come and go, as far as they are known to be there: to be kept up to date.
    """

    def __init__(self, pods: dict[str, Pod], stranger: Pod, gateway: str) -> None:
        self.requests: list[Request] = []
        self.extras: Sequence[Extra] = ()
        self.paused: set[str] = set()
        """Workloads of clients that make no calls now."""
        self._underway: set[object] = set()
        """One for each call that has begun and not ended."""
        self._ended_one = asyncio.Event()
        self._pods = pods
        self._stranger = stranger
        self._gateway = gateway
        self._ending = asyncio.Event()
        self._users: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Self:
        self._began = asyncio.get_running_loop().time()
        web, rpc, slow = "client-web", "client-rpc", "client-slow"
        users = [
            *(self._keep_alive(web, verdict.KEPT, 3) for _ in range(16)),
            *(
                self._every(web, 1 / 8, lambda: self._fresh(web, verdict.FRESH, self._pods[web], "web", 8080))
                for _ in range(3)
            ),
            self._every(web, 1 / 6, lambda: self._fresh(web, verdict.DENIED, self._pods[web], "web", 8080)),
            *(self._h2(rpc, 30) for _ in range(2)),
            self._every("client-db", EXCHANGES * 1 / 54, lambda: self._tcp(verdict.TCP, "db", 9000)),
            self._every(slow, 1 / 16, lambda: self._fresh(slow, verdict.HELD, self._pods[slow], "slow", 8080)),
            *(
                self._every("", 1 / rate, functools.partial(self._outside, port))
                for port, rate in ((8000, 8), (8001, 2), (8002, 2))
            ),
            self._every("client-web", 1 / 6, self._extra),
        ]
        self._users = [asyncio.create_task(user) for user in users]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended = asyncio.get_running_loop().time()
        self._ending.set()
        for outcome in await asyncio.gather(*self._users, return_exceptions=True):
            if isinstance(outcome, BaseException) and error is None:
                raise outcome

    @property
    def seconds(self) -> float:
        """How long it lasted."""
        return self._ended - self._began

    @property
    def per_second(self) -> float:
        """Requests that had an outcome, in a second."""
        return len(self.requests) / self.seconds

    async def turn(self) -> None:
        """Wait until all calls that have begun by now have ended, connections of several exchanges with their last."""
        begun = set(self._underway)
        while not begun.isdisjoint(self._underway):
            self._ended_one.clear()
            await self._ended_one.wait()

    # -- who calls ----------------------------------------------------------------------------------------------------

    async def _ticks(self, interval: float) -> AsyncIterator[None]:
        """At a steady rate: what was missed is made up for."""
        loop = asyncio.get_running_loop()
        due = loop.time()
        while not self._ending.is_set():
            yield
            due += interval
            # Not for a moment where it is late: a busy machine turns the loop less often than some have to call.
            if (early := due - loop.time()) > 0:
                await asyncio.sleep(early)

    async def _every(self, workload: str, interval: float, call: Callable[[], Awaitable[None]]) -> None:
        """One call after the other began, whether that has ended or not."""
        async with asyncio.TaskGroup() as calls:
            async for _ in self._ticks(interval):
                if workload not in self.paused:
                    calls.create_task(self._call(call))

    async def _call(self, call: Callable[[], Awaitable[None]]) -> None:
        with self._one_more():
            await call()

    @contextlib.contextmanager
    def _one_more(self) -> Iterator[None]:
        call = object()
        self._underway.add(call)
        try:
            yield
        finally:
            self._underway.remove(call)
            self._ended_one.set()

    async def _keep_alive(self, workload: str, probe: Probe, per_second: float) -> None:
        """One request after the other over a connection that is kept as long as the server lets it be."""
        connection: Http1Connection | None = None
        opened = 0.0
        async for _ in self._ticks(1 / per_second):
            if workload in self.paused:
                if connection is not None:
                    connection.close()
                continue

            async def call(id_: str) -> Response:
                nonlocal connection, opened
                if connection is None or not connection.usable:
                    if connection is not None:
                        connection.close()
                    opened = asyncio.get_running_loop().time()
                    connection = Http1Connection(*await _connect(self._pods[workload], "web", 8080))
                return await connection.get("web:8080", probe.path, f"x-churn: {id_}\r\n")

            await self._record(probe, call, lambda: opened)
        if connection is not None:
            connection.close()

    async def _h2(self, workload: str, per_second: float) -> None:
        """Requests over one HTTP/2 connection, as many at a time as there are, and over another when that ends."""
        connection: Http2Connection | None = None
        opening = asyncio.Lock()
        opened = 0.0

        async def ready() -> Http2Connection:
            nonlocal connection, opened
            async with opening:
                if connection is None or not connection.usable:
                    opened = asyncio.get_running_loop().time()
                    connection = Http2Connection(*await _connect(self._pods[workload], "rpc", 8080))
                    readers.create_task(connection.run())
                return connection

        async def call(id_: str) -> Response:
            for _ in range(2):
                with contextlib.suppress(NotProcessedError):
                    return await (await ready()).get("rpc:8080", "/", {"x-churn": id_})
            raise ConnectionRefusedError("refused twice")

        async with asyncio.TaskGroup() as readers:
            async with asyncio.TaskGroup() as calls:
                async for _ in self._ticks(1 / per_second):
                    if workload not in self.paused:
                        calls.create_task(self._record(verdict.H2, call, lambda: opened))
                    elif connection is not None:
                        connection.usable = False
            if connection is not None:
                connection.close()

    async def _fresh(self, workload: str, probe: Probe, pod: Pod, host: str, port: int) -> None:
        """A request on a connection of its own."""
        opened = asyncio.get_running_loop().time()

        async def call(id_: str) -> Response:
            connection = Http1Connection(*await _connect(pod, host, port))
            try:
                return await connection.get(f"{host}:{port}", probe.path, f"x-churn: {id_}\r\n", close=True)
            finally:
                connection.close()

        await self._record(probe, call, lambda: opened)

    async def _outside(self, port: int) -> None:
        await self._fresh("", verdict.at_gateway(port), self._stranger, self._gateway, port)

    async def _extra(self) -> None:
        """A call of one of the services that come and go."""
        if not self.extras:
            return
        extra = self.extras[next(_NUMBERS) % len(self.extras)]
        probe = Probe("service that comes and goes", extra.target, extra=extra.number)
        if extra.tcp:
            await self._tcp(probe, extra.name, extra.port, exchanges=1)
        else:
            await self._fresh("client-web", probe, self._pods["client-web"], extra.name, extra.port)

    async def _tcp(self, probe: Probe, host: str, port: int, *, exchanges: int = EXCHANGES) -> None:
        """A connection of some exchanges; those after the first that fails are not made."""
        opened = asyncio.get_running_loop().time()
        streams: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []

        async def call(id_: str) -> Response:
            if not streams:
                streams.append(await _connect(self._pods["client-db"], host, port))
            reader, writer = streams[0]
            said = id_.encode().ljust(32)
            writer.write(said)
            try:
                heard = await reader.readexactly(len(said))
            except asyncio.IncompleteReadError as error:
                local = writer.get_extra_info("sockname")
                raise ConnectionResetError(f"closed after {len(error.partial)} bytes, from {local}") from error
            assert heard == said
            return 0, b""

        try:
            for exchange in range(exchanges):
                if exchange:
                    await asyncio.sleep(_EXCHANGE_EVERY)
                if not await self._record(probe, call, lambda: opened):
                    return
        finally:
            for _, writer in streams:
                writer.close()

    # -- what came of it ----------------------------------------------------------------------------------------------

    async def _record(self, probe: Probe, call: Call, opened: Callable[[], float]) -> bool:
        """Make a call and keep its outcome; returns whether it had an answer."""
        loop = asyncio.get_running_loop()
        id_ = f"r{next(_NUMBERS)}"
        started = loop.time()
        answered = False
        try:
            async with asyncio.timeout(LONGEST):
                with self._one_more():
                    outcome = _outcome(await call(id_))
            answered = True
        except (OSError, TimeoutError) as error:
            outcome = f"{type(error).__name__}: {error}"
        self.requests.append(Request(id_, probe, opened(), started, loop.time(), outcome))
        return answered


def _outcome(response: Response) -> str:
    status, body = response
    if status == 0:
        return verdict.TALKED
    version = _VERSION.search(body) if status == 200 else None
    return f"{status} {version.group(1).decode()}" if version is not None else str(status)


async def _connect(pod: Pod, host: str, port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    made = pod.namespace.socket()
    try:
        await asyncio.get_running_loop().sock_connect(made, (pod.resolve(host), port))
        return await asyncio.open_connection(sock=made)
    except BaseException:
        made.close()
        raise

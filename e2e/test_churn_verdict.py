"""The churn's own parts: changes are reproducible and valid, and a request that fails is called so."""

import asyncio
import contextlib
import itertools
import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import hpack
import pytest
from hyperframe.frame import DataFrame, GoAwayFrame, HeadersFrame, SettingsFrame

from dragoman.sources.files import FileSource
from e2e.apps.http2 import Http2Protocol
from e2e.apps.requests import Workload
from e2e.churn.changes import HELD, Change, changes
from e2e.churn.http1 import Http1Connection
from e2e.churn.http2 import Http2Connection, NotProcessedError
from e2e.churn.progress import Progress
from e2e.churn.servers import serving
from e2e.churn.state import ANY, DB, RPC, SERVICES, WEB, Extra, Routing, Service, State, files
from e2e.churn.verdict import DENIED, FRESH, GRACE, TALKED, TCP, Probe, Request, Timeline, at_gateway, expected, wrong
from e2e.harness.configuration import as_yaml
from e2e.harness.namespaces import Namespace

DRAIN = 10.0


def test_a_seed_is_a_run() -> None:
    first, again, other = ([*itertools.islice(changes(seed), 200)] for seed in (1, 1, 2))
    assert first == again
    assert first != other


@pytest.mark.parametrize("seed", range(3))
def test_what_a_request_may_be_held_for_keeps_an_endpoint(seed: int) -> None:
    states = [State(), *(change.after for change in itertools.islice(changes(seed), 500))]
    for number, state in enumerate(states):
        assert state.number == number
        for service in SERVICES:
            routings = [earlier.routing.get(service.name) for earlier in states[max(number - HELD + 1, 0) : number + 1]]
            splits = {ANY}.union(*(routing.splits for routing in routings if routing is not None))
            assert all(state.versions(service, split) for split in splits)


def test_five_hundred_changes_are_of_all_kinds() -> None:
    kinds = {change.kind for change in itertools.islice(changes(1), 500)}
    assert len(kinds) == 8


def test_states_are_valid(tmp_path: Path) -> None:
    for seed in range(2):
        for change in itertools.islice(changes(seed), 30, 80):
            for name, documents in files(change.after).items():
                (tmp_path / f"{name}-{change.number}.yaml").write_text(as_yaml(*documents))
            source = FileSource(tmp_path)
            source.load()
            errors = [report for report in source.reports() if report.problem.severity == "error"]
            assert not errors
            for file in tmp_path.iterdir():
                file.unlink()


# The verdict.


def state(number: int, **fields: object) -> State:
    return replace(State(number), **fields)  # type: ignore[arg-type]


def timeline(*states: tuple[State, float, float]) -> Timeline:
    """States after the first, with when they were written and when they were in force."""
    made = Timeline()
    before = made.states[0]
    for each, applied, in_force in states:
        made.add(Change(each.number, "change", before, each), applied)
        made.reached(each.number, in_force)
        before = each
    return made


def request(outcome: str, started: float, *, probe: Probe = FRESH, seconds: float = 0.01) -> Request:
    return Request("r1", probe, started, started, started + seconds, outcome)


def is_wrong(outcome: str, started: float, told: Timeline, *, probe: Probe = FRESH, seconds: float = 0.01) -> bool:
    return bool([*wrong([request(outcome, started, probe=probe, seconds=seconds)], told, DRAIN)])


@pytest.mark.parametrize("outcome", ["503", "404", "ConnectionResetError: closed", "200 v3"])
def test_what_no_state_explains_is_wrong(outcome: str) -> None:
    assert is_wrong(outcome, 5.0, timeline((state(1), 1.0, 2.0)))


def test_a_policy_is_right_from_its_writing_until_the_next_is_in_force_and_drained() -> None:
    told = timeline((state(1, denied=True), 100.0, 101.0), (state(2), 200.0, 201.0))
    for started, outcome, expect in (
        (99.0, "403", True),
        (99.995, "403", False),  # it was written while the request was on its way
        (100.5, "200 v1", False),
        (101.0 + GRACE + DRAIN - 0.1, "200 v1", False),
        (101.0 + GRACE + DRAIN + 0.1, "200 v1", True),
        (150.0, "403", False),
        (201.0 + GRACE + DRAIN + 0.1, "403", True),
    ):
        assert is_wrong(outcome, started, told, probe=DENIED) is expect, (started, outcome)
    assert is_wrong("403", 150.0, told, probe=FRESH), "another path"


def test_tcp_is_judged_from_its_connection_on() -> None:
    told = timeline((state(1, extras=(Extra(1, 9100, tcp=True),)), 10.0, 11.0))
    extra = Probe("extra", TCP.service, extra=1)
    assert not is_wrong("ConnectionResetError: ", 10.5, told, probe=extra), "not everywhere yet"
    assert is_wrong("ConnectionResetError: ", 11.0 + GRACE + 0.1, told, probe=extra)
    assert not is_wrong(TALKED, 11.0 + GRACE + 0.1, told, probe=extra)


def test_who_may_answer() -> None:
    routed = state(1, routing={WEB.name: Routing(1, ("v2",))}, away={WEB.name: frozenset({0})})
    assert expected(routed, FRESH) == frozenset(("200 v2",))
    assert expected(State(), FRESH) == frozenset(("200 v1", "200 v2"))
    assert expected(routed, at_gateway(8000)) == frozenset(("200 v1", "200 v2"))
    assert expected(routed, at_gateway(8001)) is None


def test_what_was_before_a_run_may_be_met_until_it_is_drained() -> None:
    before = timeline((state(1, denied=True), 100.0, 101.0), (state(2), 200.0, 201.0))
    told = Timeline(in_force=[201.0], earlier=before)
    after = 201.0 + GRACE + DRAIN
    assert not is_wrong("403", after - 0.1, told, probe=DENIED)
    assert is_wrong("403", after + 0.1, told, probe=DENIED)
    assert not is_wrong("200 v1", after - 0.1, told, probe=DENIED)
    assert is_wrong("503", after - 0.1, told, probe=DENIED)


def test_what_changed_meanwhile_is_named() -> None:
    told = timeline((state(1), 1.0, 2.0), (state(2), 3.0, 4.0), (state(3), 9.0, 9.1))
    assert [change.number for change in told.changed_between(2.6, 3.5)] == [2]


# What is in force.


def test_a_change_is_in_force_when_each_proxy_was_quiet_twice_after_it_was_read() -> None:
    progress = Progress()
    assert progress.look(3, {"a": True, "b": True}, {"a", "b"}) == 0, "once could be before the first response"
    assert progress.look(4, {"a": True, "b": False}, {"a", "b"}) == 0
    assert progress.look(5, {"a": False, "b": True}, {"a", "b"}) == 3, "not at the same time"
    assert progress.look(6, {"a": False, "b": True}, {"a", "b"}) == 3, "a has no more than that"
    assert progress.look(6, {"a": True, "b": True}, {"a", "b"}) == 4
    assert progress.look(6, {"a": True, "b": True}, {"a", "b"}) == 6


def test_a_change_is_not_in_force_before_those_have_it_that_are_not_connected_or_came_late() -> None:
    progress = Progress()
    for _ in range(2):
        assert progress.look(7, {"a": True}, {"a", "b"}) == 0, "b is not connected"
    assert progress.look(7, {"a": True, "b": True, "c": True}, {"a", "b"}) == 0
    assert progress.look(7, {"a": True, "b": True, "c": True}, {"a", "b"}) == 7
    assert progress.look(8, {"a": True}, {"a"}) == 7, "who has gone needs nothing"
    for _ in range(2):
        progress.look(8, {"b": True}, {"a", "b"})
    assert progress.look(8, {"b": True}, {"a", "b"}) == 7, "nor is one forgotten that is away for a moment"


# The servers.


@dataclass(frozen=True, slots=True)
class Here(Namespace):
    """The test's own network namespace, and the sockets made in it."""

    made: list[socket.socket] = field(default_factory=list)

    def socket(
        self, kind: socket.SocketKind = socket.SOCK_STREAM, *, uid: int = 0, family: int = socket.AF_INET
    ) -> socket.socket:
        self.made.append(socket.socket(family, kind | socket.SOCK_NONBLOCK))
        return self.made[-1]


@contextlib.asynccontextmanager
async def connected_to(service: Service) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """A connection to a server of `v7`, which ends the connection at its own end."""
    here = Here("here", "127.0.0.1")
    async with serving(here, replace(service, port=0), "v7"):
        reader, writer = await asyncio.open_connection("127.0.0.1", here.made[0].getsockname()[1])
        yield reader, writer


ANSWER = 200, b'{"version": "v7"}'


async def test_a_server_answers_one_request_after_the_other() -> None:
    async with connected_to(WEB) as (reader, writer):
        connection = Http1Connection(reader, writer)
        assert [await connection.get("web:8080", "/") for _ in range(3)] == [ANSWER] * 3
        writer.write(b"GET / HTTP/1.1\r\nhost: web\r\n\r")
        await asyncio.sleep(0.01)
        writer.write(b"\n")
        assert (await reader.readuntil(b"}")).startswith(b"HTTP/1.1 200 OK"), "what comes in pieces is one request"
        connection.close()


async def test_a_server_of_http2_answers_many_at_once() -> None:
    async with connected_to(RPC) as streams:
        connection = Http2Connection(*streams)
        reading = asyncio.create_task(connection.run())
        answers = await asyncio.gather(*(connection.get("rpc:8080", "/", {"n": str(n)}) for n in range(300)))
        assert set(answers) == {ANSWER}
    await reading
    assert not connection.usable


async def test_a_server_of_tcp_echoes() -> None:
    async with connected_to(DB) as (reader, writer):
        writer.write(b"hello")
        assert await reader.readexactly(5) == b"hello"
    assert await reader.read() == b""
    writer.close()


# The HTTP/2 client.


async def test_streams_that_began_before_a_goaway_end_as_usual() -> None:
    served = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = HeadersFrame(1, hpack.Encoder().encode([(":status", "200")]), flags=["END_HEADERS"])
        body = DataFrame(1, b"late", flags=["END_STREAM"])
        for frame in (SettingsFrame(0), GoAwayFrame(0, last_stream_id=1), head, body):
            writer.write(frame.serialize())
        while await reader.read(65536):
            pass
        writer.close()
        await writer.wait_closed()
        served.set()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        connection = Http2Connection(*await asyncio.open_connection(*server.sockets[0].getsockname()))
        first = asyncio.create_task(connection.get("a", "/", {}))
        second = asyncio.create_task(connection.get("a", "/", {}))
        await asyncio.sleep(0)
        await connection.run()
        assert await first == (200, b"late")
        with pytest.raises(NotProcessedError):
            await second
        assert not connection.usable
        await served.wait()


async def test_the_application_answers_more_streams_at_once_than_a_client_may_have_been_told_of() -> None:
    """What a client opens before it knows a limit breaks the connection of the library `h2` when it is too much."""
    lost = asyncio.Event()

    class Server(Http2Protocol):
        def connection_lost(self, exc: Exception | None) -> None:
            super().connection_lost(exc)
            lost.set()

    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Server(Workload("rpc", "v1")), "127.0.0.1", 0)
    async with server:
        connection = Http2Connection(*await asyncio.open_connection(*server.sockets[0].getsockname()))
        requests = [asyncio.create_task(connection.get("a", "/", {})) for _ in range(300)]
        await asyncio.sleep(0)
        reading = asyncio.create_task(connection.run())
        assert {status for status, _ in await asyncio.gather(*requests)} == {200}
        connection.close()
        await reading
        await lost.wait()

"""One stream of the server: moves bytes between gRPC and a stream machine."""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator
from dataclasses import replace
from typing import Any, Final, TypeVar

import grpc
import structlog
from google.protobuf.message import DecodeError

from dragoman.turns import Round
from xds.budget import ByteBudget, Share
from xds.client_status import ResourceStatus
from xds.csds import SYNCZ, syncz
from xds.event import Response
from xds.order import Patience
from xds.pace import Pace
from xds.request import Node, Request
from xds.services import Method
from xds.session import Authenticate, Authorize, Connect, Peer, Refused, Session
from xds.starts import Start, Starts
from xds.status import ConnectionStatus, Observer, Progress
from xds.stream import Stream
from xds.stream_log import StreamLog
from xds.subscription import LimitExceededError
from xds.transport import cut

Context = grpc.aio.ServicerContext[bytes, bytes]
LOG: Final = structlog.get_logger("xds")
ONLOOKER: Final = "DRAGOMAN_ONLOOKER"
"""Node metadata of a client that is no Envoy: what it accepts is no proof that an Envoy would, and what it rejects is
kept from nobody else."""

T = TypeVar("T")


class Connection:
    """One reader and one writer: two concurrent writes on one gRPC stream are an error."""

    def __init__(
        self,
        number: int,
        context: Context,
        peer: Peer,
        method: Method,
        *,
        authenticate: Authenticate,
        authorize: Authorize,
        connect: Connect,
        connections: Callable[[], Iterable[ConnectionStatus]],
        observer: Observer,
        budget: ByteBudget,
        pace: Pace,
        round_: Round,
        starts: Starts,
        patience: Patience,
        max_age: float,
        first_request: float,
    ) -> None:
        self._number = number
        self._context = context
        self._method = method
        self._authenticate = authenticate
        self._authorize = authorize
        self._connect = connect
        self._connections = connections
        self._observer = observer
        self._share = Share(budget, self._stuck)
        self._pace = pace
        self._round = round_
        self._starts = starts
        self._start: Start | None = None
        self._patience = patience
        # Clients that connected together shall not reconnect together.
        self._max_age = max_age * random.uniform(0.9, 1.1)  # noqa: S311 - not a secret
        self._first_request = first_request
        self._wake = asyncio.Event()
        self._lost = asyncio.Event()
        self._ending = False
        self._refusal: BaseException | None = None
        self._writing: Response | None = None
        self._told: StreamLog | None = None
        self._news_at: float | None = None  # when the first change came that was not looked at
        self._node: Node | None = None
        self._peer = peer
        self._session: Session | None = None
        self._stream: Stream[Any] | None = None
        self._connected_at = time.time()

    async def serve(self) -> None:
        """Serve the stream until the client or `end` closes it; never raises but for cancellation."""
        try:
            await self._receive_client()
        finally:
            if self._start is not None:
                self._start.end()
            # They refer back to this, and cycles wait for the collector, which hardly ever looks at what is old.
            self._stream = None
            self._share.close()

    async def _receive_client(self) -> None:
        try:
            # First of all: what a stranger sends may be large.
            self._peer = replace(self._peer, caller=await self._ask(self._authenticate(self._peer)))
            first = await self._introduction()
            if first is None:
                return
            if first.type_url == SYNCZ:
                await self._show(first)
                return
            await self._pace.turn()
            self._start = await self._starts.begin()
            session = self._session = await self._admit(first)
        except Refused as refused:
            LOG.warning(
                "refused",
                peer=self._peer.address,
                node=self._node.id if self._node is not None else None,
                code=refused.code.name,
                reason=refused.message,
            )
            self._observer.refused(refused.code.name)
            await self._context.abort(refused.code, refused.message)
            return
        await self._serve(session, first)

    async def _introduction(self) -> Request | None:
        """Return the first request, which says who the client is; None if it went without one."""
        try:
            async with asyncio.timeout(self._first_request):
                first = await self._read()
        except TimeoutError:
            raise Refused(
                grpc.StatusCode.DEADLINE_EXCEEDED, f"no request within {self._first_request:g} s of opening the stream"
            ) from None
        if first is not None and (first.node is None or not first.node.id):
            raise Refused(
                grpc.StatusCode.INVALID_ARGUMENT,
                "the first request of a stream must carry a node with an id (in Envoy's bootstrap: node.id, or "
                "--service-node)",
            )
        return first

    async def _show(self, request: Request | None) -> None:
        """Serve a tool that asks for the state of all clients instead of for resources."""
        while request is not None:
            await self._ask(self._authorize(self._peer))
            # What answers an answer is no question.
            if not request.nonce:
                await self._context.write(await syncz(self._connections(), f"{time.time_ns():x}"))
            request = await self._read()

    async def _admit(self, first: Request) -> Session:
        assert first.node is not None  # noqa: S101 - `_introduction` saw to it
        self._node = first.node
        peer = self._peer if self._start is None else replace(self._peer, give_way=self._start.end)
        return await self._ask(self._connect(first.node, peer))

    async def _ask(self, answer: Awaitable[T]) -> T:
        try:
            return await answer
        except Refused:
            raise
        except Exception:
            # Its text may hold a token: it is for our log, not for the client.
            node = self._node.id if self._node is not None else None
            LOG.exception("connect failed", peer=self._peer.address, node=node)
            raise Refused(grpc.StatusCode.INTERNAL, "the control plane failed to authenticate this client") from None

    async def _serve(self, session: Session, first: Request) -> None:
        assert first.node is not None  # noqa: S101 - `_introduction` saw to it
        told = self._told = StreamLog(self._observer, session.proxy_id, self._number)
        stream = self._stream = self._method.stream(
            session.views,
            proxy=session.proxy_id,
            patience=self._patience,
            on_change=self._changed,
            onlooker=bool(first.node.metadata.get(ONLOOKER)),
            aggregated=self._method.type_url is None,
        )
        session.on_views_changed = self._views_changed
        session.on_refused = self._refused
        told.connected(self._peer.address, first.node, self._method.name)
        writer = asyncio.create_task(self._write_until_end(stream, told))
        reader = asyncio.create_task(self._read_until_end(stream, told, first))
        lost = asyncio.create_task(self._lost.wait())
        try:
            age = self._age_left(session)
            await asyncio.wait((writer, reader, lost), timeout=age, return_when=asyncio.FIRST_COMPLETED)
            self.end()
            await asyncio.wait((writer, lost), timeout=1.0, return_when=asyncio.FIRST_COMPLETED)
            unread = not writer.done()
            refused = self._refusal
            if refused is None and reader.done() and not reader.cancelled():
                refused = reader.exception()
        finally:
            tasks = (writer, reader, lost)
            for task in tasks:
                task.cancel()
            try:
                await asyncio.gather(*tasks, return_exceptions=True)
            finally:
                # Also when gRPC, which finds the connection lost, cancels what ends already.
                session.on_views_changed = session.on_refused = None
                stream.close()
                session.close()
                self._stream = None  # nothing to be shown while gRPC sends the last words
                told.disconnected()
        if unread:
            # No status can follow a response that is not read.
            cut(self._peer.address)
            raise asyncio.CancelledError
        if isinstance(refused, Refused):
            told.refused(refused)
            await self._context.abort(refused.code, refused.message)

    def _age_left(self, session: Session) -> float:
        if session.expires_at is None:
            return self._max_age
        return max(0.0, min(self._max_age, session.expires_at - time.time()))

    def _refused(self, refused: Refused) -> None:
        """What the client was let in for holds no longer."""
        self._refusal = refused
        self.end()

    def end(self) -> None:
        """Let the stream end with OK once the response being written is written: the client connects anew."""
        self._ending = True
        self._wake.set()

    @property
    def ending(self) -> bool:
        """Whether `end` was called."""
        return self._ending

    @property
    def proxy(self) -> str:
        """Whom it serves; "" before that is known."""
        return "" if self._session is None else self._session.proxy_id

    def status(self) -> ConnectionStatus | None:
        """Return the state of delivery; None before the client was authenticated."""
        if self._session is None or self._stream is None or self._node is None:
            return None
        return ConnectionStatus(
            id=f"{self._session.proxy_id}-{self._number}",
            proxy=self._session.proxy_id,
            node=self._node.id,
            user_agent=self._node.user_agent,
            address=self._peer.address,
            connected_at=self._connected_at,
            clock=time.monotonic(),
            method=self._method.name,
            views=tuple(view.name for view in self._session.views),
            types=self._stream.status(),
        )

    def progress(self) -> Progress | None:
        """Return how far the client is; None before it was authenticated."""
        if self._session is None or self._stream is None or self._node is None:
            return None
        return Progress(self._session.proxy_id, self._node.user_agent, self._connected_at, self._stream.complete())

    def resources(self) -> tuple[Node, Iterator[ResourceStatus]] | None:
        """Return who the client is and the state of its resources; None before it was authenticated."""
        if self._stream is None or self._node is None:
            return None
        return self._node, self._stream.resources(time.monotonic(), time.time())

    def _changed(self) -> None:
        # Called for all streams of a view before the first of them writes.
        if self._news_at is None:
            self._news_at = time.monotonic()
        self._wake.set()

    def _views_changed(self) -> None:
        if self._stream is not None and self._session is not None:
            self._stream.set_views(self._session.views)
            self._wake.set()

    async def _read(self) -> Request | None:
        data: Any = await self._context.read()
        # A message is bytes; the end of the stream is gRPC's EOF object.
        if not isinstance(data, bytes):
            return None
        if self._round.over:
            await self._round.next()
        began = time.monotonic()
        try:
            return self._method.parse(data)
        except DecodeError as error:
            raise Refused(grpc.StatusCode.INVALID_ARGUMENT, f"this is not a discovery request: {error}") from None
        finally:
            self._round.used(time.monotonic() - began)

    async def _read_until_end(self, stream: Stream[Any], told: StreamLog, request: Request | None) -> None:
        while request is not None:
            began = time.monotonic()
            try:
                events = stream.receive(request, began)
            except LimitExceededError as error:
                raise Refused(grpc.StatusCode.RESOURCE_EXHAUSTED, str(error)) from None
            self._round.used(time.monotonic() - began)
            for event in events:
                told.heard(event)
            if not stream.idle():
                self._wake.set()
            else:
                told.resting()
                if self._start is not None:
                    self._start.end()
            request = await self._read()
            if request is not None and request.node is not None:
                self._require_same(request.node)

    def _require_same(self, node: Node) -> None:
        """A stream is one node's: what it gets was decided when it began (xDS protocol: the node identifier "should
        always be identical within a stream", and may be left out after the first request)."""
        assert self._node is not None  # noqa: S101 - there is no reader before
        if node.id and node.id != self._node.id:
            raise Refused(
                grpc.StatusCode.INVALID_ARGUMENT,
                f"this stream is of node {self._node.id!r} and cannot become that of {node.id!r}: open another one",
            )

    async def _write_until_end(self, stream: Stream[Any], told: StreamLog) -> None:
        while not self._ending:
            self._wake.clear()
            await self._share.turn()
            if self._news_at is not None:
                told.changed(self._news_at)
                self._news_at = None
            response = stream.next_response(time.monotonic())
            if response is None:
                told.resting()
                await self._sleep_until(stream.deadline())
            else:
                told.sending(response)
                started = time.perf_counter()
                await self._write(response)
                told.pushed(response, time.perf_counter() - started)
                if not self._wake.is_set() and stream.awaits_answers():
                    await self._wake.wait()

    async def _sleep_until(self, deadline: float | None) -> None:
        if deadline is None:
            await self._wake.wait()
            return
        try:
            async with asyncio.timeout(max(0.0, deadline - time.monotonic())):
                await self._wake.wait()
        except TimeoutError:
            pass

    async def _write(self, response: Response) -> None:
        self._writing = response
        size = len(response.data)
        if not self._share.begin(size):
            await self._share.wait(size)
        try:
            await self._context.write(response.data)
        finally:
            self._share.end()

    def _stuck(self) -> None:
        """The client does not read: what gRPC holds for it is freed by the end of its connection only."""
        assert self._writing is not None and self._told is not None  # noqa: S101, PT018 - only writes get stuck
        self._told.stuck(self._writing)
        cut(self._peer.address)
        self._lost.set()

"""One stream of the server: moves bytes between gRPC and a stream machine."""

import asyncio
import random
import time
from typing import Any, Final
from urllib.parse import unquote

import grpc
import structlog
from google.protobuf.message import DecodeError

from xds.budget import ByteBudget
from xds.event import Acked, Event, Nacked, Response, Stale, Subscribed
from xds.order import Patience
from xds.request import Node, Request
from xds.services import Method
from xds.session import Connect, Peer, Refused, Session
from xds.status import ConnectionStatus, Observer
from xds.stream import Stream

Context = grpc.aio.ServicerContext[bytes, bytes]
LOG: Final = structlog.get_logger("xds")
LOGGED_NAMES: Final = 10


def _short(type_url: str) -> str:
    return type_url.rpartition(".")[2]


def _peer(context: Context) -> Peer:
    address = context.peer()
    # gRPC percent-encodes the brackets of an IPv6 peer.
    local = unquote(address).startswith(("unix:", "ipv4:127.", "ipv6:[::1]:", "ipv6:[::ffff:127."))
    metadata = dict(context.invocation_metadata() or ())
    return Peer(address, local, context.auth_context(), metadata)


class Connection:
    """One reader and one writer: two concurrent writes on one gRPC stream are an error."""

    def __init__(
        self,
        number: int,
        context: Context,
        method: Method,
        *,
        connect: Connect,
        observer: Observer,
        budget: ByteBudget,
        patience: Patience,
        max_age: float,
    ) -> None:
        self._number = number
        self._context = context
        self._method = method
        self._connect = connect
        self._observer = observer
        self._budget = budget
        self._patience = patience
        # Clients that connected together shall not reconnect together.
        self._max_age = max_age * random.uniform(0.9, 1.1)  # noqa: S311 - not a secret
        self._wake = asyncio.Event()
        self._ending = False
        self._node: Node | None = None
        self._peer = _peer(context)
        self._session: Session | None = None
        self._stream: Stream[Any] | None = None
        self._connected_at = time.time()
        self._log = LOG

    async def serve(self) -> None:
        """Serve the stream until the client or `end` closes it; never raises but for cancellation."""
        try:
            first = await self._read()
            if first is None:
                return
            if first.node is None or not first.node.id:
                raise Refused(
                    grpc.StatusCode.INVALID_ARGUMENT,
                    "the first request of a stream must carry a node with an id (in Envoy's bootstrap: node.id, or "
                    "--service-node)",
                )
            self._node = first.node
            session = self._session = await self._authenticate(first.node)
        except Refused as refused:
            LOG.warning("refused", peer=self._peer.address, code=refused.code.name, reason=refused.message)
            await self._context.abort(refused.code, refused.message)
            return
        except DecodeError as error:
            await self._context.abort(grpc.StatusCode.INVALID_ARGUMENT, f"this is not a discovery request: {error}")
            return
        self._log = LOG.bind(proxy=session.proxy_id, connection=self._number)
        stream = self._stream = self._method.stream(
            session.views, proxy=session.proxy_id, patience=self._patience, on_change=self._wake.set
        )
        session.on_views_changed = self._views_changed
        started = time.monotonic()
        self._observer.connected(session.proxy_id)
        self._log.info(
            "connected",
            peer=self._peer.address,
            node=first.node.id,
            client=first.node.user_agent,
            method=self._method.name,
        )
        writer = asyncio.create_task(self._write_until_end(stream))
        reader = asyncio.create_task(self._read_until_end(stream, first))
        try:
            await asyncio.wait((writer, reader), timeout=self._max_age, return_when=asyncio.FIRST_COMPLETED)
            self.end()
            reader.cancel()
            await asyncio.wait((writer,), timeout=1.0)
        finally:
            for task in (writer, reader):
                task.cancel()
            await asyncio.gather(writer, reader, return_exceptions=True)
            session.on_views_changed = None
            stream.close()
            session.close()
            self._observer.disconnected(session.proxy_id, time.monotonic() - started)
            self._log.info("disconnected", seconds=round(time.monotonic() - started, 3))

    async def _authenticate(self, node: Node) -> Session:
        try:
            return await self._connect(node, self._peer)
        except Refused:
            raise
        except Exception:
            # Its text may hold a token: it is for our log, not for the client.
            LOG.exception("connect failed", peer=self._peer.address, node=node.id)
            raise Refused(grpc.StatusCode.INTERNAL, "the control plane failed to authenticate this client") from None

    def end(self) -> None:
        """Let the stream end with OK once the response being written is written: the client connects anew."""
        self._ending = True
        self._wake.set()

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

    def _views_changed(self) -> None:
        if self._stream is not None and self._session is not None:
            self._stream.set_views(self._session.views)
            self._wake.set()

    async def _read(self) -> Request | None:
        data: Any = await self._context.read()
        # A message is bytes; the end of the stream is gRPC's EOF object.
        return self._method.parse(data) if isinstance(data, bytes) else None

    async def _read_until_end(self, stream: Stream[Any], request: Request | None) -> None:
        while request is not None:
            for event in stream.receive(request, time.monotonic()):
                self._tell(event)
            self._wake.set()
            try:
                request = await self._read()
            except DecodeError as error:
                self._log.warning("malformed request", error=str(error))
                return

    async def _write_until_end(self, stream: Stream[Any]) -> None:
        while not self._ending:
            self._wake.clear()
            response = stream.next_response(time.monotonic())
            if response is None:
                await self._sleep_until(stream.deadline())
            else:
                await self._write(response)

    async def _sleep_until(self, deadline: float | None) -> None:
        try:
            async with asyncio.timeout(None if deadline is None else max(0.0, deadline - time.monotonic())):
                await self._wake.wait()
        except TimeoutError:
            pass

    async def _write(self, response: Response) -> None:
        started = time.perf_counter()
        async with self._budget.spend(len(response.data)):
            await self._context.write(response.data)
        seconds = time.perf_counter() - started
        assert self._session is not None  # noqa: S101 - there is no writer before there is a session
        proxy = self._session.proxy_id
        count = response.count + response.removed
        self._observer.pushed(proxy, response.type_url, count, len(response.data), seconds)
        self._log.debug(
            "pushed",
            type=_short(response.type_url),
            nonce=response.nonce,
            version=response.versions,
            resources=response.count,
            removed=response.removed,
            bytes=len(response.data),
        )
        if response.overdue:
            self._observer.waited(proxy, response.type_url, response.overdue)
            names = response.overdue[:LOGGED_NAMES]
            self._log.warning("wait given up", type=_short(response.type_url), names=names, of=len(response.overdue))

    def _tell(self, event: Event) -> None:
        assert self._session is not None  # noqa: S101 - there is no reader before there is a session
        proxy = self._session.proxy_id
        match event:
            case Acked():
                self._observer.acked(proxy, event.type_url, event.seconds)
                self._log.debug("acked", type=_short(event.type_url), nonce=event.nonce, resources=event.count)
            case Nacked():
                names = tuple(name for name, _ in event.culprits)
                self._observer.nacked(proxy, event.type_url, names, event.message)
                self._log.warning(
                    "rejected",
                    type=_short(event.type_url),
                    nonce=event.nonce,
                    version=[version for _, version in event.culprits][:LOGGED_NAMES],
                    names=names[:LOGGED_NAMES],
                    error=event.message,
                )
            case Subscribed():
                self._log.debug(
                    "subscribed",
                    type=_short(event.type_url),
                    names=event.subscribe[:LOGGED_NAMES],
                    subscribe=len(event.subscribe),
                    unsubscribe=len(event.unsubscribe),
                    known=event.known,
                )
            case Stale():
                self._log.debug("stale nonce", type=_short(event.type_url), nonce=event.nonce)

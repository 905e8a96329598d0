"""The gRPC server of the discovery services."""

import asyncio
import ssl
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import count
from operator import attrgetter
from typing import Any, Final

import grpc

from dragoman.turns import Round
from xds.budget import ByteBudget
from xds.client_status import ResourceStatus
from xds.connection import Connection, Context
from xds.csds import ClientStatusService
from xds.order import Patience
from xds.pace import Pace
from xds.request import DeltaRequest, Node, SotwRequest
from xds.secure_ports import AnyContext, SecurePorts
from xds.services import Method, services
from xds.session import Authenticate, Authorize, Connect, Peer, Refused, only_from_here
from xds.starts import MANY, Starts
from xds.status import ConnectionStatus, Observer, Progress, Unobserved
from xds.tls_listener import TlsLimits

READING: Final = 0.002
"""Seconds of one round of the event loop in which requests are taken in. In the same round responses are written, which
takes more."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What the server allows itself and its clients. Times are in seconds."""

    inflight_bytes: int = 24 << 20
    """Bytes of large responses inside gRPC, all streams together."""
    slow_write: float = 0.25
    """After this long, a response that is still being written no longer keeps others from theirs."""
    stuck_write: float = 10.0
    """After this long, and the time that its bytes take a slow client, the connection of whoever does not read is cut
    (see `ByteBudget`)."""
    first_request: float = 10.0
    """How long a client may take to say who it is."""
    max_age: float = 1800.0
    """Until a stream is closed so that its client may connect to another replica; ± 10 %."""
    max_streams: int | None = None
    """The quota: beyond it streams are refused, so that replicas share them. None for no quota."""
    sheds_per_second: float = 10.0
    """How many streams are ended in a second when there are more than the quota."""
    connects_per_second: float = 0.0
    """How many streams may begin in a second; those beyond wait for their turn. 0 for any."""
    starts: int = MANY
    """How many streams may be getting their first configuration at the same time; those beyond wait for their turn."""
    max_request: int = 32 << 20
    """Bytes of a request: on reconnect it lists every resource the client holds."""
    strangers: TlsLimits = field(default_factory=TlsLimits)
    """What TLS connections may cost before they have said who they are."""
    patience: Patience = field(default_factory=Patience)

    def options(self) -> list[tuple[str, int]]:
        """Return the gRPC channel arguments."""
        return [
            # By default streams above 1000 pending are refused at random: a fleet that reconnects is a storm of them.
            ("grpc.server.max_pending_requests", 100_000),
            ("grpc.server.max_pending_requests_hard_limit", 100_000),
            # One stream is accepted in a round of the event loop. By default those that have waited for 30 s are
            # cancelled, and come back only to wait again.
            ("grpc.server_max_unrequested_time_in_server", 600),
            ("grpc.max_concurrent_streams", 100_000),
            ("grpc.max_send_message_length", -1),
            ("grpc.max_receive_message_length", self.max_request),
            # Find dead clients, and bear Envoy's own pings (connection_keepalive), which gRPC would punish.
            ("grpc.keepalive_time_ms", 30_000),
            ("grpc.keepalive_timeout_ms", 10_000),
            ("grpc.keepalive_permit_without_calls", 1),
            ("grpc.http2.min_recv_ping_interval_without_data_ms", 1_000),
            ("grpc.http2.max_ping_strikes", 0),
            # Whoever connects and says nothing: TLS and HTTP/2 have to be agreed on in this time.
            ("grpc.server_handshake_timeout_ms", int(self.first_request * 1000)),
            # GOAWAY some time before the stream ends: the next one takes a new connection, which may lead elsewhere.
            ("grpc.max_connection_age_ms", max(1, int(self.max_age * 750))),
            ("grpc.max_connection_age_grace_ms", max(1000, int(self.max_age * 1000))),
            ("grpc.so_reuseport", 0),
            # Pings that size the window for what is received: requests are small, and each would cost as much as an
            # answer (gRPC core: flow_control.cc).
            ("grpc.http2.bdp_probe", 0),
        ]


async def _nobody(peer: Peer) -> None:
    """Whoever comes is let in as nobody in particular."""


class XdsServer:
    """Serves views to Envoys.

    `authenticate` is called once per stream with the peer it came from, then `connect` with the node that the client
    claims to be and that peer. `authorize` is asked before a peer is shown the state of all clients.
    """

    def __init__(
        self,
        connect: Connect,
        *,
        authenticate: Authenticate | None = None,
        authorize: Authorize = only_from_here,
        observer: Observer | None = None,
        limits: Limits | None = None,
    ) -> None:
        self._authenticate = authenticate or _nobody
        self._authorize = authorize
        self._connect = connect
        self._observer: Observer = observer or Unobserved()
        self._limits = limits or Limits()
        self._budget = ByteBudget(
            self._limits.inflight_bytes, slow_after=self._limits.slow_write, stuck_after=self._limits.stuck_write
        )
        self._pace = Pace(self._limits.connects_per_second)
        self._round = Round(READING)
        self._starts = Starts(self._limits.starts)
        self._quota = self._limits.max_streams
        self._surplus: list[Connection] = []
        """Streams that are to end for a share (`shed`)."""
        self._connections: dict[int, Connection] = {}
        self._numbers = count(1)
        self._stopping = False
        self._secure = SecurePorts(self._limits.strangers)
        self._shedding: asyncio.Task[None] | None = None
        self._server = grpc.aio.server(options=self._limits.options())
        self._server.add_generic_rpc_handlers(
            tuple(
                grpc.method_handlers_generic_handler(
                    service,
                    {
                        method.name: grpc.stream_stream_rpc_method_handler(partial(self._serve, method))
                        for method in methods
                    },
                )
                for service, methods in services().items()
            )
        )
        self.add_service(ClientStatusService(self._clients, self._authorize_call).handler())

    def listen(self, address: str) -> int:
        """Listen on "host:port" or "unix:path" in plaintext; return the port.

        Port 0 takes a free one. Raises RuntimeError if the address cannot be bound. Before `start`.
        """
        self._secure.plaintext_socket |= address.startswith("unix:")
        return self._server.add_insecure_port(address)

    async def listen_securely(self, host: str, port: int, context: Callable[[], ssl.SSLContext]) -> int:
        """Listen with TLS; return the port. `context` is asked for each connection (see `TlsListener`).

        Port 0 takes a free one. Raises OSError if the address cannot be bound. Before `start`.
        """
        if not self._secure:
            self._server.add_insecure_port(f"unix:{self._secure.socket}")
        return await self._secure.bind(host, port, context)

    def add_service(self, handler: "grpc.GenericRpcHandler[Any, Any]") -> None:
        """Serve another gRPC service at the same addresses. Before `start`."""
        self._server.add_generic_rpc_handlers((handler,))

    def peer(self, context: AnyContext) -> Peer:
        """The other end of a call of such a service; raises `Refused` for one that came to no address of ours."""
        return self._secure.peer(context)

    def prove(self, context: AnyContext) -> None:
        """The caller is known: its connection is no stranger's any more (see `TlsLimits`)."""
        self._secure.prove(context)

    @property
    def refused_connections(self) -> Mapping[str, int]:
        """TLS connections that were closed from here, by reason."""
        return self._secure.refused()

    async def start(self) -> None:
        """Accept connections."""
        # What reads requests is made when it is first used, which takes some 10 ms: not when a hundred clients wait.
        DeltaRequest.parse(b"")
        SotwRequest.parse(b"")
        await self._server.start()
        await self._secure.start()

    async def stop(self, grace: float = 5.0) -> None:
        """Stop accepting (GOAWAY), let responses being written end, close the streams with OK.

        Streams that are still there after `grace` seconds are cut.
        """
        self._stopping = True
        if self._shedding is not None:
            self._shedding.cancel()
        for connection in list(self._connections.values()):
            connection.end()
        await self._server.stop(grace)
        await self._secure.stop()

    @property
    def quota(self) -> int | None:
        """How many streams are served; None for any number."""
        return self._quota

    def set_quota(self, streams: int | None) -> None:
        """Serve at most this many streams from now on; None for any number.

        What is above it is ended little by little, with OK and the longest connected first: its clients connect anew,
        through a load balancer to a replica that has room.
        """
        self._quota = streams
        self._begin_shedding()

    def shed(self, streams: int) -> None:
        """End streams in the same way until there are this many, once; whoever comes is let in all the same."""
        staying = self._staying()
        self._surplus = staying[: max(0, len(staying) - streams)]
        self._begin_shedding()

    def _begin_shedding(self) -> None:
        if self._shedding is None or self._shedding.done():
            self._shedding = asyncio.create_task(self._shed())

    async def _shed(self) -> None:
        while (connection := self._next_to_go()) is not None:
            self._observer.shed(connection.proxy)
            connection.end()
            await asyncio.sleep(1 / self._limits.sheds_per_second)

    def _next_to_go(self) -> Connection | None:
        staying = self._staying()
        if self._quota is not None and len(staying) > self._quota:
            return staying[0]
        self._surplus = [connection for connection in self._surplus if not connection.ending]
        return next(iter(self._surplus), None)

    def _staying(self) -> list[Connection]:
        """In the order in which they connected."""
        return [connection for connection in self._connections.values() if not connection.ending]

    @property
    def streams(self) -> int:
        """How many clients are connected."""
        return sum(bool(connection.proxy) for connection in self._connections.values())

    def connections(self) -> Iterator[ConnectionStatus]:
        """Yield the state of every connected client, by proxy; of each as it is when its turn comes."""
        for connection in sorted(self._connections.values(), key=attrgetter("proxy")):
            status = connection.status()
            if status is not None:
                yield status

    def progress(self) -> Iterator[Progress]:
        """Yield how far every connected client is; costs microseconds each."""
        for connection in list(self._connections.values()):
            progress = connection.progress()
            if progress is not None:
                yield progress

    def _clients(self) -> Iterator[tuple[Node, Iterator[ResourceStatus]]]:
        for connection in list(self._connections.values()):
            found = connection.resources()
            if found is not None:
                yield found

    async def _authorize_call(self, context: Context) -> None:
        peer = self.peer(context)
        await self._authorize(replace(peer, caller=await self._known(context)(peer)))

    async def wait(self) -> None:
        """Wait until the server was stopped."""
        await self._server.wait_for_termination()

    def _known(self, context: Context) -> Authenticate:
        async def authenticate(peer: Peer) -> Any:
            caller = await self._authenticate(peer)
            self.prove(context)
            return caller

        return authenticate

    async def _serve(self, method: Method, _requests: object, context: Context) -> None:
        if self._quota is not None and len(self._connections) >= self._quota:
            self._observer.refused(grpc.StatusCode.RESOURCE_EXHAUSTED.name)
            await context.abort(
                grpc.StatusCode.RESOURCE_EXHAUSTED,
                f"this replica serves its quota of {self._quota} streams: connect anew, through the load balancer to "
                "another one; if all say so, add replicas or raise --max-streams",
            )
        try:
            peer = self.peer(context)
        except Refused as refused:
            self._observer.refused(refused.code.name)
            await context.abort(refused.code, refused.message)
        number = next(self._numbers)
        connection = self._connections[number] = Connection(
            number,
            context,
            peer,
            method,
            authenticate=self._known(context),
            authorize=self._authorize,
            connections=self.connections,
            connect=self._connect,
            observer=self._observer,
            budget=self._budget,
            pace=self._pace,
            round_=self._round,
            starts=self._starts,
            patience=self._limits.patience,
            max_age=self._limits.max_age,
            first_request=self._limits.first_request,
        )
        try:
            if self._stopping:
                connection.end()
            await connection.serve()
        except asyncio.CancelledError:
            # The client hung up: the usual end of a stream, and not an error to be logged by gRPC.
            if asyncio.current_task() is not None and not context.cancelled() and not context.done():
                raise
        finally:
            del self._connections[number]

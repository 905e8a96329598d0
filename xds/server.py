"""The gRPC server of the discovery services."""

import asyncio
from dataclasses import dataclass, field
from functools import partial
from itertools import count

import grpc

from xds.budget import ByteBudget
from xds.connection import Connection, Context
from xds.order import Patience
from xds.services import Method, services
from xds.session import Connect
from xds.status import ConnectionStatus, Observer, Unobserved


@dataclass(frozen=True, slots=True)
class Limits:
    """What the server allows itself and its clients."""

    inflight_bytes: int = 32 << 20
    """Bytes of large responses inside gRPC, all streams together."""
    max_age: float = 1800.0
    """Seconds until a stream is closed so that its client may connect to another replica; ± 10 %."""
    max_request: int = 32 << 20
    """Bytes of a request: on reconnect it lists every resource the client holds."""
    patience: Patience = field(default_factory=Patience)

    def options(self) -> list[tuple[str, int]]:
        """Return the gRPC channel arguments."""
        return [
            # By default streams above 1000 pending are refused at random: a fleet that reconnects is a storm of them.
            ("grpc.server.max_pending_requests", 100_000),
            ("grpc.server.max_pending_requests_hard_limit", 100_000),
            ("grpc.max_concurrent_streams", 100_000),
            ("grpc.max_send_message_length", -1),
            ("grpc.max_receive_message_length", self.max_request),
            # Find dead clients, and bear Envoy's own pings (connection_keepalive), which gRPC would punish.
            ("grpc.keepalive_time_ms", 30_000),
            ("grpc.keepalive_timeout_ms", 10_000),
            ("grpc.keepalive_permit_without_calls", 1),
            ("grpc.http2.min_recv_ping_interval_without_data_ms", 1_000),
            ("grpc.http2.max_ping_strikes", 0),
            ("grpc.so_reuseport", 0),
        ]


class XdsServer:
    """Serves views to Envoys.

    `connect` is called once per stream with the node the client claims to be and the peer it connected from.
    """

    def __init__(self, connect: Connect, *, observer: Observer | None = None, limits: Limits | None = None) -> None:
        self._connect = connect
        self._observer: Observer = observer or Unobserved()
        self._limits = limits or Limits()
        self._budget = ByteBudget(self._limits.inflight_bytes)
        self._connections: dict[int, Connection] = {}
        self._numbers = count(1)
        self._stopping = False
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

    def listen(self, address: str, credentials: grpc.ServerCredentials | None = None) -> int:
        """Listen on "host:port" or "unix:path", in plaintext unless there are credentials; return the port.

        Port 0 takes a free one. Raises RuntimeError if the address cannot be bound. Before `start`.
        """
        if credentials is None:
            return self._server.add_insecure_port(address)
        return self._server.add_secure_port(address, credentials)

    async def start(self) -> None:
        """Accept connections."""
        await self._server.start()

    async def stop(self, grace: float = 5.0) -> None:
        """Stop accepting (GOAWAY), let responses being written end, close the streams with OK.

        Streams that are still there after `grace` seconds are cut.
        """
        self._stopping = True
        for connection in list(self._connections.values()):
            connection.end()
        await self._server.stop(grace)

    def connections(self) -> tuple[ConnectionStatus, ...]:
        """Return the state of every connected client."""
        found = (connection.status() for connection in list(self._connections.values()))
        return tuple(status for status in found if status is not None)

    async def wait(self) -> None:
        """Wait until the server was stopped."""
        await self._server.wait_for_termination()

    async def _serve(self, method: Method, _requests: object, context: Context) -> None:
        number = next(self._numbers)
        connection = self._connections[number] = Connection(
            number,
            context,
            method,
            connect=self._connect,
            observer=self._observer,
            budget=self._budget,
            patience=self._limits.patience,
            max_age=self._limits.max_age,
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

"""The state of delivery as frozen values for whoever wants to show or count it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from dragoman.codec import Ref
from xds.delivery import Delivery


@dataclass(frozen=True, slots=True)
class Lingering:
    """A removal that was not sent yet. Times are of the stream's clock."""

    name: str
    since: float
    free_since: float | None
    """When the last reference to it went; None while something the client holds refers to it."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """An update held back until the client has ACKed what it refers to."""

    name: str
    since: float


@dataclass(frozen=True, slots=True)
class TypeStatus:
    """One type on one stream. Times are of the stream's clock, None for never."""

    type_url: str
    wildcard: bool
    names: int
    """How many names are subscribed one by one."""
    in_sync: bool
    """See `Progress.types`."""
    sent_nonce: str
    sent_at: float | None
    acked_nonce: str
    acked_at: float | None
    sent: int
    acked: int
    rejected: int
    overdue: int
    last_error: str
    refused: tuple[tuple[str, str], ...]
    """Names this client alone does without, and its errors."""
    waits_for: Ref | None
    """One of the resources that `waiting` waits for."""
    waiting: tuple[Waiting, ...]
    lingering: tuple[Lingering, ...]


@dataclass(frozen=True, slots=True)
class ConnectionStatus:
    """One connected client."""

    id: str
    proxy: str
    node: str
    user_agent: str
    address: str
    connected_at: float
    """Seconds since the epoch."""
    clock: float
    """The stream's clock when this was taken: subtract its times to get ages."""
    method: str
    """Which variant of the protocol: "DeltaAggregatedResources", "StreamAggregatedResources" or that of one type."""
    views: tuple[str, ...]
    types: tuple[TypeStatus, ...]


@dataclass(frozen=True, slots=True)
class Progress:
    """How far one connected client is: what can be asked of thousands every second."""

    proxy: str
    user_agent: str
    connected_at: float
    """Seconds since the epoch."""
    types: Mapping[str, bool]
    """Of each type whether the client has ACKed exactly what its views serve, but for what would need a secret that is
    missing."""


class Observer(Protocol):
    """Told what happens on the streams, for metrics. Called in the event loop: must be quick and not raise."""

    def connected(self, proxy: str) -> None: ...

    def disconnected(self, proxy: str, seconds: float) -> None: ...

    def refused(self, code: str) -> None:
        """A stream was turned away before anything was served, with this gRPC status ("RESOURCE_EXHAUSTED")."""

    def shed(self, proxy: str) -> None:
        """A stream is ended because there are more than the quota."""

    def stuck(self, proxy: str, type_url: str) -> None:
        """A client did not read a response for so long that its connection was cut."""

    def pushed(self, proxy: str, type_url: str, count: int, size: int, seconds: float) -> None:
        """A response of `count` resources and removals and `size` bytes was written within `seconds`."""

    def acked(self, proxy: str, type_url: str, seconds: float) -> None:
        """A response was ACKed `seconds` after what it carries had changed, or after it was sent if nothing had."""

    def nacked(self, proxy: str, type_url: str, names: tuple[str, ...], message: str) -> None:
        """A response was rejected; `names` is empty while the culprit is being searched for."""

    def waited(self, proxy: str, type_url: str, names: tuple[str, ...]) -> None:
        """The wait for what these names depend on was given up, and they were sent."""


class Unobserved:
    """An observer that looks away."""

    def connected(self, proxy: str) -> None: ...

    def disconnected(self, proxy: str, seconds: float) -> None: ...

    def refused(self, code: str) -> None: ...

    def shed(self, proxy: str) -> None: ...

    def stuck(self, proxy: str, type_url: str) -> None: ...

    def pushed(self, proxy: str, type_url: str, count: int, size: int, seconds: float) -> None: ...

    def acked(self, proxy: str, type_url: str, seconds: float) -> None: ...

    def nacked(self, proxy: str, type_url: str, names: tuple[str, ...], message: str) -> None: ...

    def waited(self, proxy: str, type_url: str, names: tuple[str, ...]) -> None: ...


def type_status(delivery: Delivery) -> TypeStatus:
    """Return the state of one type as a value."""
    counters = delivery.counters
    return TypeStatus(
        type_url=delivery.type_url,
        wildcard=delivery.subscription.wildcard,
        names=len(delivery.subscription.names.values),
        in_sync=delivery.complete,
        sent_nonce=delivery.sent_nonce,
        sent_at=delivery.sent_at,
        acked_nonce=delivery.acked_nonce,
        acked_at=delivery.acked_at,
        sent=counters.sent,
        acked=counters.acked,
        rejected=counters.rejected,
        overdue=counters.overdue,
        last_error=delivery.last_error,
        refused=tuple((name, message) for name, (_, message) in delivery.refused.items()),
        waits_for=delivery.waits_for if delivery.waits else None,
        waiting=tuple(Waiting(name, since) for name, since in delivery.waits.items()),
        lingering=tuple(Lingering(n, r.since, r.free_since) for n, r in delivery.removals.items()),
    )

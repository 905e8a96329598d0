"""What a stream machine has to say about a request it received."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Subscribed:
    """The client changed what it wants of a type."""

    type_url: str
    subscribe: tuple[str, ...]
    unsubscribe: tuple[str, ...]
    known: int
    """How many resources it said to hold already (reconnect)."""


@dataclass(frozen=True, slots=True)
class Acked:
    """The client took a response."""

    type_url: str
    nonce: str
    count: int
    seconds: float
    """From handing the response over to its ACK."""


@dataclass(frozen=True, slots=True)
class Nacked:
    """The client rejected a response."""

    type_url: str
    nonce: str
    message: str
    """Envoy's words, without its dump of the resource."""
    culprits: tuple[tuple[str, str], ...]
    """Names and versions held responsible; empty when the error named none and the search goes on."""


@dataclass(frozen=True, slots=True)
class Stale:
    """An ACK or NACK of a response that is not the one in flight: ignored (xDS protocol, "ACK/NACK and versioning")."""

    type_url: str
    nonce: str


Event = Subscribed | Acked | Nacked | Stale


@dataclass(frozen=True, slots=True)
class Response:
    """A response to be written to the client."""

    type_url: str
    nonce: str
    data: bytes
    count: int
    removed: int
    overdue: tuple[str, ...]
    """Names that are sent although what they waited for was not ACKed in time."""
    versions: tuple[str, ...]
    """Versions of the first of its resources, for logs."""

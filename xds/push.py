"""Encoded responses, shared: streams that need the same resources get the same bytes object."""

from collections import OrderedDict
from dataclasses import dataclass
from itertools import count

from dragoman.codec import frame
from xds.resource import Resource

# Nonces only have to be unlike each other within a stream; one sequence for the process lets streams share the bytes.
_nonces = count(1)


@dataclass(slots=True, eq=False)
class Push:
    """One DeltaDiscoveryResponse, as bytes and as what it says."""

    type_url: str
    nonce: str
    resources: tuple[Resource, ...]
    removed: tuple[str, ...]
    data: bytes
    accepted: bool = False
    """Whether some stream has ACKed it: the view learns from the first ACK only."""


def encode_push(type_url: str, resources: tuple[Resource, ...], removed: tuple[str, ...]) -> Push:
    """Join a DeltaDiscoveryResponse from the resources' ready bytes.

    Fields: system_version_info = 1 (for debugging only, says the xDS protocol), resources = 2, type_url = 4, nonce = 5,
    removed_resources = 6.
    """
    nonce = f"{next(_nonces):x}"
    parts = [frame(1, nonce.encode()), frame(4, type_url.encode()), frame(5, nonce.encode())]
    for resource in resources:
        parts.append(resource.head)
        parts.append(resource.payload)
    parts.extend(frame(6, name.encode()) for name in removed)
    return Push(type_url, nonce, resources, removed, b"".join(parts))


class PushCache:
    """Least-recently-used pushes of one view, bounded by bytes.

    The key is what is sent, not where a stream stands in the log: streams that coalesced differently still share.
    Resources are compared by identity, so a key of thousands costs microseconds.
    """

    __slots__ = ("_bytes", "_limit", "_pushes")

    def __init__(self, limit: int = 32 << 20) -> None:
        self._limit = limit
        self._bytes = 0
        self._pushes: OrderedDict[tuple[str, tuple[Resource, ...], tuple[str, ...]], Push] = OrderedDict()

    def get(self, type_url: str, resources: tuple[Resource, ...], removed: tuple[str, ...] = ()) -> Push:
        """Return the push of exactly these resources and removals, encoding it at first use."""
        key = (type_url, resources, removed)
        push = self._pushes.get(key)
        if push is not None:
            self._pushes.move_to_end(key)
            return push
        push = self._pushes[key] = encode_push(type_url, resources, removed)
        self._bytes += len(push.data)
        while self._bytes > self._limit and len(self._pushes) > 1:
            self._bytes -= len(self._pushes.popitem(last=False)[1].data)
        return push

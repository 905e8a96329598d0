"""Encoded responses, shared: streams that need the same resources get the same bytes object."""

from collections import OrderedDict
from dataclasses import dataclass, field
from hashlib import blake2b
from itertools import count
from typing import Final
from weakref import WeakValueDictionary

from dragoman.codec import CLUSTER, ENDPOINT, ROUTE, Encoded, frame
from xds.event import Response
from xds.resource import Resource

# Nonces only have to be unlike each other within a stream; one sequence for the process lets streams share the bytes.
_nonces = count(1)

LOGGED_VERSIONS: Final = 10
NAMED_BY_FIRST_FIELD: Final = frozenset((ENDPOINT, ROUTE))
"""Types of which a resource that holds nothing but its name says that there is none: ClusterLoadAssignment.cluster_name
and RouteConfiguration.name are field 1, and nothing else is required of either."""


@dataclass(slots=True, eq=False, weakref_slot=True)
class Push:
    """One response, as bytes and as what it says that the client may not know yet."""

    type_url: str
    nonce: str
    resources: tuple[Resource, ...]
    removed: tuple[str, ...]
    data: bytes
    state: tuple[Resource, ...] = ()
    """State of the world: all that the response carries, `resources` among them."""
    version: str = ""
    """State of the world: `version_info`, which tells all that the client holds once it took the response."""
    accepted: int = -1
    """How many doubts the view had had when a stream last ACKed it: it learns nothing from another ACK before the next
    one; -1 if none has."""
    names: tuple[str, ...] = field(init=False)
    """Of `resources`."""
    endpoints: frozenset[str] = field(init=False)
    """Names of the endpoints that they take."""
    response: Response = field(init=False)
    """What streams that owe nothing else write."""

    def __post_init__(self) -> None:
        self.names = tuple(resource.name for resource in self.resources)
        needed = (resource.refs for resource in self.resources) if self.type_url == CLUSTER else ()
        self.endpoints = frozenset(name for refs in needed for type_url, name in refs if type_url == ENDPOINT)
        versions = tuple(resource.version for resource in self.resources[:LOGGED_VERSIONS])
        self.response = Response(
            self.type_url, self.nonce, self.data, len(self.resources), len(self.removed), (), versions
        )


def encode_push(type_url: str, resources: tuple[Resource, ...], removed: tuple[str, ...]) -> Push:
    """Join a DeltaDiscoveryResponse from the resources' ready bytes.

    Fields: system_version_info = 1 (for debugging only, says the xDS protocol), resources = 2, type_url = 4, nonce = 5,
    removed_resources = 6.
    """
    nonce = f"{next(_nonces):x}"
    parts = [frame(1, nonce.encode()), frame(4, type_url.encode()), frame(5, nonce.encode())]
    for resource in resources:
        parts.append(resource.head)
        parts.extend(resource.parts)
    parts.extend(frame(6, name.encode()) for name in removed)
    return Push(type_url, nonce, resources, removed, b"".join(parts))


def encode_state(
    type_url: str,
    state: tuple[Resource, ...],
    resources: tuple[Resource, ...],
    removed: tuple[str, ...],
    version: str = "",
) -> Push:
    """Join a DiscoveryResponse that carries `state`, of which `resources` are what the client may not hold.

    Without a `version` the state is everything, and its hash is taken.

    Nothing can be absent in the state of the world: for what is `removed` an empty resource is sent where its type has
    one. Fields: version_info = 1, resources = 2, type_url = 4, nonce = 5.
    """
    nonce = f"{next(_nonces):x}"
    version = version or state_version(state)
    parts = [frame(1, version.encode()), frame(4, type_url.encode()), frame(5, nonce.encode())]
    for resource in state:
        parts.append(resource.head[resource.any_at :])
        parts.extend(resource.parts)
    if type_url in NAMED_BY_FIRST_FIELD:
        for name in removed:
            empty = Resource.of(Encoded.of_payload(type_url, name, frame(1, name.encode())))
            parts += (empty.head[empty.any_at :], *empty.parts)
    return Push(type_url, nonce, resources, removed, b"".join(parts), state, version)


def state_version(state: tuple[Resource, ...]) -> str:
    """Return a hash of names and versions: the same after a restart, whatever the order."""
    found = blake2b(digest_size=8)
    for name, version in sorted((resource.name, resource.version) for resource in state):
        found.update(f"{name}\0{version}\0".encode())
    return found.hexdigest()


states: "WeakValueDictionary[tuple[str, str], Push]" = WeakValueDictionary()
"""States of the world that came whole, by type and `version_info`, as long as some view remembers them."""


def find_state(type_url: str, version: str) -> tuple[Resource, ...] | None:
    """Return what a response with this `version_info` carried, of whatever view, as long as it is remembered."""
    push = states.get((type_url, version))
    return None if push is None else push.state


_Key = tuple[str, tuple[Resource, ...], tuple[str, ...], tuple[Resource, ...] | None, str]


FEW: Final = 64
"""Resources of a push up to which it goes with the first of them that is served no more. Wider ones are few and soon
make each other go."""


OVERHEAD: Final = 2 << 10
"""What a push takes beside its bytes."""


class PushCache:
    """Least-recently-used pushes of one view, bounded by bytes; what nobody will need any more goes at once.

    The key is what is sent, not where a stream stands in the log: streams that coalesced differently still share.
    Resources are compared by identity, so a key of thousands costs microseconds.
    """

    __slots__ = ("_bytes", "_limit", "_pushes", "_users")

    def __init__(self, limit: int = 32 << 20) -> None:
        self._limit = limit
        self._bytes = 0
        self._pushes: OrderedDict[_Key, Push] = OrderedDict()
        # Of pushes of few resources, by each of these.
        self._users: dict[Resource, tuple[_Key, ...]] = {}

    def get(self, type_url: str, resources: tuple[Resource, ...], removed: tuple[str, ...] = ()) -> Push:
        """Return the incremental push of exactly these resources and removals, encoding it at first use."""
        key = (type_url, resources, removed, None, "")
        push = self._known(key)
        if push is None:
            push = self._keep(key, encode_push(type_url, resources, removed))
            self._use(key)
        return push

    def get_state(
        self,
        type_url: str,
        state: tuple[Resource, ...],
        resources: tuple[Resource, ...] = (),
        removed: tuple[str, ...] = (),
        version: str = "",
    ) -> Push:
        """Return the push of exactly this state of the world, encoding it at first use."""
        key = (type_url, resources, removed, state, version)
        push = self._known(key)
        if push is None:
            push = self._keep(key, encode_state(type_url, state, resources, removed, version))
            if version:
                self._use(key)
            else:
                # Not only to be sent: a client may name it when it comes back.
                states[type_url, push.version] = push
        return push

    def superseded(self, resource: Resource) -> None:
        """A resource is not served any more: nobody will need the pushes that carry it.

        Their memory is of use for the next: a wide route configuration is megabytes, and fresh pages cost ten times
        what copying into them does.
        """
        for key in self._users.get(resource, ()):
            self._drop(key)

    def _known(self, key: _Key) -> Push | None:
        push = self._pushes.get(key)
        if push is not None:
            self._pushes.move_to_end(key)
        return push

    def _use(self, key: _Key) -> None:
        if len(key[1]) <= FEW:
            for resource in key[1]:
                self._users[resource] = (*self._users.get(resource, ()), key)

    def _keep(self, key: _Key, push: Push) -> Push:
        self._pushes[key] = push
        self._bytes += len(push.data) + OVERHEAD
        while self._bytes > self._limit and len(self._pushes) > 1:
            self._drop(next(iter(self._pushes)))
        return push

    def _drop(self, key: _Key) -> None:
        self._bytes -= len(self._pushes.pop(key).data) + OVERHEAD
        for resource in key[1] if len(key[1]) <= FEW else ():
            others = tuple(other for other in self._users.pop(resource, ()) if other is not key)
            if others:
                self._users[resource] = others

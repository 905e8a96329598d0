"""A client of the discovery services as a machine without IO: what it asks for, what it holds, what it says to that.

It behaves as Envoy does: everything of clusters first, then what they refer to, then listeners and what those refer to.
It can be told to reject resources by name, and says so in Envoy's words.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final

from envoy_data_plane.envoy.config.core.v3 import Node
from envoy_data_plane.envoy.service.discovery.v3 import DeltaDiscoveryRequest, DiscoveryRequest
from envoy_data_plane.google.rpc import Status

from dragoman.codec import (
    CLUSTER,
    ENDPOINT,
    EXTENSION_CONFIG,
    LISTENER,
    ROUTE,
    SECRET,
    Ref,
    content_hash,
    decode,
    encode,
    to_json,
)
from xds.order import WHOLE
from xds.push import NAMED_BY_FIRST_FIELD
from xds.references import references
from xds.subscription import WILDCARD

TYPES: Final = (CLUSTER, ENDPOINT, LISTENER, ROUTE, SECRET, EXTENSION_CONFIG)
"""What an Envoy asks for."""

_REFERRERS: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {ENDPOINT: (CLUSTER,), ROUTE: (LISTENER,), SECRET: (CLUSTER, LISTENER), EXTENSION_CONFIG: (LISTENER,)}
)
_DELTA_RESPONSE: Final = "type.googleapis.com/envoy.service.discovery.v3.DeltaDiscoveryResponse"
_SOTW_RESPONSE: Final = "type.googleapis.com/envoy.service.discovery.v3.DiscoveryResponse"
_INVALID_ARGUMENT: Final = 3
_REDACTED: Final = "[redacted]"


@dataclass(frozen=True, slots=True)
class Seen:
    """A resource as it came. Of a secret only the name is kept."""

    type_url: str
    name: str
    version: str
    """What the server calls it; in the state of the world, where resources have no versions, a hash of its content."""
    size: int
    """Bytes of the resource."""
    content: Mapping[str, Any] = field(repr=False, compare=False)
    """Canonical JSON."""
    refs: frozenset[Ref] = frozenset()


@dataclass(frozen=True, slots=True)
class Update:
    """A response, compared with what was held."""

    type_url: str
    nonce: str
    version: str
    """`version_info` of the state of the world, `system_version_info` of an incremental response."""
    size: int
    """Bytes of the response."""
    added: tuple[Seen, ...]
    changed: tuple[tuple[Seen, Seen], ...]
    """Before and after."""
    removed: tuple[str, ...]
    """Names that were held and are gone."""
    absent: tuple[str, ...]
    """Names that were asked for and do not exist."""
    unchanged: int
    """How many came again as they were."""
    rejected: tuple[Seen, ...]
    error: str
    """What the server was told; empty for an ACK."""


@dataclass(slots=True)
class _Type:
    """One type on the stream."""

    wildcard: bool
    names: set[str] = field(default_factory=set)
    unanswered: set[str] = field(default_factory=set)
    """Names that were asked for and not answered; `WILDCARD` among them before the first response."""
    held: dict[str, Seen] = field(default_factory=dict)
    nonce: str = ""
    version: str = ""


class Watcher:
    """Speaks with one server over one stream after another.

    `rejects` says of a type and a resource's name whether it is to be rejected, with `message`. Requests come encoded,
    to be written in order; `receive` takes a response as bytes.
    """

    def __init__(
        self,
        node: Node,
        *,
        types: Iterable[str] = TYPES,
        state_of_the_world: bool = False,
        rejects: Callable[[str, str], bool] = lambda type_url, name: False,
        message: str = "rejected on purpose",
    ) -> None:
        self._node = node
        self._wanted = tuple(dict.fromkeys(types))
        self._sotw = state_of_the_world
        self._rejects = rejects
        self._message = message
        self._types: dict[str, _Type] = {}

    @property
    def method(self) -> str:
        """The gRPC method to call."""
        variant = "Stream" if self._sotw else "Delta"
        return f"/envoy.service.discovery.v3.AggregatedDiscoveryService/{variant}AggregatedResources"

    @property
    def in_sync(self) -> bool:
        """Whether everything that was asked for was answered."""
        return not self._unopened() and not any(type_.unanswered for type_ in self._types.values())

    def unanswered(self) -> tuple[Ref, ...]:
        """What was asked for and not answered."""
        return tuple((url, name) for url, type_ in self._types.items() for name in sorted(type_.unanswered))

    def held(self, type_url: str) -> Mapping[str, Seen]:
        """What is held of a type, by name."""
        type_ = self._types.get(type_url)
        return {} if type_ is None else type_.held

    def connect(self) -> list[bytes]:
        """Begin a stream: the first requests, with what is held from the one before."""
        requests: list[bytes] = []
        for type_url, type_ in self._types.items():
            type_.nonce = ""
            type_.unanswered = set() if self._holds_all(type_) else {*type_.names, *((WILDCARD,) * type_.wildcard)}
            requests.append(self._open(type_url, type_, node=not requests))
        return requests or self._open_next(node=True)

    def receive(self, data: bytes) -> tuple[Update, list[bytes]]:
        """Take a response; returns what it changes and the requests that answer it.

        Raises google.protobuf's DecodeError for bytes that are no response, KeyError for a type not asked for.
        """
        message: Any = decode(_SOTW_RESPONSE if self._sotw else _DELTA_RESPONSE, data)
        type_url = message.type_url
        type_ = self._types[type_url]
        came = list(self._resources(message))
        rejected = [seen for seen in came if self._rejects(type_url, seen.name)]
        taken = [seen for seen in came if seen not in rejected]
        removed, absent = self._removed(type_url, type_, message, came)
        taken = [seen for seen in taken if seen.name not in absent]
        update = Update(
            type_url,
            message.nonce,
            message.version_info if self._sotw else message.system_version_info,
            len(data),
            added=tuple(seen for seen in taken if seen.name not in type_.held),
            changed=tuple(
                (type_.held[seen.name], seen)
                for seen in taken
                if seen.name in type_.held and type_.held[seen.name].version != seen.version
            ),
            removed=tuple(sorted(name for name in removed if name in type_.held)),
            absent=tuple(sorted(absent)),
            unchanged=sum(seen.name in type_.held and type_.held[seen.name].version == seen.version for seen in taken),
            rejected=tuple(rejected),
            error=self._error(type_url, rejected),
        )
        type_.held.update((seen.name, seen) for seen in taken)
        for name in (*removed, *absent):
            type_.held.pop(name, None)
        type_.unanswered -= {WILDCARD, *removed, *absent, *(seen.name for seen in came)}
        type_.nonce = message.nonce
        if self._sotw and not rejected:
            type_.version = message.version_info
        return update, [self._answer(type_url, type_, update.error), *self._follow(), *self._open_next()]

    # -- in ---------------------------------------------------------------------------------------------------------

    def _resources(self, message: Any) -> Iterator[Seen]:
        for resource in message.resources:
            any_ = resource if self._sotw else resource.resource
            content = to_json(any_.type_url, any_.value)
            if any_.type_url == SECRET:
                content = redacted(content)
            name = content.get("clusterName" if any_.type_url == ENDPOINT else "name", "")
            version = content_hash(any_.value).hex() if self._sotw else resource.version
            yield Seen(message.type_url, name, version, len(any_.value), content, references(message.type_url, content))

    def _removed(
        self, type_url: str, type_: _Type, message: Any, came: list[Seen]
    ) -> tuple[frozenset[str], frozenset[str]]:
        """Return the names that are gone and those that never were: two ways to be absent."""
        if not self._sotw:
            gone = frozenset(message.removed_resources)
        elif type_url in WHOLE:
            gone = frozenset(type_.held) - {seen.name for seen in came}
        elif type_url in NAMED_BY_FIRST_FIELD:
            # Nothing can be said to be absent: what holds nothing but its name takes its place.
            gone = frozenset(seen.name for seen in came if len(seen.content) == 1)
        else:
            gone = frozenset()
        return gone & frozenset(type_.held), gone - frozenset(type_.held)

    def _error(self, type_url: str, rejected: list[Seen]) -> str:
        """Return why a response is rejected, as Envoy words it (Envoy: lds_api.cc, cds_api_helper.cc)."""
        names = [seen.name for seen in rejected]
        if not names:
            return ""
        if type_url in WHOLE:
            kind = "cluster" if type_url == CLUSTER else "listener"
            return f"Error adding/updating {kind}(s) " + "\n".join(f"{name}: {self._message}" for name in names)
        return f"{self._message} in route {names[0]}" if type_url == ROUTE else self._message

    # -- out --------------------------------------------------------------------------------------------------------

    def _follow(self) -> Iterator[bytes]:
        """Ask for what is newly referred to, and no more for what nothing refers to."""
        for type_url in self._wanted:
            referrers = [url for url in _REFERRERS.get(type_url, ()) if url in self._wanted]
            if not referrers:
                continue
            names = {
                name
                for referrer in referrers
                for seen in self.held(referrer).values()
                for url, name in seen.refs
                if url == type_url
            }
            type_ = self._types.get(type_url)
            if type_ is None:
                if names:
                    type_ = self._types[type_url] = _Type(wildcard=False, names=names, unanswered=set(names))
                    yield self._open(type_url, type_)
            elif names != type_.names:
                yield self._change(type_url, type_, names)

    def _change(self, type_url: str, type_: _Type, names: set[str]) -> bytes:
        more, less = names - type_.names, type_.names - names
        type_.names = names
        type_.unanswered = (type_.unanswered | more) - less
        for name in less:
            type_.held.pop(name, None)
        if self._sotw:
            return self._answer(type_url, type_, "")
        return encode(
            DeltaDiscoveryRequest(
                type_url=type_url,
                resource_names_subscribe=sorted(more),
                resource_names_unsubscribe=sorted(less),
            )
        )

    def _unopened(self) -> list[str]:
        return [
            url
            for url in self._wanted
            if url not in self._types and not any(referrer in self._wanted for referrer in _REFERRERS.get(url, ()))
        ]

    def _open_next(self, *, node: bool = False) -> list[bytes]:
        """Begin the next type that is asked for as a whole, once all that was asked before is answered (Envoy asks for
        listeners when the first clusters are warm)."""
        unopened = self._unopened()
        if not unopened or any(type_.unanswered for type_ in self._types.values()):
            return []
        type_ = self._types[unopened[0]] = _Type(wildcard=True, unanswered={WILDCARD})
        return [self._open(unopened[0], type_, node=node)]

    def _open(self, type_url: str, type_: _Type, *, node: bool = False) -> bytes:
        names = self._names(type_url, type_)
        who = self._node if node else None
        if self._sotw:
            return encode(
                DiscoveryRequest(type_url=type_url, node=who, version_info=type_.version, resource_names=names)
            )
        return encode(
            DeltaDiscoveryRequest(
                type_url=type_url,
                node=who,
                resource_names_subscribe=names,
                initial_resource_versions={name: seen.version for name, seen in sorted(type_.held.items())},
            )
        )

    def _answer(self, type_url: str, type_: _Type, error: str) -> bytes:
        detail = Status(code=_INVALID_ARGUMENT, message=error) if error else None
        if self._sotw:
            return encode(
                DiscoveryRequest(
                    type_url=type_url,
                    version_info=type_.version,
                    resource_names=self._names(type_url, type_),
                    response_nonce=type_.nonce,
                    error_detail=detail,
                )
            )
        return encode(DeltaDiscoveryRequest(type_url=type_url, response_nonce=type_.nonce, error_detail=detail))

    @staticmethod
    def _names(type_url: str, type_: _Type) -> list[str]:
        # Clusters and listeners are asked for as a whole by naming nothing, as Envoy does.
        return [WILDCARD] if type_.wildcard and type_url not in WHOLE else sorted(type_.names)

    def _holds_all(self, type_: _Type) -> bool:
        """Whether a reconnect may go without an answer: nothing is sent that the client says it holds."""
        return not self._sotw and bool(type_.held) and type_.names <= set(type_.held)


def redacted(secret: Mapping[str, Any]) -> dict[str, Any]:
    """Return a secret's JSON with only its name and what kind it is."""
    return {key: value if key == "name" else _REDACTED for key, value in secret.items()}

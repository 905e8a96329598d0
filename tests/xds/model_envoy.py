"""Client machines for both protocols that behave as Envoy does where it matters for delivery, and check what reaches
them.

Seen on Envoy 1.40 and kept here: a new or changed cluster warms until its endpoints are answered *after* it, and while
any cluster warms the ACK of every cluster response is withheld, and a new stream does not ask for clusters; a changed
cluster does not subscribe its endpoints anew; a listener is ACKed while its routes are still missing, and the one
before serves on; a NACK may have applied all, or none, of the other resources; listeners are asked for once the first
clusters are warm; the removal of a route configuration or of endpoints is ignored.
"""

import json
from collections import deque
from dataclasses import dataclass, field
from typing import Any

from dragoman.codec import CLUSTER, ENDPOINT, LISTENER, ROUTE, Encoded, Ref, decode
from xds import DeltaRequest, Response, SotwRequest

RESPONSE = "type.googleapis.com/envoy.service.discovery.v3.DeltaDiscoveryResponse"
STATE = "type.googleapis.com/envoy.service.discovery.v3.DiscoveryResponse"


def content(
    type_url: str, name: str, revision: int, refs: tuple[Ref, ...] = (), *, bad: str = "", atomic: bool = False
) -> Encoded:
    """A resource whose payload tells the model how to treat it.

    `bad` is "", "named" or "unnamed" (in the error), or "picky": bad to picky clients only, named.
    """
    payload = {"name": name, "revision": revision, "refs": sorted(refs), "bad": bad, "atomic": atomic}
    return Encoded.of_payload(type_url, name, json.dumps(payload).encode(), refs=frozenset(refs))


@dataclass(frozen=True)
class Held:
    version: str
    refs: frozenset[Ref]
    bad: str
    atomic: bool

    def names(self, type_url: str) -> set[str]:
        return {name for kind, name in self.refs if kind == type_url}


@dataclass
class ModelEnvoy:
    """What one Envoy holds and what it has to say. Responses go in by `receive`, requests wait in `outbox`."""

    held: dict[str, dict[str, Held]] = field(
        default_factory=lambda: {CLUSTER: {}, ENDPOINT: {}, LISTENER: {}, ROUTE: {}}
    )
    outbox: deque[Any] = field(default_factory=deque)
    warming: set[str] = field(default_factory=set)
    withheld: list[str] = field(default_factory=list)
    """Nonces of cluster responses that were taken but not ACKed yet."""
    paused: bool = False
    """Asks for no clusters on this stream yet, as some warm that it got on the one before."""
    serving: dict[str, Held] = field(default_factory=dict)
    """Listeners that carry traffic: the newest whose routes are there."""
    picky: bool = False
    lenient: bool = False
    """Does not mind what is missing, as is right once waits are given up."""
    unavailable: set[str] = field(default_factory=set)
    """Clusters that it does not mind to be missing."""
    in_doubt: set[Ref] = field(default_factory=set)
    """Removed by responses that it rejected on this stream: it has not said whether it took that part."""
    star: bool = False
    """Asks for all clusters by "*", not by naming nothing."""
    demanded: set[str] = field(default_factory=set)
    """Clusters asked for by name beside the wildcard."""
    undecided: set[str] = field(default_factory=set)
    """Those of them that wait for an answer."""
    asked_listeners: bool = False
    answered: dict[str, set[str]] = field(default_factory=lambda: {ENDPOINT: set(), ROUTE: set()})
    subscribed: dict[str, set[str]] = field(default_factory=lambda: {ENDPOINT: set(), ROUTE: set()})
    responses: int = 0
    resources: int = 0

    # -- connecting -------------------------------------------------------------------------------------------------

    def connect(self) -> None:
        """Open a stream: the first requests name what is held."""
        self.outbox.clear()
        self.withheld.clear()
        self.in_doubt.clear()
        self.undecided = self.demanded - set(self.held[CLUSTER])
        self.paused = bool(self.warming)
        if not self.paused:
            self._open(CLUSTER, self._clusters_wanted())
        if self._asks_again(ENDPOINT):
            self._open(ENDPOINT, tuple(sorted(self.subscribed[ENDPOINT])))
        if self.asked_listeners:
            self._open(LISTENER, ())
        if self._asks_again(ROUTE):
            self._open(ROUTE, tuple(sorted(self.subscribed[ROUTE])))

    def _asks_again(self, type_url: str) -> bool:
        return bool(self.subscribed[type_url])

    def _clusters_wanted(self) -> tuple[str, ...]:
        return ("*", *sorted(self.demanded)) if self.star or self.demanded else ()

    def demand(self, name: str) -> None:
        """Ask for a cluster by name, which may not exist (on-demand cluster discovery)."""
        self.star = True
        self.demanded.add(name)
        if name not in self.held[CLUSTER]:
            self.undecided.add(name)
        if not self.paused:
            self._change(CLUSTER, (name,), ())

    def renounce(self, name: str) -> None:
        """Take that back; the wildcard still covers the name."""
        if name in self.demanded:
            self.demanded.discard(name)
            self.undecided.discard(name)
            if not self.paused:
                self._change(CLUSTER, (), (name,))

    def _open(self, type_url: str, names: tuple[str, ...]) -> None:
        """Begin a type on this stream."""
        known = {name: held.version for name, held in self.held[type_url].items()}
        self.outbox.append(DeltaRequest(type_url, subscribe=names, initial_versions=known))

    # -- responses --------------------------------------------------------------------------------------------------

    def receive(self, response: Response) -> None:
        message: Any = self.message(response)
        assert message.nonce == response.nonce
        assert message.type_url == response.type_url
        self.responses += 1
        self.resources += len(message.resources)
        new, removed = self._content(message)
        bad = {name for name, held in new.items() if held.bad and (self.picky or held.bad != "picky")}
        nothing_applied = any(held.atomic for name, held in new.items() if name in bad)
        applied = {} if nothing_applied else {name: held for name, held in new.items() if name not in bad}
        self._apply(message.type_url, applied, set() if nothing_applied else removed)
        if message.type_url == CLUSTER:
            self.undecided -= self._decided({*new, *removed})
        self._check_serving()
        if bad:
            self.in_doubt |= {(message.type_url, name) for name in removed}
            self._nack(message, bad, new)
        elif message.type_url == CLUSTER:
            self._took(message)
            self.withheld.append(message.nonce)
        else:
            self._took(message)
            self._ack(message.type_url, message.nonce)
        self._release()

    def _decided(self, told: set[str]) -> set[str]:
        return told

    def message(self, response: Response) -> Any:
        """Read a response of this client's protocol."""
        return decode(RESPONSE, response.data)

    def _content(self, message: Any) -> tuple[dict[str, Held], set[str]]:
        """Return what a response brings and what it removes."""
        new = {}
        for resource in message.resources:
            name, new[resource.name] = read_any(message.type_url, resource.resource.value)
            assert name == resource.name
            assert new[name].version == resource.version
        return new, set(message.removed_resources)

    def _took(self, message: Any) -> None:
        """A response was not rejected."""

    def _nack(self, message: Any, bad: set[str], new: dict[str, Held]) -> None:
        named = sorted(name for name in bad if new[name].bad in ("named", "picky"))
        error = "something is wrong"
        if named:
            error = "Error adding/updating listener(s) " + "\n".join(f"{name}: it is bad" for name in named)
        self._reject(message.type_url, message.nonce, error)

    def _reject(self, type_url: str, nonce: str, error: str) -> None:
        self.outbox.append(DeltaRequest(type_url, nonce=nonce, error=error))

    def _ack(self, type_url: str, nonce: str) -> None:
        self.outbox.append(DeltaRequest(type_url, nonce=nonce))

    def _release(self) -> None:
        if self.warming:
            return
        if self.paused:
            self.paused = False
            self._open(CLUSTER, self._clusters_wanted())
        for nonce in self.withheld:
            self._ack(CLUSTER, nonce)
        self.withheld.clear()
        if not self.asked_listeners and self.responses:
            self.asked_listeners = True
            self._open(LISTENER, ())

    # -- content ----------------------------------------------------------------------------------------------------

    def _apply(self, type_url: str, new: dict[str, Held], removed: set[str]) -> None:
        if type_url in self.subscribed:
            # What is not asked for any more is ignored.
            new = {name: held for name, held in new.items() if name in self.subscribed[type_url]}
        if type_url == CLUSTER:
            self._clusters(new, removed)
        elif type_url == ENDPOINT:
            self.held[ENDPOINT].update(new)
            self._answered(ENDPOINT, {*new, *removed})
            self.warming -= {*new, *removed}
        elif type_url == LISTENER:
            self._listeners(new, removed)
        else:
            self._routes(new, removed)

    def _clusters(self, new: dict[str, Held], removed: set[str]) -> None:
        for name, held in new.items():
            if self.held[CLUSTER].get(name) != held:
                self.warming |= held.names(ENDPOINT)
            self.held[CLUSTER][name] = held
        for name in removed:
            users = self.users_of(name)
            assert self.lenient or not users, f"cluster {name} was removed while {users} refer to it"
            self.held[CLUSTER].pop(name, None)
            self.warming.discard(name)
            self.held[ENDPOINT].pop(name, None)
        self._subscribe(ENDPOINT, {name for held in self.held[CLUSTER].values() for name in held.names(ENDPOINT)})

    def _listeners(self, new: dict[str, Held], removed: set[str]) -> None:
        for name, held in new.items():
            self._check_references(LISTENER, name, held)
            self.held[LISTENER][name] = held
        for name in removed:
            self.held[LISTENER].pop(name, None)
            self.serving.pop(name, None)
        self._promote()
        users = [*self.held[LISTENER].values(), *self.serving.values()]
        self._subscribe(ROUTE, {name for held in users for name in held.names(ROUTE)})

    def _routes(self, new: dict[str, Held], removed: set[str]) -> None:
        for name, held in new.items():
            self._check_references(ROUTE, name, held)
            self.held[ROUTE][name] = held
        self._answered(ROUTE, {*new, *removed})
        # Envoy ignores the removal of a route configuration.
        self._promote()

    def _promote(self) -> None:
        """Listeners whose routes are there take over."""
        for name, held in self.held[LISTENER].items():
            if held.names(ROUTE) <= set(self.held[ROUTE]):
                self.serving[name] = held

    def _check_references(self, type_url: str, name: str, held: Held) -> None:
        if self.lenient:
            return
        missing = held.names(CLUSTER) - set(self.held[CLUSTER]) - self.unavailable
        assert not missing, f"{type_url} {name} refers to clusters that were not ACKed: {missing}"
        warming = held.names(CLUSTER) & self.warming
        assert not warming, f"{type_url} {name} refers to clusters that still warm: {warming}"

    def _check_serving(self) -> None:
        """What carries traffic finds its clusters."""
        for name, listener in self.serving.items():
            for route in listener.names(ROUTE) & set(self.held[ROUTE]):
                missing = self.held[ROUTE][route].names(CLUSTER) - set(self.held[CLUSTER]) - self.unavailable
                assert self.lenient or not missing, f"{name}/{route} serves without {missing}"

    def users_of(self, cluster: str) -> set[str]:
        """What would lose requests if the cluster went: listeners that serve and the routes they use."""
        users = set()
        for name, listener in self.serving.items():
            if cluster in listener.names(CLUSTER):
                users.add(name)
            for route in listener.names(ROUTE):
                held = self.held[ROUTE].get(route)
                if held is not None and cluster in held.names(CLUSTER):
                    users.add(f"{name}/{route}")
        return users

    # -- subscriptions ----------------------------------------------------------------------------------------------

    def _answered(self, type_url: str, names: set[str]) -> None:
        self.answered[type_url] |= names

    def _subscribe(self, type_url: str, wanted: set[str]) -> None:
        add = tuple(sorted(wanted - self.subscribed[type_url]))
        drop = tuple(sorted(self.subscribed[type_url] - wanted))
        self.subscribed[type_url] = wanted
        for name in drop:
            self.held[type_url].pop(name, None)
            self.answered[type_url].discard(name)
        if add or drop:
            self._change(type_url, add, drop)

    def _change(self, type_url: str, add: tuple[str, ...], drop: tuple[str, ...]) -> None:
        self.outbox.append(DeltaRequest(type_url, subscribe=add, unsubscribe=drop))

    def unanswered(self) -> set[Ref]:
        """Names that were subscribed and never answered."""
        return {(kind, name) for kind, names in self.subscribed.items() for name in names - self.answered[kind]} | {
            (CLUSTER, name) for name in self.undecided
        }


@dataclass
class SotwModelEnvoy(ModelEnvoy):
    """The same, by state of the world: clusters and listeners that a response leaves out are gone, every request says
    all, and what is empty is there."""

    versions: dict[str, str] = field(default_factory=dict)
    nonces: dict[str, str] = field(default_factory=dict)
    taken: dict[str, set[str]] = field(default_factory=lambda: {CLUSTER: set(), LISTENER: set()})
    """Names in the latest response that was not rejected."""

    def connect(self) -> None:
        self.nonces.clear()
        super().connect()

    def _asks_again(self, type_url: str) -> bool:
        # Of a type that it ever asked for a new stream hears even if it wants nothing any more (grpc_mux_impl.cc).
        return super()._asks_again(type_url) or type_url in self.versions

    def _open(self, type_url: str, names: tuple[str, ...]) -> None:
        self._say(type_url)

    def _change(self, type_url: str, add: tuple[str, ...], drop: tuple[str, ...]) -> None:
        self._say(type_url)

    def _ack(self, type_url: str, nonce: str) -> None:
        self._say(type_url)

    def _reject(self, type_url: str, nonce: str, error: str) -> None:
        self._say(type_url, error)

    def _say(self, type_url: str, error: str | None = None) -> None:
        names = self._clusters_wanted() if type_url == CLUSTER else tuple(sorted(self.subscribed.get(type_url, ())))
        version, nonce = self.versions.get(type_url, ""), self.nonces.get(type_url, "")
        self.outbox.append(SotwRequest(type_url, names=names, version=version, nonce=nonce, error=error))

    def receive(self, response: Response) -> None:
        self.nonces[response.type_url] = response.nonce
        if self.subscribed.get(response.type_url) == set() and not response.count:
            # Noted without a word, as nothing is wanted of the type.
            self._took(self.message(response))
            return
        super().receive(response)

    def message(self, response: Response) -> Any:
        return decode(STATE, response.data)

    def demand(self, name: str) -> None:
        # Asking again says the same.
        if name not in self.demanded:
            super().demand(name)

    def _decided(self, told: set[str]) -> set[str]:
        # What a whole state leaves out does not exist.
        return set(self.undecided)

    def _content(self, message: Any) -> tuple[dict[str, Held], set[str]]:
        new = dict(read_any(message.type_url, resource.value) for resource in message.resources)
        whole = message.type_url in (CLUSTER, LISTENER)
        return new, set(self.held[message.type_url]) - set(new) if whole else set()

    def _took(self, message: Any) -> None:
        self.versions[message.type_url] = message.version_info
        if message.type_url in self.taken:
            self.taken[message.type_url] = names_of_state(message)


def read_any(type_url: str, value: bytes) -> tuple[str, Held]:
    """Read a resource that comes without its name and version beside it."""
    if value.startswith(b"{"):
        payload = json.loads(value)
        refs = frozenset((kind, name) for kind, name in payload["refs"])
        version = Encoded.of_payload(type_url, payload["name"], value).version
        return payload["name"], Held(version, refs, payload["bad"], payload["atomic"])
    # Nothing but field 1, the name: there is no such resource.
    assert type_url in (ENDPOINT, ROUTE), f"nothing may be empty among {type_url}"
    assert value[0] == 0x0A
    assert value[1] == len(value) - 2
    return value[2:].decode(), Held("", frozenset(), "", False)


def names_of_state(message: Any) -> set[str]:
    return {read_any(message.type_url, resource.value)[0] for resource in message.resources}


def versions_in(message: Any) -> set[str]:
    """Return the versions that a response of either protocol carries."""
    values = [getattr(item, "resource", item).value for item in message.resources]
    return {read_any(message.type_url, value)[1].version for value in values}

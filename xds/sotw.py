"""State-of-the-world ADS: a request says all that the client wants of a type, a response all there is, or some of it.

Clusters and listeners come whole: what a response leaves out is removed. So whatever is not to change yet is said again
as the client holds it (old ∪ new first, then new), and a response waits while that is not known. Of the other types a
response carries what changed, and its version tells all that the client holds of the type (`xds.holding`). Nothing can
be said to be absent: an empty assignment or route configuration takes its place, and what needs a missing secret is
held back (`xds.due`).

Source of the rules: Envoy, "xDS REST and gRPC protocol", section "The state of the world variants".
"""

import sys
from collections.abc import Mapping
from typing import Final

from dragoman.codec import CLUSTER, ENDPOINT, LISTENER, ROUTE
from xds.delivery import Delivery, Held, Unsure, at_hand
from xds.due import Due
from xds.event import Event, Response, Stale, Subscribed
from xds.holding import UNKNOWN, certain_lanes, lane, version_of
from xds.order import WHOLE, WILDCARD_BY_DEFAULT
from xds.push import Push, encode_state, find_state
from xds.request import SotwRequest
from xds.resource import Resource
from xds.stream import Stream
from xds.subscription import WILDCARD, Names
from xds.view import View

ASKS_WITHIN: Final = 2.0
"""Seconds in which a client that reconnects has asked for all that it has. Envoy does so at once."""

MANY: Final = 1000
"""Names that a response leaves open from which on its version is not worth the work: others follow at once."""


class SotwStream(Stream[SotwRequest]):
    """One state-of-the-world stream."""

    state_of_the_world = True

    def receive(self, request: SotwRequest, now: float) -> list[Event]:
        """Take a request. What it says about a response that is not the latest is void, its names included."""
        delivery, first = self._delivery(request.type_url)
        if first:
            # A nonce would be one of a former stream.
            return [self._open(delivery, request, now)]
        events: list[Event] = []
        if request.nonce and request.nonce != delivery.sent_nonce:
            if request.names or request.type_url in WHOLE:
                # Another request follows, to the latest response, and names what the client wants by then.
                return [Stale(request.type_url, request.nonce)]
            # None follows from a client that wants nothing of the type.
        elif request.nonce and delivery.inflight is not None:
            # Until it has taken one whole state it may have things that nobody knows of, and keeps them with a NACK.
            untold = request.type_url in WHOLE and not delivery.acked_nonce and bool(delivery.inflight.resources)
            events.append(self._answer(delivery, request, now))
            delivery.answer_due |= untold and request.error is not None
        subscribe, unsubscribe = _difference(delivery, request)
        if not request.nonce and delivery.sent_nonce and delivery.inflight is None:
            # It took a response and knows nothing of it: it begins anew. Before the first one it may just want more.
            for name in delivery.subscription.names.values:
                if self._client.served(delivery.type_url, name) is not None:
                    self._client.again(delivery, name)
            delivery.answer_due = True
        if unsubscribe and request.type_url not in WHOLE:
            delivery.stale = True
        if subscribe or unsubscribe:
            self._subscribe(delivery, subscribe, unsubscribe, first=False)
            self._await_no_answer(delivery)
            events.append(Subscribed(request.type_url, subscribe, unsubscribe, 0))
        return events

    def _open(self, delivery: Delivery, request: SotwRequest, now: float) -> Event:
        subscribe, _ = _difference(delivery, request)
        known = self._known(delivery, request)
        if delivery.type_url == CLUSTER and any(isinstance(held, Unsure) for held in known.values()):
            delivery.unknown_since = now
        self._subscribe(delivery, subscribe, (), known, first=True)
        if request.version and delivery.type_url == ENDPOINT:
            self._answer_missing_endpoints(delivery)
        # That it let go of everything just before its stream was lost, nobody heard.
        delivery.stale = not delivery.subscription and request.version not in ("", version_of(0))
        # Even if there is no news: a client may wait for it.
        delivery.answer_due = True
        return Subscribed(request.type_url, subscribe, (), len(known))

    def _known(self, delivery: Delivery, request: SotwRequest) -> Mapping[str, Held]:
        """Return what a client holds that took a response with this version on a former stream."""
        if not request.version:
            return {}
        type_url, views = delivery.type_url, self._client.views
        unsure = Unsure(frozenset((request.version,)), None)
        if type_url not in WHOLE:
            wildcard = WILDCARD in request.names
            names = self._covered(type_url, Names.of(frozenset(request.names) - {WILDCARD}), wildcard=wildcard)
            certain = certain_lanes(request.version, sum(view.holding(type_url, names) for view in views))
            return {
                name: self._client.served(type_url, name) if lane(name) in certain else unsure for name in names.values
            }
        state = find_state(type_url, request.version)
        if state is None:
            # Not of this process, but if nothing changed it is what is served now.
            served = tuple(resource for view in views for resource in view.table(type_url).values())
            if self._encode(type_url, served).version != request.version:
                return {resource.name: unsure for resource in served}
            state = served
        return {resource.name: resource for resource in state}

    def _answer_missing_endpoints(self, delivery: Delivery) -> None:
        """Answer names that a served cluster warms on, though the client may hold them.

        Of others there is no news: what was removed from the views serves on until the client lets go of it.
        """
        missing = [name for name in delivery.behind if self._client.served(ENDPOINT, name) is None]
        if missing:
            clusters = (cluster for view in self._client.views for cluster in view.table(CLUSTER).values())
            needed = frozenset().union(*(cluster.refs for cluster in clusters))
            delivery.resend.update(name for name in missing if (ENDPOINT, name) in needed)

    # -- out --------------------------------------------------------------------------------------------------------

    def next_response(self, now: float) -> Response | None:
        """Return the next response to be written, or None if nothing may be sent now (see `deadline`)."""
        response = super().next_response(now)
        clusters = self._client.types.get(CLUSTER)
        if response is not None or clusters is None or clusters.unknown_since is None or not self._stuck():
            return response
        clusters.unknown_since = None
        return super().next_response(now)

    def _stuck(self) -> bool:
        """Whether what refers to clusters can be updated no further without them."""
        users = [delivery for kind in (LISTENER, ROUTE) if (delivery := self._client.types.get(kind)) is not None]
        return any(user.waits for user in users) and all(
            user.inflight is None and user.waits.keys() >= user.behind.keys() for user in users
        )

    def _limit(self, delivery: Delivery) -> int:
        return sys.maxsize if delivery.type_url in WHOLE else self._chunk

    def _push(self, delivery: Delivery, sendable: Due, now: float) -> tuple[View | None, Push | None]:
        view, push = self._say(delivery, sendable, now)
        if push is not None and push.nonce == delivery.sent_nonce:
            # A request for more that crosses it bears the nonce of the one before, and would pass for its ACK.
            push = encode_state(push.type_url, push.state, push.resources, push.removed, push.version)
        return view, push

    def _say(self, delivery: Delivery, sendable: Due, now: float) -> tuple[View | None, Push | None]:
        removed = tuple(sorted(sendable.removed + sendable.absent))
        answer = delivery.answer_due and not sendable.later
        if delivery.unknown_since is not None:
            until = self._others_first(delivery.unknown_since)
            if now < until:
                sendable.not_before(until)
                return None, None
            delivery.unknown_since = None
        if delivery.type_url in WHOLE:
            if (held_up := self._stale_until(now)) is not None:
                sendable.not_before(held_up)
                return None, None
            if (sendable.updates or removed or answer) and self._complete(delivery, sendable):
                updates = sorted((r for group in sendable.updates.values() for r in group), key=lambda r: r.name)
                return None, self._encode(
                    delivery.type_url, self._state(delivery, updates, removed), tuple(updates), removed
                )
            return None, None
        for view, resources in sendable.updates.items():
            version = self._version(delivery, resources, removed)
            return view, view.push_state(delivery.type_url, resources, resources, removed, version)
        if removed or answer or delivery.stale:
            return None, encode_state(delivery.type_url, (), (), removed, self._version(delivery, (), removed))
        return None, None

    def _respond(self, delivery: Delivery, sendable: Due, now: float) -> Response | None:
        response = super()._respond(delivery, sendable, now)
        self._await_no_answer(delivery)
        return response

    def _await_no_answer(self, delivery: Delivery) -> None:
        """A client that wants nothing of a type takes note of a response and says nothing (Envoy: grpc_mux_impl.cc)."""
        if not delivery.subscription and delivery.type_url not in WHOLE:
            delivery.inflight = None

    def _stale_until(self, now: float) -> float | None:
        """Return until when a new cluster or listener waits for a response to what the client let go of; None if it
        does not have to.

        Were the client to ask for such a name again and then to lose its stream, the version that it tells would say
        that it holds what it has dropped. Responses are processed in order.
        """
        stale = [delivery for delivery in self._client.types.values() if delivery.stale]
        until = max((now if d.sent_at is None else d.sent_at for d in stale), default=now) + self._client.patience.wait
        return until if stale and now < until else None

    def _version(self, delivery: Delivery, resources: tuple[Resource, ...], removed: tuple[str, ...]) -> str:
        """Return the version of a response that carries some resources: it tells what the client holds after it."""
        # What was found to be good on the way may have changed what is served.
        self._client.read_logs()
        type_url, views, behind = delivery.type_url, self._client.views, delivery.behind
        if len(behind) > len(resources) + len(removed) + MANY:
            return UNKNOWN
        names = self._covered(type_url, delivery.subscription.names, wildcard=delivery.subscription.wildcard)
        total = sum(view.holding(type_url, names) for view in views)
        for table in [view.table(type_url) for view in views]:
            total -= sum(table[name].mark for name in behind if name in table)
        total += sum(resource.mark for resource in resources)
        said = {*removed, *(resource.name for resource in resources)}
        for name, held in (*behind.items(), *delivery.kept.items()):
            if held is not None and name not in said:
                if isinstance(held, Unsure):
                    return UNKNOWN
                total += held.mark
        return version_of(total)

    def _covered(self, type_url: str, names: Names, *, wildcard: bool) -> Names:
        """Return all names that a client wants."""
        if not wildcard:
            return names
        return names.changed(add=(name for view in self._client.views for name in view.table(type_url)))

    def _others_first(self, since: float) -> float:
        """Return until when to say nothing of clusters, while what may refer to those that went is updated.

        After a restart of the control plane the version of the client's state says nothing, and the bytes of what was
        removed meanwhile are gone. But the endpoints that the client subscribes tell its clusters. Nobody waits for the
        answer: a client that had one serves. Only what needs a new cluster cannot be updated before.
        """
        types = self._client.types
        if not {ENDPOINT, LISTENER, ROUTE} <= types.keys():
            return since + ASKS_WITHIN
        served = (cluster for view in self._client.views for cluster in view.table(CLUSTER).values())
        needed = {name for cluster in served for kind, name in cluster.refs if kind == ENDPOINT}
        if types[ENDPOINT].subscription.names.values <= needed:
            return since
        return since + self._client.patience.lingers(CLUSTER)

    def _complete(self, delivery: Delivery, sendable: Due) -> bool:
        """Whether all that is to stay can be said. If not, that what cannot comes later by itself."""
        return all((held := delivery.behind.get(name)) is None or at_hand(held) is not None for name in sendable.later)

    def _state(self, delivery: Delivery, updates: list[Resource], removed: tuple[str, ...]) -> tuple[Resource, ...]:
        """Return what the client shall hold next: what is served, but of names whose turn it is not, what it holds."""
        state: dict[str, Resource] = {}
        subscription = delivery.subscription
        for view in self._client.views:
            table = view.table(delivery.type_url)
            if subscription.wildcard:
                state.update(table)
            else:
                state.update((name, table[name]) for name in subscription.names.values if name in table)
        turn = {*(resource.name for resource in updates), *removed}
        for name, held in delivery.behind.items():
            if name in turn:
                continue
            if (stays := at_hand(held)) is None:
                state.pop(name, None)
            else:
                state[name] = stays
        return tuple(state.values())

    def _encode(
        self,
        type_url: str,
        state: tuple[Resource, ...],
        updates: tuple[Resource, ...] = (),
        removed: tuple[str, ...] = (),
    ) -> Push:
        # Proxies of one class have all views in common: the first is as good a place as any to share what spans all.
        for view in self._client.views[:1]:
            return view.push_state(type_url, state, updates, removed)
        return encode_state(type_url, state, updates, removed)


def _difference(delivery: Delivery, request: SotwRequest) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return what the client wants newly and what no more; notes whether it has ever named anything.

    Naming nothing means everything (clusters, listeners) only as long as nothing was ever named; then it means nothing
    (xDS protocol, "How the client specifies what resources to return").
    """
    subscription = delivery.subscription
    named = frozenset(request.names)
    subscription.explicit |= bool(named)
    wildcard = WILDCARD in named or (not subscription.explicit and delivery.type_url in WILDCARD_BY_DEFAULT)
    names = named - {WILDCARD}
    old = subscription.names.values
    subscribe, unsubscribe = sorted(names - old), sorted(old - names)
    if wildcard and not subscription.wildcard:
        subscribe.append(WILDCARD)
    elif subscription.wildcard and not wildcard:
        unsubscribe.append(WILDCARD)
    return tuple(subscribe), tuple(unsubscribe)

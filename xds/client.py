"""What one connected client holds of everything its views serve, and what it may be sent next.

Wire formats are the business of the stream machines: this is the state they share.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from dragoman.codec import CLUSTER, ENDPOINT, LISTENER, ROUTE, Ref
from xds.delivery import NOTHING, Delivery, Held, Removal, Unsure, versions_of, without
from xds.order import ALONE, AWAITS, REFERRERS, Patience
from xds.push import Push
from xds.resource import Resource
from xds.view import View


@dataclass(slots=True)
class Due:
    """What a client may be sent of one type now."""

    updates: dict[View, list[Resource]] = field(default_factory=dict)
    removed: list[str] = field(default_factory=list)
    overdue: list[str] = field(default_factory=list)
    """Names among them whose wait was given up."""
    probe: tuple[str, ...] = ()
    """The group of suspects these updates are."""
    deadline: float | None = None
    """When more may be due without anything else happening."""

    def not_before(self, when: float) -> None:
        self.deadline = when if self.deadline is None else min(self.deadline, when)


@dataclass(slots=True)
class Uses:
    """Names of one type that a client still needs."""

    replaced: set[str] = field(default_factory=set)
    """Because something refers to them that the client holds until an update is ACKed."""
    removed: set[str] = field(default_factory=set)
    """Because something refers to them that is to be removed first."""
    unknown: bool = False
    """Something refers to nobody knows what: any name may be needed."""

    def add(self, names: set[str], type_url: str, refs: frozenset[Ref] | None) -> None:
        if refs is None:
            self.unknown = True
        else:
            names.update(name for kind, name in refs if kind == type_url)


@dataclass(frozen=True, slots=True)
class Warming:
    """A listener that was ACKed while its routes are missing: the one before it serves on until they are there."""

    listener: Resource
    routes: frozenset[Ref]
    before: frozenset[Ref] | None
    """What the one before refers to; None if that is not known."""


class Client:
    """Delivery state of all types of one stream, over several views whose names are disjoint."""

    def __init__(self, proxy: str, patience: Patience, on_change: Callable[[], None] | None = None) -> None:
        self.proxy = proxy
        self.patience = patience
        self.views: tuple[View, ...] = ()
        self.types: dict[str, Delivery] = {}
        self._on_change = on_change
        self._positions: dict[tuple[View, str], int] = {}
        # Endpoints of changed clusters that the client has not subscribed yet on this stream.
        self._owed: set[str] = set()
        self._warming: dict[str, Warming] = {}

    # -- views ------------------------------------------------------------------------------------------------------

    def set_views(self, views: tuple[View, ...]) -> None:
        """Deliver these views from now on; what the client holds of others is replaced or removed."""
        for delivery in self.types.values():
            self.read_log(delivery)
        gone = [view for view in self.views if view not in views]
        new = [view for view in views if view not in self.views]
        for view in gone:
            view.unfollow(self)
            for delivery in self.types.values():
                self._positions.pop((view, delivery.type_url), None)
                for name, resource in view.table(delivery.type_url).items():
                    if name in delivery.subscription:
                        delivery.behind.setdefault(name, resource)
        self.views = views
        for view in new:
            view.follow(self)
            for delivery in self.types.values():
                self._positions[view, delivery.type_url] = view.head(delivery.type_url)
                for name in view.table(delivery.type_url):
                    if name in delivery.subscription:
                        delivery.behind.setdefault(name, None)

    def close(self) -> None:
        """The client is gone."""
        for view in self.views:
            view.unfollow(self)
        self.views = ()

    def view_changed(self, view: View) -> None:
        if self._on_change is not None:
            self._on_change()

    def catch_up(self, view: View) -> None:
        for delivery in self.types.values():
            self.read_log(delivery)

    def read_log(self, delivery: Delivery) -> None:
        """Note what changed in the views since the client was last looked at; costs what changed."""
        for view in self.views:
            key = (view, delivery.type_url)
            head = view.head(delivery.type_url)
            position = self._positions.setdefault(key, head)
            if position == head:
                continue
            for name, before in view.since(delivery.type_url, position):
                if name in delivery.subscription:
                    delivery.behind.setdefault(name, before)
            self._positions[key] = head

    def find(self, type_url: str, name: str) -> tuple[View, Resource] | None:
        """Return what is served to this client under a name, and by which view."""
        ref = (type_url, name)
        for view in self.views:
            resource = view.get(ref)
            if resource is not None:
                return view, resource
        return None

    def served(self, type_url: str, name: str) -> Resource | None:
        found = self.find(type_url, name)
        return None if found is None else found[1]

    # -- subscriptions ----------------------------------------------------------------------------------------------

    def open(self, type_url: str) -> Delivery:
        """Begin to deliver a type."""
        delivery = self.types[type_url] = Delivery(type_url)
        for view in self.views:
            self._positions[view, type_url] = view.head(type_url)
        return delivery

    def want(self, delivery: Delivery, name: str, known: str | None) -> None:
        """The client newly wants a name, of which it holds version `known` (None: nothing)."""
        owed = delivery.type_url == ENDPOINT and name in self._owed
        held: Held = None
        if known is not None:
            served = self.served(delivery.type_url, name)
            if served is not None and served.version == known:
                # It was ACKed to another stream or control plane.
                self._vouch(served)
                if not owed:
                    return
                held = served
            else:
                held = Unsure(frozenset((known,)), None)
        delivery.behind.setdefault(name, held)
        if owed:
            self._owed.discard(name)
            delivery.resend.add(name)

    def again(self, delivery: Delivery, name: str) -> None:
        """The client asks for a name it should hold: it is sent once more."""
        delivery.behind.setdefault(name, self.served(delivery.type_url, name))
        delivery.resend.add(name)

    # -- what may be sent -------------------------------------------------------------------------------------------

    def due(self, delivery: Delivery, now: float, limit: int) -> Due:
        """Return what of this type the client may be sent now, of about `limit` bytes."""
        suspected: set[str] = set()
        waiting: list[Due] = []
        for group in list(delivery.suspects):
            due = self._collect(delivery, [name for name in group if name in delivery.behind], now, limit)
            if due.updates:
                due.probe = group
                return due
            if due.deadline is None:
                delivery.suspects.remove(group)
            else:
                suspected.update(group)
                waiting.append(due)
        due = self._collect(delivery, [name for name in delivery.behind if name not in suspected], now, limit)
        for other in waiting:
            if other.deadline is not None:
                due.not_before(other.deadline)
        return due

    def _collect(self, delivery: Delivery, names: Iterable[str], now: float, limit: int) -> Due:
        due = Due()
        in_use: Uses | None = None
        size = 0
        gated = self._gated(delivery.type_url)
        for name in names:
            held = delivery.behind[name]
            found = self.find(delivery.type_url, name)
            if found is None:
                if held is None or name in delivery.resend:
                    # An answer is owed, and that there is nothing is one.
                    if name in delivery.subscription.names.values:
                        due.removed.append(name)
                    else:
                        delivery.in_sync(name)
                    continue
                if any(view.withheld((delivery.type_url, name)) for view in self.views):
                    # Wanted, but rejected: what the client has is better than nothing.
                    continue
                if in_use is None:
                    in_use = self._in_use(delivery.type_url)
                if self._may_go(delivery, name, in_use, now, due):
                    due.removed.append(name)
                continue
            delivery.removals.pop(name, None)
            view, resource = found
            if name not in delivery.resend and versions_of(held) == {resource.version}:
                delivery.in_sync(name)
                continue
            refusal = delivery.refused.get(name)
            if refusal is not None:
                if refusal[0] == resource.version:
                    continue
                del delivery.refused[name]
            if gated and not self._may_come(delivery, resource, now, due):
                continue
            if size and (size + resource.size > limit or delivery.type_url in ALONE):
                break
            size += resource.size
            due.updates.setdefault(view, []).append(resource)
        return due

    def _gated(self, type_url: str) -> bool:
        """Whether anything of this type may have to wait: O(1) when all that it can refer to is in sync."""
        awaited = AWAITS.get(type_url, ())
        return any(other in self.types and self.types[other].behind for other in awaited)

    def _may_come(self, delivery: Delivery, resource: Resource, now: float, due: Due) -> bool:
        awaited = AWAITS[delivery.type_url]
        blocker, for_ever = None, False
        for ref in resource.refs:
            if ref[0] in awaited and (state := self._undelivered(ref)) is not None:
                blocker, for_ever = ref, for_ever or state
        if blocker is None:
            delivery.waits.pop(resource.name, None)
            return True
        delivery.waits_for = blocker
        since = delivery.waits.setdefault(resource.name, now)
        if for_ever:
            return False
        if now >= since + self.patience.wait:
            due.overdue.append(resource.name)
            return True
        due.not_before(since + self.patience.wait)
        return False

    def _undelivered(self, ref: Ref) -> bool | None:
        """Return None if the client has ACKed what is served under `ref`, else whether it never will.

        What no view serves, or what the client did not subscribe, cannot be waited for.
        """
        other = self.types.get(ref[0])
        if other is None or ref[1] not in other.behind:
            return None
        served = self.served(*ref)
        if served is None:
            return None
        held = other.behind[ref[1]]
        refusal = other.refused.get(ref[1])
        if refusal is not None and refusal[0] == served.version:
            return True if held is None else None
        if ref[1] not in other.resend and versions_of(held) == {served.version}:
            return None
        return False

    def _in_use(self, type_url: str) -> Uses:
        """Return what refers to names of this type: things the client holds that are to be replaced or removed.

        What it holds and shall keep is served by the views, whose content refers to what they serve.
        """
        uses = Uses()
        for referrer in REFERRERS.get(type_url, ()):
            other = self.types.get(referrer)
            if other is None:
                continue
            for name, refs in other.held_refs():
                removal = other.removals.get(name)
                if removal is None:
                    uses.add(uses.replaced, type_url, refs)
                elif referrer != ROUTE or removal.free_since is None:
                    uses.add(uses.removed, type_url, refs)
                # Else no listener uses the route, so it uses nothing: its clusters need not wait until it has gone.
            if referrer == LISTENER:
                for refs in self._still_warming():
                    uses.add(uses.replaced, type_url, refs)
        return uses

    def _still_warming(self) -> list[frozenset[Ref] | None]:
        """Return what the predecessors of warming listeners refer to.

        Envoy ACKs a listener while it still waits for its routes; until they are there the one before serves on.
        """
        self._warmed()
        return [warming.before for warming in self._warming.values()]

    def _warmed(self) -> None:
        """Listeners whose routes are there have taken over: only now are they known to be good."""
        for name, warming in list(self._warming.items()):
            if all(self._settled(route) for route in warming.routes):
                del self._warming[name]
                self._took_over(warming.listener, warming.routes)

    def _took_over(self, listener: Resource, routes: frozenset[Ref]) -> None:
        # A listener whose routes are gone by now waits for nothing, but was not seen to work either.
        if all(self.served(*route) is not None for route in routes):
            self._vouch(listener)

    def _vouch(self, resource: Resource) -> None:
        for view in self.views:
            if view.get(resource.ref) is not None:
                view.vouch(resource)

    def _settled(self, ref: Ref) -> bool:
        """Whether the client has what is served under `ref`, or nothing is wanted there."""
        if self.served(*ref) is None:
            return not any(view.withheld(ref) for view in self.views)
        other = self.types.get(ref[0])
        return other is not None and ref[1] in other.subscription and ref[1] not in other.behind

    def _may_go(self, delivery: Delivery, name: str, uses: Uses, now: float, due: Due) -> bool:
        removal = delivery.removals.setdefault(name, Removal(now))
        if name in uses.removed:
            # It goes after what refers to it, which has its own deadline.
            removal.since, removal.free_since = now, None
            return False
        if uses.unknown or name in uses.replaced:
            removal.free_since = None
            if now < removal.since + self.patience.wait:
                due.not_before(removal.since + self.patience.wait)
                return False
            if not removal.overdue:
                removal.overdue = True
                due.overdue.append(name)
        if removal.free_since is None:
            removal.free_since = now
        end = removal.free_since + self.patience.lingers(delivery.type_url)
        if removal.overdue or now >= end:
            return True
        due.not_before(end)
        return False

    # -- what became of it ------------------------------------------------------------------------------------------

    def sent(self, delivery: Delivery, push: Push, view: View | None, probe: tuple[str, ...], now: float) -> None:
        """A response was handed to the client."""
        delivery.inflight, delivery.inflight_view, delivery.probe = push, view, probe
        if probe:
            delivery.suspects.remove(probe)
        delivery.sent_at, delivery.sent_nonce = now, push.nonce
        delivery.counters.sent += 1
        delivery.answer_due = False
        delivery.resend.difference_update(push.removed)
        for resource in push.resources:
            delivery.resend.discard(resource.name)
            delivery.waits.pop(resource.name, None)
        if delivery.type_url == CLUSTER:
            self._owe_endpoints(delivery, push)

    def _owe_endpoints(self, delivery: Delivery, push: Push) -> None:
        """Send the endpoints of these clusters once more, even if unchanged.

        A changed EDS cluster warms anew, Envoy does not subscribe its endpoints again, and withholds the ACK of this
        and of all later cluster updates until they come (envoyproxy/envoy issue 13009).
        """
        endpoints = self.types.get(ENDPOINT)
        for resource in push.resources:
            for type_url, name in resource.refs:
                if type_url != ENDPOINT:
                    continue
                if endpoints is not None and name in endpoints.subscription:
                    self.again(endpoints, name)
                elif delivery.behind.get(resource.name) is not None:
                    self._owed.add(name)

    def acked(self, delivery: Delivery, now: float) -> Push:
        """The client took the response in flight."""
        push = self._landed(delivery)
        delivery.counters.acked += 1
        delivery.acked_at, delivery.acked_nonce = now, push.nonce
        for resource in push.resources:
            if resource.name not in delivery.subscription:
                continue
            if delivery.type_url == LISTENER:
                self._warms(delivery, resource)
            if self.served(delivery.type_url, resource.name) is resource and resource.name not in delivery.resend:
                delivery.in_sync(resource.name)
            else:
                delivery.behind[resource.name] = resource
        if delivery.type_url == ROUTE:
            self._warmed()
        if delivery.type_url != LISTENER and delivery.inflight_view is not None:
            delivery.inflight_view.accept(push)
        delivery.shrink(len(push.resources))
        return push

    def _warms(self, delivery: Delivery, listener: Resource) -> None:
        """Note that a listener was ACKed: it warms while its routes are missing, else it has taken over."""
        routes = frozenset(ref for ref in listener.refs if ref[0] == ROUTE)
        earlier = self._warming.pop(listener.name, None)
        held = delivery.behind.get(listener.name)
        if all(self._settled(route) for route in routes):
            self._took_over(listener, routes)
            return
        before = frozenset() if held is None else held.refs
        if earlier is not None:
            # The one before never took over either: which of them serves is not known.
            before = None if before is None or earlier.before is None else before | earlier.before
        self._warming[listener.name] = Warming(listener, routes, before)

    def nacked(self, delivery: Delivery, culprits: frozenset[str], message: str, now: float) -> Push:
        """The client rejected the response in flight because of `culprits` (empty: nobody knows).

        A NACK is not atomic: Envoy may have applied all, some or none of the other resources, so their versions are
        forgotten and they are sent again; of a culprit it keeps what it had.
        """
        push = self._landed(delivery)
        delivery.counters.rejected += 1
        delivery.last_error = message
        innocent = [resource for resource in push.resources if resource.name not in culprits]
        for resource in push.resources:
            if resource.name not in delivery.subscription:
                continue
            before = delivery.behind.get(resource.name)
            if resource.name in culprits:
                delivery.behind[resource.name] = without(before, resource.version)
                continue
            refs = resource.refs if before is None else None if before.refs is None else before.refs | resource.refs
            # Of the versions before, nothing is one.
            delivery.behind[resource.name] = Unsure(
                frozenset((resource.version,)) | (versions_of(before) or {NOTHING}), refs
            )
        if not culprits:
            half = (len(innocent) + 1) // 2
            groups = (innocent[:half], innocent[half:])
            delivery.suspects[:0] = [tuple(resource.name for resource in group) for group in groups if group]
        for resource in push.resources:
            if resource.name in culprits and not self._condemn(resource, message):
                delivery.refused[resource.name] = (resource.version, message)
        return push

    def _condemn(self, resource: Resource, message: str) -> bool:
        for view in self.views:
            if view.wanted(resource.ref) is not None or view.get(resource.ref) is not None:
                return view.reject(resource, message, self.proxy)
        return True

    def _landed(self, delivery: Delivery) -> Push:
        push = delivery.inflight
        assert push is not None, "nothing is in flight"  # noqa: S101 - checked by the stream machines
        delivery.inflight = None
        for name in push.removed:
            if delivery.type_url == LISTENER:
                self._warming.pop(name, None)
            # A removal cannot be rejected. The name may have come back meanwhile: then the client lacks it.
            served = self.served(delivery.type_url, name)
            if name not in delivery.subscription or (served is None and name not in delivery.resend):
                delivery.forget(name)
            else:
                delivery.removals.pop(name, None)
                delivery.behind[name] = None
        return push

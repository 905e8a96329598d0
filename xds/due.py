"""What a client may be sent of a type now: what must wait, what may go, what is left out.

The order of types and the waits are the tables of `xds.order`; here they are applied to what one client holds.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from math import inf
from operator import attrgetter
from typing import Final

from dragoman.codec import CLUSTER, ENDPOINT, LISTENER, ROUTE, SECRET, Ref
from xds.client import Client
from xds.delivery import NOTHING, Delivery, Held, Removal, Unsure, at_hand, is_version, versions_of
from xds.order import ALONE, AWAITS, KEPT, REFERRERS, WHOLE
from xds.resource import Resource
from xds.view import View

WARMING: Final = 1.0
"""Seconds after which a cluster response without ACK is taken to warm. One that waits for nothing takes some ms."""


_BY_NAME: Final = attrgetter("name")


@dataclass(slots=True)
class Due:
    """What a client may be sent of one type now."""

    updates: dict[View, tuple[Resource, ...]] = field(default_factory=dict)
    """In the order of names."""
    removed: list[str] = field(default_factory=list)
    absent: list[str] = field(default_factory=list)
    """Names that were asked for and that nothing is behind: an answer is owed."""
    later: list[str] = field(default_factory=list)
    """Updates that wait for something that is on its way, or for their deadline."""
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
    kept: set[str] = field(default_factory=set)
    """Because something refers to them that the client holds as long as nothing better than what it rejects comes."""
    unknown: bool = False
    """Something refers to nobody knows what: any name may be needed."""

    def add(self, names: set[str], type_url: str, refs: frozenset[Ref] | None) -> None:
        if refs is None:
            self.unknown = True
        else:
            names.update(name for kind, name in refs if kind == type_url)


def due(client: Client, delivery: Delivery, now: float, limit: int) -> Due:
    """Return what of this type the client may be sent now, of about `limit` bytes."""
    gated = _gated(client, delivery.type_url)
    if not gated and _plain(client, delivery):
        return _fresh(client, delivery, limit) or _remembered(client, delivery, now, limit)
    suspected: set[str] = set()
    waiting: list[Due] = []
    for group in list(delivery.suspects):
        names = [name for name in group if name in delivery.behind]
        due = _collect(client, delivery, names, now, limit, gated=gated)
        if due.updates:
            due.probe = group
            return due
        if due.deadline is None:
            delivery.suspects.remove(group)
        else:
            suspected.update(group)
            waiting.append(due)
    # A copy, as names that turn out to be in sync are dropped on the way.
    names = [name for name in delivery.behind if name not in suspected] if suspected else list(delivery.behind)
    due = _collect(client, delivery, names, now, limit, gated=gated)
    for other in waiting:
        if other.deadline is not None:
            due.not_before(other.deadline)
        due.later.extend(other.later)
    return due


def _plain(client: Client, delivery: Delivery) -> bool:
    """Whether nothing but what the client holds decides what it is sent, of a type that has nothing to wait for."""
    exceptions = delivery.suspects or delivery.resend or delivery.refused or delivery.removals or delivery.waits
    return not (exceptions or client.state_of_the_world)


def _fresh(client: Client, delivery: Delivery, limit: int) -> Due | None:
    if next(iter(delivery.behind.values()), None) is not None:
        return None
    for view in client.views:
        batch = view.fresh.find(delivery.type_url, delivery.behind, limit)
        if batch is not None:
            return Due({view: batch.resources})
    return None


def _remembered(client: Client, delivery: Delivery, now: float, limit: int) -> Due:
    due = _collect(client, delivery, list(delivery.behind), now, limit, gated=False)
    for view, resources in due.updates.items():
        view.fresh.keep(delivery.type_url, delivery.behind, limit, resources)
    return due


def _collect(client: Client, delivery: Delivery, names: Iterable[str], now: float, limit: int, *, gated: bool) -> Due:
    due = Due()
    updates: dict[View, list[Resource]] = {}
    gone: list[str] = []
    size = 0
    tables = [(view, view.table(delivery.type_url)) for view in client.views]
    for name in names:
        for view, table in tables:  # noqa: B007 - the one that broke the loop is used after it
            resource = table.get(name)
            if resource is not None:
                break
        else:
            gone.append(name)
            delivery.waits.pop(name, None)
            delivery.lacking.discard(name)
            continue
        if delivery.removals:
            delivery.removals.pop(name, None)
        held = delivery.behind[name]
        if held is not None and name not in delivery.resend and is_version(held, resource.version):
            if not client.dangles(resource):
                client.found(resource, held)
                delivery.in_sync(name)
                continue
            # Nothing may begin to use it before its clusters are there.
            delivery.resend.add(name)
        if name in delivery.refused:
            if delivery.refused[name][0] == resource.version:
                continue
            del delivery.refused[name]
        if client.state_of_the_world and (missing := _missing_secret(client, resource)) is not None:
            delivery.waits_for = missing
            # The time that it may wait for an ACK begins when the secret is there.
            delivery.waits[name] = now
            delivery.lacking.add(name)
            continue
        if delivery.lacking:
            delivery.lacking.discard(name)
        if gated and not _may_come(client, delivery, resource, now, due):
            continue
        if size and (size + resource.size > limit or delivery.type_url in ALONE):
            break
        size += resource.size
        updates.setdefault(view, []).append(resource)
    due.updates = {view: tuple(sorted(found, key=_BY_NAME)) for view, found in updates.items()}
    if gone:
        _collect_gone(client, delivery, gone, now, due)
    return due


def _collect_gone(client: Client, delivery: Delivery, names: list[str], now: float, due: Due) -> None:
    """Add the removals: of names that no view serves."""
    in_use: Uses | None = None
    for name in names:
        held = delivery.behind[name]
        # A cluster or listener that the client has and asks for once more is answered by its removal, in due time.
        if held is None or (name in delivery.resend and delivery.type_url not in WHOLE):
            # An answer is owed, and that there is nothing is one.
            if held is None and name not in delivery.subscription.names.values:
                delivery.in_sync(name)
            elif not (client.state_of_the_world and delivery.type_url == ROUTE):
                due.absent.append(name)
            elif held is not None:
                # An empty route configuration would be one to Envoy: what uses this one would use that.
                _let_go(delivery, name, now, due)
            elif _withheld(client, delivery, name):
                # So would the listener that asks for it and waits.
                delivery.resend.discard(name)
                delivery.in_sync(name)
            else:
                due.absent.append(name)
            continue
        if isinstance(held, Unsure) and (since := _warming_since(client, delivery, name)) is not None:
            if now < since + WARMING:
                due.not_before(since + WARMING)
            else:
                due.absent.append(name)
            continue
        if _withheld(client, delivery, name):
            # Wanted, but rejected: what the client has is better than nothing.
            if delivery.type_url in KEPT and not client.state_of_the_world and NOTHING in versions_of(held):
                # If that is nothing it waits for an answer, and if not it ignores this one.
                due.absent.append(name)
            continue
        if in_use is None:
            in_use = _in_use(client, delivery.type_url)
        if not _may_go(client, delivery, name, in_use, now, due):
            continue
        if client.state_of_the_world and delivery.type_url not in WHOLE:
            # It cannot be told, and drops the name itself once nothing of its own refers to it.
            _let_go(delivery, name, now, due)
        else:
            due.removed.append(name)


def _let_go(delivery: Delivery, name: str, now: float, due: Due) -> None:
    """Take a name as gone without a word; what it referred to was looked at before and may go now."""
    delivery.removed(name)
    due.not_before(now)


def _warming_since(client: Client, delivery: Delivery, name: str) -> float | None:
    """Return since when the ACK of a cluster with these endpoints is awaited, if that can be for want of them.

    A client that reconnects does not say whether it ever got endpoints. In the state of the world a cluster that is to
    go is said again meanwhile, and if it warms, Envoy withholds the ACK until its endpoints are answered; what warms
    since the stream before keeps it from asking for clusters at all.
    """
    if not client.state_of_the_world or delivery.type_url != ENDPOINT:
        return None
    if client.asks_for_clusters_later:
        return -inf
    clusters = client.types.get(CLUSTER)
    if clusters is None or clusters.inflight is None:
        return None
    needed = any((ENDPOINT, name) in cluster.refs for cluster in clusters.inflight.state)
    return clusters.sent_at if needed else None


def _withheld(client: Client, delivery: Delivery, name: str) -> bool:
    return any(view.withheld((delivery.type_url, name)) for view in client.views)


def _gated(client: Client, type_url: str) -> bool:
    """Whether anything of this type may have to wait: O(1) when all that it can refer to is in sync."""
    awaited = AWAITS.get(type_url)
    if not awaited:
        return False
    if CLUSTER in awaited and client.asks_for_clusters_later:
        return True
    return any(other in client.types and client.types[other].behind for other in awaited)


def _may_come(client: Client, delivery: Delivery, resource: Resource, now: float, due: Due) -> bool:
    held = delivery.behind[resource.name]
    blocker = _blocker(client, held, resource, AWAITS[delivery.type_url])
    if blocker is None:
        delivery.waits.pop(resource.name, None)
        return True
    delivery.waits_for = blocker
    since = delivery.waits.setdefault(resource.name, now)
    if now >= since + client.patience.wait:
        due.overdue.append(resource.name)
        return True
    due.not_before(since + client.patience.wait)
    due.later.append(resource.name)
    return False


def _blocker(client: Client, held: Held, resource: Resource, awaited: tuple[str, ...]) -> Ref | None:
    """Return something that a resource refers to and that the client has yet to ACK."""
    for type_url in awaited:
        other = client.types.get(type_url)
        if type_url == CLUSTER and client.asks_for_clusters_later:
            # It has those that it uses. Of others it has not said anything yet.
            used = frozenset() if held is None or held.refs is None else held.refs
            if new := next((ref for ref in resource.refs if ref[0] == CLUSTER and ref not in used), None):
                return new
        if other is None or not other.behind:
            continue
        behind, refs = other.behind, resource.refs
        # A route configuration may refer to thousands of clusters, and thousands may be behind: look at the fewer, and
        # no further than the first that is one.
        candidates: Iterable[Ref]
        if len(behind) < len(refs):
            candidates = (ref for name in behind if (ref := (type_url, name)) in refs)
        else:
            candidates = (ref for ref in refs if ref[0] == type_url and ref[1] in behind)
        for ref in candidates:
            if (type_url != ROUTE or _begins_with_old(client, held, ref)) and _undelivered(client, ref):
                return ref
    return None


def _begins_with_old(client: Client, listener: Held, route: Ref) -> bool:
    """Whether a listener would begin to use a route in the version that the client has from elsewhere, which may name
    clusters that are gone."""
    if listener is not None and listener.refs is not None and route in listener.refs:
        return False
    other = client.types.get(ROUTE)
    return other is not None and other.behind.get(route[1]) is not None


def _missing_secret(client: Client, resource: Resource) -> Ref | None:
    """Return a secret that a resource needs and that nobody serves.

    In the state of the world Envoy cannot be told so: the resource would warm for ever, a cluster withhold the ACK of
    all later ones, and a listener keep a starting Envoy from accepting connections.
    """
    for ref in resource.refs:
        if ref[0] == SECRET and client.served(*ref) is None:
            return ref
    return None


def recount_lacking(client: Client, delivery: Delivery) -> None:
    """Forget that names lack a secret which is there by now, though nothing was sent since."""
    names = ((name, client.served(delivery.type_url, name)) for name in delivery.lacking)
    delivery.lacking = {name for name, served in names if served and _missing_secret(client, served) is not None}


def _undelivered(client: Client, ref: Ref) -> bool:
    """Whether the client has yet to ACK what is served under `ref`.

    What no view serves, what the client did not subscribe or what itself needs a missing secret cannot be waited for.
    """
    other = client.types.get(ref[0])
    if other is None or ref[1] not in other.behind:
        return False
    served = client.served(*ref)
    if served is None or (client.state_of_the_world and _missing_secret(client, served) is not None):
        return False
    if other.unknown_since is not None:
        return not _subscribes_endpoints(client, served)
    held = other.behind[ref[1]]
    refusal = other.refused.get(ref[1])
    if refusal is not None and refusal[0] == served.version:
        # It stays with what it has. If that is nothing, or a route that it kept against its removal while the clusters
        # of that went, only the deadline helps: most of the resource works without.
        whole = client.state_of_the_world and ref[0] in WHOLE
        return (at_hand(held) if whole else held) is None or client.lost_clusters(held)
    if other.inflight is not None and ref[1] in other.inflight.removed:
        # It came back while its removal was on its way.
        return True
    return ref[1] in other.resend or not is_version(held, served.version) or client.dangles(served)


def _subscribes_endpoints(client: Client, cluster: Resource) -> bool:
    """Whether the client has some version of a cluster, to judge by the endpoints that it asked for."""
    endpoints = client.types.get(ENDPOINT)
    names = frozenset() if endpoints is None else endpoints.subscription.names.values
    return all(name in names for kind, name in cluster.refs if kind == ENDPOINT)


def _in_use(client: Client, type_url: str) -> Uses:
    """Return what refers to names of this type: things the client holds that are to be replaced or removed.

    What it holds and shall keep is served by the views, whose content refers to what they serve.
    """
    uses = Uses()
    for referrer in REFERRERS.get(type_url, ()):
        other = client.types.get(referrer)
        if other is None:
            continue
        for name, refs in other.held_refs():
            removal = other.removals.get(name)
            if name in other.refused or _withheld(client, other, name):
                uses.add(uses.kept, type_url, refs)
            elif removal is None:
                uses.add(uses.replaced, type_url, refs)
            elif referrer != ROUTE or removal.free_since is None:
                uses.add(uses.removed, type_url, refs)
            # Else no listener uses the route, so it uses nothing: its clusters need not wait until it has gone.
        if referrer == LISTENER:
            for refs in client.warming.predecessors(client):
                uses.add(uses.replaced, type_url, refs)
    return uses


def _may_go(client: Client, delivery: Delivery, name: str, uses: Uses, now: float, due: Due) -> bool:
    removal = delivery.removals.setdefault(name, Removal(now))
    if name in uses.removed or name in uses.kept:
        # It goes after what refers to it, which has its own deadline, or none.
        removal.since, removal.free_since = now, None
        return False
    if uses.unknown or name in uses.replaced:
        removal.free_since = None
        if now < removal.since + client.patience.wait:
            due.not_before(removal.since + client.patience.wait)
            return False
        if not removal.overdue:
            removal.overdue = True
            due.overdue.append(name)
    if removal.free_since is None:
        removal.free_since = now
    end = removal.free_since + client.patience.lingers(delivery.type_url)
    if removal.overdue or now >= end:
        return True
    due.not_before(end)
    return False

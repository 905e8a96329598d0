"""What one connected client holds of everything its views serve, and what it is sent of that.

Wire formats are the business of the stream machines: this is the state they share.
"""

from collections.abc import Callable, Collection

from dragoman.codec import CLUSTER, ENDPOINT, LISTENER, Ref
from xds.delivery import NOTHING, Delivery, Held, Unsure, is_version
from xds.order import KEPT, Patience
from xds.push import Push
from xds.resource import Resource
from xds.step import Place, Step
from xds.view import View
from xds.warming import WarmingListeners


class Client:
    """Delivery state of all types of one stream, over several views whose names are disjoint."""

    def __init__(
        self,
        proxy: str,
        patience: Patience,
        on_change: Callable[[], None] | None = None,
        *,
        state_of_the_world: bool = False,
        onlooker: bool = False,
        aggregated: bool = True,
    ) -> None:
        self.proxy = proxy
        self.patience = patience
        self.state_of_the_world = state_of_the_world
        """It cannot be told that a single resource is absent."""
        self.onlooker = onlooker
        """It is no proxy: what it accepts or rejects says nothing about what an Envoy would."""
        self.aggregated = aggregated
        """It asks for all types on this stream, not for a single one."""
        self.views: tuple[View, ...] = ()
        self.types: dict[str, Delivery] = {}
        self._on_change = on_change
        self._positions: dict[tuple[View, str], int] = {}
        # Logs that have grown since they were read: a stream in sync is looked at without a look at them.
        self._unread: dict[tuple[View, str], None] = {}
        # Endpoints of changed clusters that the client has not subscribed yet on this stream.
        self._owed: set[str] = set()
        self.warming = WarmingListeners()
        self.in_sync = False
        """With the last ACK the client had everything, nothing is remembered that would set it apart from others that
        have, and nothing happened since but that logs grew."""

    # -- views ------------------------------------------------------------------------------------------------------

    def set_views(self, views: tuple[View, ...]) -> None:
        """Deliver these views from now on; what the client holds of others is replaced or removed."""
        self.read_logs()
        self.in_sync = False
        gone = [view for view in self.views if view not in views]
        new = [view for view in views if view not in self.views]
        for view in gone:
            view.unfollow(self)
            for delivery in self.types.values():
                self._positions.pop((view, delivery.type_url), None)
                for name, resource in view.table(delivery.type_url).items():
                    if name in delivery.subscription:
                        delivery.fall_behind(name, resource)
        self.views = views
        for view in new:
            view.follow(self)
            for delivery in self.types.values():
                self._positions[view, delivery.type_url] = view.head(delivery.type_url)
                for name in view.table(delivery.type_url):
                    if name in delivery.subscription:
                        delivery.fall_behind(name, None)

    def close(self) -> None:
        """The client is gone."""
        for view in self.views:
            view.unfollow(self)
        self.views = ()

    def view_changed(self, view: View, type_urls: frozenset[str]) -> None:
        for type_url in type_urls:
            self._unread[view, type_url] = None
        if self._on_change is not None:
            self._on_change()

    def catch_up(self, view: View) -> None:
        self.read_logs()

    def read_logs(self) -> None:
        """Note what changed in the views since the client was last looked at; costs what changed."""
        if self._unread:
            self.in_sync = False
            unread, self._unread = self._unread, {}
            for view, type_url in unread:
                delivery = self.types.get(type_url)
                if delivery is not None and view in self.views:
                    self._read_log(view, delivery)

    def _read_log(self, view: View, delivery: Delivery) -> None:
        key = (view, delivery.type_url)
        for name, before in view.since(delivery.type_url, self._positions[key]):
            if name in delivery.subscription:
                delivery.fall_behind(name, before)
        self._positions[key] = view.head(delivery.type_url)

    def place(self, limit: int) -> tuple[View, Delivery, Place] | None:
        """Return where a client in sync stands in the only log that has grown; None for any other."""
        if not self.in_sync or len(self._unread) != 1:
            return None
        (log,) = self._unread
        delivery = self.types.get(log[1])
        if delivery is None:
            return None
        subscription = delivery.subscription
        return log[0], delivery, Place(self._positions[log], subscription.wildcard, subscription.names, limit)

    def take(self, view: View, delivery: Delivery, step: Step, now: float) -> None:
        """The response of a step is handed to the client."""
        self._unread = {}
        self._positions[view, delivery.type_url] = step.head
        delivery.behind = dict(step.behind)
        self.sent(delivery, step.push, view, (), now)

    def served(self, type_url: str, name: str) -> Resource | None:
        """Return what is served to this client under a name."""
        ref = (type_url, name)
        for view in self.views:
            resource = view.get(ref)
            if resource is not None:
                return resource
        return None

    # -- subscriptions ----------------------------------------------------------------------------------------------

    def open(self, type_url: str) -> Delivery:
        """Begin to deliver a type."""
        delivery = self.types[type_url] = Delivery(type_url)
        for view in self.views:
            self._positions[view, type_url] = view.head(type_url)
        return delivery

    def want(self, delivery: Delivery, name: str, held: Held) -> None:
        """The client newly wants a name, under which it holds something already or nothing."""
        owed = delivery.type_url == ENDPOINT and name in self._owed
        served = None if held is None else self.served(delivery.type_url, name)
        if served is not None and is_version(held, served.version):
            if self.dangles(served):
                delivery.resend.add(name)
            else:
                # It was ACKed to another stream or control plane.
                self._came_with(served)
                if not owed:
                    return
            held = served
        delivery.fall_behind(name, held)
        if owed:
            self._owed.discard(name)
            delivery.resend.add(name)

    def dangles(self, resource: Resource) -> bool:
        """Whether the client kept a resource against its removal, and clusters that this needs have gone from there."""
        clusters = self.types.get(CLUSTER)
        if clusters is None or not clusters.behind or resource.type_url not in KEPT:
            return False
        return any(kind == CLUSTER and clusters.behind.get(name, resource) is None for kind, name in resource.refs)

    def lost_clusters(self, held: Held) -> bool:
        """Whether clusters that this needs, as the client has it, have gone from there, as far as is known."""
        clusters = self.types.get(CLUSTER)
        if clusters is None or held is None:
            return False
        if held.refs is None:
            return True
        names = (name for kind, name in held.refs if kind == CLUSTER)
        return any((clusters.behind[n] if n in clusters.behind else self.served(CLUSTER, n)) is None for n in names)

    def want_new(self, delivery: Delivery, names: Collection[str]) -> None:
        """The client newly wants names, and holds nothing under any of them."""
        if delivery.kept or (delivery.type_url == ENDPOINT and self._owed):
            for name in names:
                self.want(delivery, name, None)
        elif delivery.behind:
            for name in names:
                delivery.behind.setdefault(name, None)
        else:
            delivery.behind = dict.fromkeys(names)

    @property
    def asks_for_clusters_later(self) -> bool:
        """Whether the client has asked for endpoints and not yet for clusters.

        Envoy asks for no clusters while one of them warms, on a new stream neither (ClusterManagerImpl pauses CDS): its
        last stream ended between a changed cluster and its endpoints, which it waits for though it has them.
        """
        return self.aggregated and ENDPOINT in self.types and CLUSTER not in self.types and not self.onlooker

    def warm_up(self, endpoints: Delivery) -> None:
        """Clusters that a client came with, but not with their endpoints, may warm still: they are sent once more, as
        their ACK tells when that is over."""
        if self.asks_for_clusters_later:
            served = (cluster for view in self.views for cluster in view.table(CLUSTER).values())
            needed = {name for cluster in served for type_url, name in cluster.refs if type_url == ENDPOINT}
            for name in endpoints.subscription.names.values & needed:
                if name not in endpoints.behind and self.served(ENDPOINT, name) is not None:
                    self.again(endpoints, name)
            return
        clusters = self.types.get(CLUSTER)
        if clusters is None or clusters.acked_nonce:
            return
        cold = {(ENDPOINT, name) for name, held in endpoints.behind.items() if held is None}
        cold = {ref for ref in cold if self.served(*ref) is not None}
        for view in self.views if cold else ():
            for name, cluster in view.table(CLUSTER).items():
                if name in clusters.subscription and name not in clusters.behind and not cold.isdisjoint(cluster.refs):
                    held = Unsure(frozenset((cluster.version, NOTHING)), cluster.refs, cluster)
                    clusters.fall_behind(name, held)

    def again(self, delivery: Delivery, name: str) -> None:
        """The client asks for a name it should hold: it is sent once more."""
        delivery.fall_behind(name, self.served(delivery.type_url, name))
        delivery.resend.add(name)

    # -- what is known to be good -----------------------------------------------------------------------------------

    def _came_with(self, resource: Resource) -> None:
        """The client says that it has what is served."""
        if resource.type_url != LISTENER or not self.warming.came(resource):
            self.vouch(resource)

    def found(self, resource: Resource, held: Held) -> None:
        """The client turned out to have what is served: from another view, if not from this one."""
        if resource.type_url == LISTENER and resource.name in self.warming:
            return
        if isinstance(held, Unsure):
            # It came with what nobody served then.
            self._came_with(resource)
        else:
            self.vouch(resource)

    def vouch(self, resource: Resource) -> None:
        """The client uses a resource, and so it is good."""
        for view in () if self.onlooker else self.views:
            if view.get(resource.ref) is not None or view.wanted(resource.ref) is not None:
                view.vouch(resource)

    def settled(self, ref: Ref) -> bool:
        """Whether the client has what is served under `ref`, or nothing is wanted there."""
        if self.served(*ref) is None:
            return not any(view.withheld(ref) for view in self.views)
        other = self.types.get(ref[0])
        return other is not None and ref[1] in other.subscription and ref[1] not in other.behind

    # -- what it is sent --------------------------------------------------------------------------------------------

    def sent(self, delivery: Delivery, push: Push, view: View | None, probe: tuple[str, ...], now: float) -> None:
        """A response was handed to the client."""
        self.in_sync = False
        delivery.inflight, delivery.inflight_view, delivery.probe = push, view, probe
        delivery.inflight_head = -1 if view is None else view.head(delivery.type_url)
        if probe:
            delivery.suspects.remove(probe)
        delivery.sent_at, delivery.sent_nonce = now, push.nonce
        delivery.counters.sent += 1
        delivery.answer_due = delivery.stale = False
        delivery.resend.difference_update(push.removed)
        if delivery.resend or delivery.waits:
            for name in push.names:
                delivery.resend.discard(name)
                delivery.waits.pop(name, None)
        if delivery.type_url == CLUSTER and not self._all_new(delivery, push):
            self._owe_endpoints(delivery, push)

    def _all_new(self, delivery: Delivery, push: Push) -> bool:
        """Whether the client has none of these clusters, nor asks for their endpoints already."""
        endpoints = self.types.get(ENDPOINT)
        asked = endpoints is not None and (
            endpoints.subscription.wildcard or not push.endpoints.isdisjoint(endpoints.subscription.names.values)
        )
        return not (asked or push.state or any(map(delivery.behind.get, push.names)))

    def _owe_endpoints(self, delivery: Delivery, push: Push) -> None:
        """Send the endpoints of these clusters once more, even if unchanged.

        A changed EDS cluster warms anew, Envoy does not subscribe its endpoints again, and withholds the ACK of this
        and of all later cluster updates until they come (envoyproxy/envoy issue 13009).
        """
        endpoints = self.types.get(ENDPOINT)
        for resource in (*push.resources, *_reverted(delivery, push)):
            for type_url, name in resource.refs:
                if type_url != ENDPOINT:
                    continue
                if endpoints is not None and name in endpoints.subscription:
                    self.again(endpoints, name)
                elif delivery.behind.get(resource.name) is not None:
                    self._owed.add(name)


def _reverted(delivery: Delivery, push: Push) -> list[Resource]:
    """Return what a state of the world says as it was ACKed last, while a later version may have been taken out of a
    response that was rejected as a whole: to the client that is a change back."""
    sent = {resource.name for resource in push.resources}
    unsure = (held for name, held in delivery.behind.items() if isinstance(held, Unsure) and name not in sent)
    return [held.acked for held in unsure if held.acked is not None] if push.state else []

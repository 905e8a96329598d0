"""What the streams of both protocols have in common: a machine without IO (in the manner of h11 and h2).

Theory of operation. A stream delivers several views. Per type there is at most one response in flight; while it is,
changes coalesce and the latest wins. A version counts as delivered when it is ACKed, never when it is sent. What may be
sent, and when, is decided by `due`; a protocol adds its requests and how a response says what is due.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import ClassVar, Final, Generic, TypeVar

from dragoman.codec import ENDPOINT
from xds.answers import acked, nacked
from xds.client import Client
from xds.client_status import ResourceStatus, statuses
from xds.delivery import Delivery, Held
from xds.due import Due, due, recount_lacking
from xds.event import Acked, Event, Nacked, Response, Stale
from xds.nack import culprits, words
from xds.order import UPDATES, Patience
from xds.push import Push
from xds.request import Request
from xds.status import TypeStatus, type_status
from xds.step import Step
from xds.subscription import MAX_LENGTH, MAX_NAMES, MAX_TYPES, WILDCARD, LimitExceededError
from xds.view import View

CHUNK: Final = 512 << 10
UNKNOWN: Final[Mapping[str, Held]] = MappingProxyType({})
R = TypeVar("R", bound=Request)


class Stream(ABC, Generic[R]):
    """One xDS stream, of one type or of all.

    All times are seconds of one monotonic clock of the caller's choice. After anything that may lead to a response
    (a request received, `on_change` called, `deadline()` reached) call `next_response` until it returns None.
    """

    state_of_the_world: ClassVar[bool]

    def __init__(
        self,
        views: tuple[View, ...] = (),
        *,
        proxy: str = "",
        patience: Patience | None = None,
        chunk: int = CHUNK,
        on_change: Callable[[], None] | None = None,
        onlooker: bool = False,
        aggregated: bool = True,
    ) -> None:
        self._client = Client(
            proxy,
            patience or Patience(),
            on_change,
            state_of_the_world=self.state_of_the_world,
            onlooker=onlooker,
            aggregated=aggregated,
        )
        self._chunk = chunk
        self._deadline: float | None = None
        self._ordered: list[Delivery] = []
        self._client.set_views(views)

    # -- in ---------------------------------------------------------------------------------------------------------

    def set_views(self, views: tuple[View, ...]) -> None:
        """Deliver these views from now on; the client gets the difference to what it holds."""
        self._client.set_views(views)

    def close(self) -> None:
        """Let go of the views; the machine is not to be used afterwards."""
        self._client.close()

    @abstractmethod
    def receive(self, request: R, now: float) -> list[Event]:
        """Take a request: an ACK or NACK, a change of subscriptions, or both in one."""

    def _delivery(self, type_url: str) -> tuple[Delivery, bool]:
        """Return the state of a type, up to date, and whether this is the first that is heard of it."""
        delivery = self._client.types.get(type_url)
        first = delivery is None
        if delivery is None:
            if len(self._client.types) >= MAX_TYPES or len(type_url) > MAX_LENGTH:
                raise LimitExceededError(f"a stream may subscribe {MAX_TYPES} types of at most {MAX_LENGTH} characters")
            delivery = self._client.open(type_url)
        self._client.read_logs()
        return delivery, first

    def _answer(self, delivery: Delivery, request: Request, now: float) -> Event:
        push = delivery.inflight
        if push is None or push.nonce != request.nonce:
            return Stale(request.type_url, request.nonce)
        if request.error is None:
            sent_at = now if delivery.sent_at is None else delivery.sent_at
            acked(self._client, delivery, now)
            return Acked(request.type_url, request.nonce, len(push.resources) + len(push.removed), now - sent_at)
        versions = {resource.name: resource.version for resource in push.resources}
        named = culprits(request.error, versions)
        if not named and len(versions) == 1:
            named = frozenset(versions)
        message = words(request.type_url, request.error)
        nacked(self._client, delivery, named, message)
        return Nacked(request.type_url, request.nonce, message, tuple((name, versions[name]) for name in sorted(named)))

    def _subscribe(
        self,
        delivery: Delivery,
        subscribe: Iterable[str],
        unsubscribe: Iterable[str],
        known: Mapping[str, Held] = UNKNOWN,
        *,
        first: bool,
    ) -> None:
        """Take over a change of subscriptions; `known` is what the client holds already (reconnect)."""
        self._client.in_sync = False
        subscription = delivery.subscription
        names = [name for name in subscribe if name != WILDCARD]
        before = subscription.names.values
        already = names if subscription.wildcard else [name for name in names if name in before]
        new = [] if subscription.wildcard else [name for name in names if name not in before]
        if new:
            self._check_limits(new)
        if names:
            subscription.names = subscription.names.changed(add=names)
        if known:
            for name in new:
                self._client.want(delivery, name, known.get(name))
        else:
            self._client.want_new(delivery, new)
        for name in already:
            # Sent even if the client should have it: it may have dropped it and asked again before either was seen here
            # (xDS protocol, "Unsubscribing from resources").
            self._client.again(delivery, name)
        if WILDCARD in subscribe:
            subscription.wildcard = True
            self._want_everything(delivery, known, first=first)
        if unsubscribe:
            self._unsubscribe(delivery, unsubscribe)
        if first and delivery.type_url == ENDPOINT:
            self._client.warm_up(delivery)

    def _check_limits(self, new: list[str]) -> None:
        known = sum(len(delivery.subscription.names.values) for delivery in self._client.types.values())
        if known + len(new) > MAX_NAMES or any(len(name) > MAX_LENGTH for name in new):
            raise LimitExceededError(f"a stream may subscribe {MAX_NAMES} names of at most {MAX_LENGTH} characters")

    def _want_everything(self, delivery: Delivery, known: Mapping[str, Held], *, first: bool) -> None:
        names = delivery.subscription.names.values
        for view in self._client.views:
            table = view.table(delivery.type_url)
            if not known and not names:
                self._client.want_new(delivery, table)
                continue
            for name in table:
                if name not in names:
                    self._client.want(delivery, name, known.get(name))
                elif not first:
                    self._client.again(delivery, name)
        for name, held in known.items():
            if name not in names and self._client.served(delivery.type_url, name) is None:
                self._client.want(delivery, name, held)
        # A wildcard with nothing behind it is answered by an empty response: Envoy waits for it before it goes on.
        delivery.answer_due = not known

    def _unsubscribe(self, delivery: Delivery, names: Iterable[str]) -> None:
        subscription = delivery.subscription
        if WILDCARD in names:
            subscription.wildcard = False
        subscription.names = subscription.names.changed(drop=names)
        if subscription.wildcard:
            for name in names:
                # Still covered by the wildcard: the client must be told whether it keeps the resource.
                if self._client.served(delivery.type_url, name) is not None:
                    self._client.again(delivery, name)
            return
        for name in [name for name in delivery.behind if name not in subscription]:
            delivery.forget(name)
        for name in names:
            delivery.forget(name)

    # -- out --------------------------------------------------------------------------------------------------------

    def next_response(self, now: float) -> Response | None:
        """Return the next response to be written, or None if nothing may be sent now (see `deadline`)."""
        self._deadline = None
        found = self._client.place(self._chunk)
        if found is None:
            self._client.read_logs()
            return self._look(now)
        view, delivery, place = found
        step = view.step(delivery.type_url, place)
        if step is not None:
            self._client.take(view, delivery, step, now)
            return step.push.response
        self._client.read_logs()
        news = dict(delivery.behind)
        response = self._look(now)
        push = delivery.inflight
        # For others at this place, if it says all that is new and nothing else.
        if push is not None and news.keys() == {*push.names}:
            view.remember(delivery.type_url, place, Step(news, push, delivery.inflight_head))
        return response

    def _look(self, now: float) -> Response | None:
        for delivery in self._in_order():
            if delivery.inflight is not None or not delivery.pending:
                continue
            sendable = due(self._client, delivery, now, self._limit(delivery))
            response = self._respond(delivery, sendable, now)
            if response is not None:
                return response
            if (again := sendable.deadline) is not None:
                self._deadline = again if self._deadline is None else min(self._deadline, again)
        return None

    def idle(self) -> bool:
        """Whether `next_response` has nothing to say until something happens."""
        return self._client.in_sync or not any(delivery.pending for delivery in self._client.types.values())

    def awaits_answers(self) -> bool:
        """Whether `next_response` has nothing to say before the client has answered what it was sent."""
        return not any(delivery.inflight is None and delivery.pending for delivery in self._ordered)

    def deadline(self) -> float | None:
        """Return when `next_response` should be called again though nothing happened; None if not by itself."""
        return self._deadline

    def _in_order(self) -> list[Delivery]:
        types = self._client.types
        if len(self._ordered) != len(types):
            first = [types[type_url] for type_url in UPDATES if type_url in types]
            self._ordered = first + [types[type_url] for type_url in types if type_url not in UPDATES]
        return self._ordered

    def _respond(self, delivery: Delivery, sendable: Due, now: float) -> Response | None:
        view, push = self._push(delivery, sendable, now)
        if push is None:
            return None
        self._client.sent(delivery, push, view, sendable.probe, now)
        delivery.counters.overdue += len(sendable.overdue)
        return replace(push.response, overdue=tuple(sendable.overdue)) if sendable.overdue else push.response

    def _limit(self, delivery: Delivery) -> int:
        """Return about how many bytes a response may take."""
        return self._chunk

    @abstractmethod
    def _push(self, delivery: Delivery, sendable: Due, now: float) -> tuple[View | None, Push | None]:
        """Encode what is due, if that is anything; the view is the one whose streams share it, None for several."""

    # -- to be looked at --------------------------------------------------------------------------------------------

    def resources(self, clock: float, now: float) -> Iterator[ResourceStatus]:
        """Yield the state of every resource that was asked for; `clock` is the stream's time, `now` the wall's."""
        return statuses(self._client, clock=clock, now=now)

    def status(self) -> tuple[TypeStatus, ...]:
        """Return the state of delivery of each type."""
        return tuple(type_status(delivery) for delivery in self._up_to_date())

    def complete(self) -> dict[str, bool]:
        """Return of each type whether the client has ACKed all that it can have."""
        return {delivery.type_url: delivery.complete for delivery in self._up_to_date()}

    def _up_to_date(self) -> list[Delivery]:
        self._client.read_logs()
        for delivery in self._client.types.values():
            if delivery.lacking:
                recount_lacking(self._client, delivery)
        return self._in_order()

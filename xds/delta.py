"""Incremental ADS: subscriptions, wildcards and reconnects as the incremental protocol has them.

Source of the rules: Envoy, "xDS REST and gRPC protocol", section "Incremental xDS".
"""

from xds.delivery import Delivery, Unsure
from xds.due import Due
from xds.event import Event, Subscribed
from xds.order import WILDCARD_BY_DEFAULT
from xds.push import Push, encode_push
from xds.request import DeltaRequest
from xds.stream import Stream
from xds.subscription import WILDCARD
from xds.view import View


class DeltaStream(Stream[DeltaRequest]):
    """One incremental stream. Everything asked for is answered: by the resource or by `removed_resources`."""

    state_of_the_world = False

    def receive(self, request: DeltaRequest, now: float) -> list[Event]:
        """Take a request: an ACK or NACK, a change of subscriptions, or both in one."""
        events: list[Event] = []
        delivery, first = self._delivery(request.type_url)
        if request.nonce:
            events.append(self._answer(delivery, request, now))
        if first or request.subscribe or request.unsubscribe:
            subscribe = request.subscribe
            if first and not subscribe and request.type_url in WILDCARD_BY_DEFAULT:
                subscribe = (WILDCARD,)
            versions = request.initial_versions if first else {}
            known = {name: Unsure(frozenset((version,)), None) for name, version in versions.items()}
            self._subscribe(delivery, subscribe, request.unsubscribe, known, first=first)
            events.append(Subscribed(request.type_url, request.subscribe, request.unsubscribe, len(known)))
        return events

    def _push(self, delivery: Delivery, sendable: Due, now: float) -> tuple[View | None, Push | None]:
        # Of one view at a time, so that all streams of that view share the bytes.
        removed = tuple(sorted(sendable.removed + sendable.absent))
        for view, resources in sendable.updates.items():
            return view, view.push(delivery.type_url, resources, removed)
        if removed or (delivery.answer_due and not delivery.behind):
            return None, encode_push(delivery.type_url, (), removed)
        return None, None

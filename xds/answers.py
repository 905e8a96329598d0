"""What a client's answer to the response in flight means: ACK and NACK."""

from dragoman.codec import LISTENER, ROUTE
from xds.client import Client
from xds.delivery import NOTHING, Delivery, Unsure, at_hand, versions_of, without
from xds.order import KEPT, WHOLE
from xds.push import Push
from xds.resource import Resource


def acked(client: Client, delivery: Delivery, now: float) -> None:
    """The client took the response in flight."""
    push = _landed(client, delivery, taken=True)
    delivery.counters.acked += 1
    delivery.acked_at, delivery.acked_nonce = now, push.nonce
    if delivery.type_url != LISTENER and _all_current(client, delivery, push):
        delivery.all_in_sync(push.names)
    else:
        for resource in push.resources:
            _took(client, delivery, resource)
    if client.state_of_the_world and delivery.type_url in WHOLE and delivery.behind:
        said = {resource.name for resource in push.state}
        # What could not be said, because its bytes are not known, is gone.
        delivery.behind.update((name, None) for name in list(delivery.behind) if name not in said)
    if delivery.type_url == ROUTE:
        client.warming.look(client)
    if delivery.type_url != LISTENER:
        _vouch_for(client, delivery, push)
    delivery.shrink(len(push.resources))
    client.in_sync = not (client.state_of_the_world or client.asks_for_clusters_later) and all(
        other.at_rest for other in client.types.values()
    )


def _all_current(client: Client, delivery: Delivery, push: Push) -> bool:
    """Whether the response carries what is served still, and what the client still wants."""
    view, subscription = delivery.inflight_view, delivery.subscription
    return (
        view is not None
        and view in client.views
        and view.head(delivery.type_url) == delivery.inflight_head
        and not delivery.resend
        and (subscription.wildcard or subscription.names.values.issuperset(push.names))
    )


def _took(client: Client, delivery: Delivery, resource: Resource) -> None:
    if resource.name not in delivery.subscription:
        return
    if delivery.type_url == LISTENER:
        client.warming.acked(client, resource, delivery.behind.get(resource.name))
    if client.served(delivery.type_url, resource.name) is resource and resource.name not in delivery.resend:
        delivery.in_sync(resource.name)
    else:
        delivery.behind[resource.name] = resource


def _vouch_for(client: Client, delivery: Delivery, push: Push) -> None:
    """What was ACKed is good, but for names that the client had let go of by then: those it did not look at."""
    if _all_current(client, delivery, push) and delivery.inflight_view is not None and not client.onlooker:
        delivery.inflight_view.accept(push)
        return
    names, resend = delivery.subscription, delivery.resend
    taken = [resource for resource in push.resources if resource.name in names and resource.name not in resend]
    if delivery.inflight_view is not None and len(taken) == len(push.resources) and not client.onlooker:
        delivery.inflight_view.accept(push)
    else:
        for resource in taken:
            client.vouch(resource)


def nacked(client: Client, delivery: Delivery, culprits: frozenset[str], message: str) -> None:
    """The client rejected the response in flight because of `culprits` (empty: nobody knows).

    A NACK is not atomic: Envoy may have applied all, some or none of the other resources, so their versions are
    forgotten and they are sent again, removals too; of a culprit it keeps what it had.
    """
    push = _landed(client, delivery, taken=False)
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
            frozenset((resource.version,)) | (versions_of(before) or {NOTHING}), refs, at_hand(before)
        )
    if not culprits:
        half = (len(innocent) + 1) // 2
        groups = (innocent[:half], innocent[half:])
        delivery.suspects[:0] = [tuple(resource.name for resource in group) for group in groups if group]
    for resource in push.resources:
        if resource.name in culprits and not _condemn(client, resource, message):
            delivery.refused[resource.name] = (resource.version, message)


def _condemn(client: Client, resource: Resource, message: str) -> bool:
    if client.onlooker:
        return False
    for view in client.views:
        if view.wanted(resource.ref) is not None or view.get(resource.ref) is not None:
            return view.reject(resource, message, client.proxy)
    return True


def _landed(client: Client, delivery: Delivery, *, taken: bool) -> Push:
    push = delivery.inflight
    assert push is not None, "nothing is in flight"  # noqa: S101 - checked by the stream machines
    delivery.inflight = None
    for name in push.removed:
        if delivery.type_url == LISTENER:
            client.warming.forget(name)
        held = delivery.behind.get(name)
        if not taken and held is not None:
            # It may have been applied or not.
            delivery.behind[name] = Unsure(versions_of(held) | {NOTHING}, held.refs, at_hand(held))
            continue
        if not taken and push.resources and name in delivery.subscription.names.values:
            # The answer that there is nothing may not have been heard.
            delivery.behind[name] = None
            continue
        # The name may have come back meanwhile: then the client lacks it.
        served = client.served(delivery.type_url, name)
        if name not in delivery.subscription or (served is None and name not in delivery.resend):
            delivery.removed(name)
        else:
            delivery.removals.pop(name, None)
            if delivery.type_url not in KEPT:
                delivery.behind[name] = None
    return push

"""Whether the clients of a view have taken certain resources: asked of a few names, it costs what is out of sync."""

from collections.abc import Collection, Iterable, Iterator, Mapping

from dragoman.codec import ENDPOINT, LISTENER, ROUTE
from xds.client import Client
from xds.delivery import NOTHING, Delivery, versions_of
from xds.view import View

Versions = Collection[str] | None
"""Versions that are good enough, with `NOTHING` among them if it is to be gone; None for any but nothing."""


def clients_of(view: View) -> Iterator[Client]:
    """Yield the proxies that get a view and are at work: without those that only look on, or start.

    An Envoy serves nothing before it has its first listeners (Envoy: "Initialization"); until then nothing that it
    lacks could matter.
    """
    for follower in view.following():
        if isinstance(follower, Client) and not follower.onlooker:
            listeners = follower.types.get(LISTENER)
            if listeners is not None and (listeners.acked_nonce or not listeners.behind):
                yield follower


def missing(client: Client, type_url: str, wanted: Mapping[str, Versions], awaited: Collection[str]) -> Iterator[str]:
    """Yield the names of which a client that asks for them does not have a version that is good enough.

    `awaited` are names that it will ask for as soon as it has taken what refers to them.
    """
    client.read_logs()
    delivery = client.types.get(type_url)
    if delivery is None:
        return
    behind = delivery.behind
    names = [name for name in behind if name in wanted] if len(behind) < len(wanted) else wanted
    for name in names:
        if name in behind and not _good(delivery, name, wanted[name]):
            yield name
    if type_url in (ROUTE, ENDPOINT) and awaited:
        yield from _not_asked_for(delivery, awaited)


def refusal(client: Client, type_url: str, name: str) -> tuple[str, str] | None:
    """Return the version that this client alone does without, and its words."""
    delivery = client.types.get(type_url)
    return None if delivery is None else delivery.refused.get(name)


def _good(delivery: Delivery, name: str, wanted: Versions) -> bool:
    held = versions_of(delivery.behind[name]) or {NOTHING}
    return NOTHING not in held if wanted is None else all(version in wanted for version in held)


def _not_asked_for(delivery: Delivery, names: Iterable[str]) -> Iterator[str]:
    return (name for name in names if name not in delivery.subscription)

"""Whether the clients of a view have taken certain resources: asked of a few names, it costs what is out of sync."""

from collections.abc import Collection, Iterator, Mapping

from dragoman.codec import LISTENER
from xds.client import Client
from xds.delivery import NOTHING, Delivery, Held, versions_of
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


def lacks(
    client: Client,
    wanted: Mapping[str, Mapping[str, Versions]],
    awaited: Mapping[str, Collection[str]],
) -> bool:
    """Whether a client, of names by type that it asks for, does not have a version of each that is good enough.

    `awaited` are names that it will ask for as soon as it has taken what refers to them.
    """
    client.read_logs()
    for type_url, names in wanted.items():
        delivery = client.types.get(type_url)
        if delivery is None:
            continue
        if delivery.behind and _lacks_any(delivery, names):
            return True
    for type_url, awaited_names in awaited.items():
        delivery = client.types.get(type_url)
        if delivery is None or any(name not in delivery.subscription for name in awaited_names):
            return True
    return False


def _lacks_any(delivery: Delivery, names: Mapping[str, Versions]) -> bool:
    behind = delivery.behind
    if len(behind) < len(names):
        return any(name in names and not _good(behind[name], names[name]) for name in behind)
    return any(name in behind and not _good(behind[name], versions) for name, versions in names.items())


def _good(held: Held, wanted: Versions) -> bool:
    versions = versions_of(held) or {NOTHING}
    return NOTHING not in versions if wanted is None else all(version in wanted for version in versions)

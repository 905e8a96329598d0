"""Listeners that a client has ACKed and that wait for their routes: those before them serve on until these are there.

Envoy ACKs a listener when it begins to warm (Envoy documentation, "Listener discovery service", and seen on 1.40).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from dragoman.codec import ROUTE, Ref
from xds.delivery import Held
from xds.resource import Resource

if TYPE_CHECKING:
    from xds.client import Client


@dataclass(frozen=True, slots=True)
class Warming:
    """A listener that was ACKed while its routes are missing."""

    listener: Resource
    routes: frozenset[Ref]
    before: frozenset[Ref] | None
    """What the one before refers to; None if that is not known."""


class WarmingListeners:
    """Those of one client, which is handed to each call: a reference to it would be a cycle."""

    __slots__ = ("_warming",)

    def __init__(self) -> None:
        self._warming: dict[str, Warming] = {}

    def __contains__(self, name: str) -> bool:
        return name in self._warming

    def predecessors(self, client: Client) -> list[frozenset[Ref] | None]:
        """Return what the listeners refer to that serve on before those that warm."""
        self.look(client)
        return [warming.before for warming in self._warming.values()]

    def came(self, listener: Resource) -> bool:
        """The client came with a listener. Whether it serves by then, it does not say: return whether it may not."""
        routes = _routes(listener)
        if routes:
            self._warming[listener.name] = Warming(listener, routes, None)
        return bool(routes)

    def acked(self, client: Client, listener: Resource, held: Held) -> None:
        """A listener was ACKed in the place of `held`: it warms while its routes are missing, or has taken over."""
        routes = _routes(listener)
        earlier = self._warming.pop(listener.name, None)
        if all(client.settled(route) for route in routes):
            _took_over(client, listener, routes)
            return
        before = frozenset() if held is None else held.refs
        if earlier is not None:
            # The one before never took over either: which of them serves is not known.
            before = None if before is None or earlier.before is None else before | earlier.before
        self._warming[listener.name] = Warming(listener, routes, before)

    def look(self, client: Client) -> None:
        """Listeners whose routes are there have taken over: only now are they known to be good."""
        for name, warming in list(self._warming.items()):
            if all(client.settled(route) for route in warming.routes):
                del self._warming[name]
                _took_over(client, warming.listener, warming.routes)

    def forget(self, name: str) -> None:
        """A listener was removed."""
        self._warming.pop(name, None)


def _routes(listener: Resource) -> frozenset[Ref]:
    return frozenset(ref for ref in listener.refs if ref[0] == ROUTE)


def _took_over(client: Client, listener: Resource, routes: frozenset[Ref]) -> None:
    # A listener whose routes are gone by now waits for nothing, but was not seen to work either.
    if all(client.served(*route) is not None for route in routes):
        client.vouch(listener)

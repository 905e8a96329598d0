"""Sees what happens on the streams of a server and lets tests wait for it."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field

from xds import Node, Peer, Refused, View


@dataclass
class Recorder:
    """An observer (see `xds.Observer`) that keeps everything."""

    events: list[tuple[object, ...]] = field(default_factory=list)
    _changed: asyncio.Event = field(default_factory=asyncio.Event)

    def _note(self, *event: object) -> None:
        self.events.append(event)
        self._changed.set()

    def connected(self, proxy: str) -> None:
        self._note("connected", proxy)

    def disconnected(self, proxy: str, seconds: float) -> None:
        self._note("disconnected", proxy)

    def refused(self, code: str) -> None:
        self._note("refused", code)

    def shed(self, proxy: str) -> None:
        self._note("shed", proxy)

    def stuck(self, proxy: str, type_url: str) -> None:
        self._note("stuck", proxy, type_url)

    def pushed(self, proxy: str, type_url: str, count: int, size: int, seconds: float) -> None:
        self._note("pushed", type_url, count)

    def acked(self, proxy: str, type_url: str, seconds: float) -> None:
        self._note("acked", type_url, seconds)

    def nacked(self, proxy: str, type_url: str, names: tuple[str, ...], message: str) -> None:
        self._note("nacked", type_url, names, message)

    def waited(self, proxy: str, type_url: str, names: tuple[str, ...]) -> None:
        self._note("waited", type_url, names)

    def of(self, kind: str, type_url: str | None = None) -> list[tuple[object, ...]]:
        return [event for event in self.events if event[0] == kind and (type_url is None or event[1] == type_url)]

    async def until(self, condition: Callable[[], bool], seconds: float = 60.0) -> None:
        """Wait until `condition` holds; looked at after every event, and now and then for what makes no event."""
        async with asyncio.timeout(seconds):
            while not condition():
                self._changed.clear()
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._changed.wait(), 0.05)

    async def until_seen(self, kind: str, type_url: str | None = None, count: int = 1) -> None:
        await self.until(lambda: len(self.of(kind, type_url)) >= count)


class FixedSession:
    """The same views for everybody."""

    def __init__(self, proxy_id: str, views: tuple[View, ...]) -> None:
        self.proxy_id = proxy_id
        self.views = views
        self.on_views_changed: Callable[[], None] | None = None
        self.on_refused: Callable[[Refused], None] | None = None
        self.expires_at: float | None = None
        self.closed = 0

    def close(self) -> None:
        self.closed += 1


@dataclass
class Runtime:
    """Stands in for the runtime: gives every node the same views."""

    views: tuple[View, ...]
    sessions: list[FixedSession] = field(default_factory=list)
    peers: list[Peer] = field(default_factory=list)

    async def connect(self, node: Node, peer: Peer) -> FixedSession:
        session = FixedSession(node.id, self.views)
        self.sessions.append(session)
        self.peers.append(peer)
        return session
